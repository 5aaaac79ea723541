"""Instance-batch normalisation (IBN-Net, Pan et al., ECCV 2018): both norms side by side in the shallow blocks."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from ltml.errors import InputError

log = logging.getLogger(__name__)

FAMILIES = ("densenet", "resnet")


class MixedNorm(nn.Module):
    """Batch normalisation of some channels, instance normalisation of the others, then the activation of the old norm.

    Args:
        norm: the batch norm it replaces. Batch-norm channels keep their weight, bias, running mean and variance,
            instance-norm channels their weight and bias; an activation inside (timm's ``BatchNormAct2d``) stays.
        split: number of channels with the first norm; the others have the second.
        batch_first: whether the first norm is batch norm; otherwise instance norm.
    """

    def __init__(self, norm: nn.BatchNorm2d, split: int, *, batch_first: bool) -> None:
        super().__init__()
        first, second = slice(0, split), slice(split, norm.num_features)
        of_batch, of_instance = (first, second) if batch_first else (second, first)
        self.batch_first = batch_first
        self.batch = nn.BatchNorm2d(of_batch.stop - of_batch.start, eps=norm.eps, momentum=norm.momentum)
        self.instance = nn.InstanceNorm2d(of_instance.stop - of_instance.start, eps=norm.eps, affine=True)
        self.act: nn.Module = getattr(norm, "act", nn.Identity())
        _take_over(self.batch, norm, of_batch)
        _take_over(self.instance, norm, of_instance)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and activate maps ``(B, channels, H, W)``; ``H · W`` must be more than 1."""
        parts = [self.batch, self.instance] if self.batch_first else [self.instance, self.batch]
        channels = torch.split(x, [part.num_features for part in parts], dim=1)
        mixed = torch.cat([part(own) for part, own in zip(parts, channels, strict=True)], dim=1)
        activated: Tensor = self.act(mixed)
        return activated


def check_ibn(name: str, net: nn.Module) -> None:
    """Raise if IBN is not defined for a backbone.

    Raises:
        InputError: names what is allowed.
    """
    from timm.models import DenseNet, ResNet

    known = name.startswith(FAMILIES) and isinstance(net, (DenseNet, ResNet))
    if not known or not all(isinstance(getattr(block, norm), nn.BatchNorm2d) for block, norm in _places(net)):
        raise InputError(
            f"backbone.ibn=true is not defined for backbone '{name}'; it is for timm's densenet* and resnet* whose "
            "blocks have plain batch norm, such as densenet121 and resnet50. Choose one of them or set "
            "backbone.ibn=false."
        )


def mix_norms(name: str, net: nn.Module, *, loaded: bool) -> None:
    """Put instance-batch normalisation into a timm DenseNet or ResNet that `check_ibn` lets pass, in place.

    As in IBN-Net's own code: in a DenseNet ``norm1`` of every third dense layer (the first, fourth, …) of dense blocks
    1-3 has batch norm on the first 60 % of its channels, rounded down, and instance norm on the others, 14 layers in
    DenseNet-121; in a ResNet (IBN-a) ``bn1`` of every block of stages 1-3 has instance norm on the first half and batch
    norm on the second.

    Args:
        name: name of the backbone, for the log.
        net: the backbone; its weights stay, see `MixedNorm`.
        loaded: whether the weights were loaded, so that the log counts loaded and new parameters.
    """
    from timm.models import DenseNet

    places, before = _places(net), _count_parameters(net)
    for block, attribute in places:
        norm: nn.BatchNorm2d = getattr(block, attribute)
        count, dense = norm.num_features, isinstance(net, DenseNet)
        setattr(block, attribute, MixedNorm(norm, count * 3 // 5 if dense else count // 2, batch_first=dense))
    if loaded:
        new = _count_parameters(net) - before
        log.info("%s with IBN in %d places: %d parameters loaded, %d new", name, len(places), before, new)


def _places(net: Any) -> list[tuple[nn.Module, str]]:
    """Return blocks, each with the name of its norm that is mixed."""
    from timm.models import ResNet

    if isinstance(net, ResNet):
        return [(block, "bn1") for stage in (net.layer1, net.layer2, net.layer3) for block in stage]
    dense = [block for name, block in net.features.named_children() if name.startswith("denseblock")]
    return [(layer, "norm1") for block in dense[:3] for layer in list(block.values())[::3]]


def _take_over(part: nn.Module, norm: nn.Module, channels: slice) -> None:
    """Copy the entries of the norm's state that `part` has, for its channels only."""
    state = norm.state_dict()
    part.load_state_dict({key: state[key][channels] if state[key].ndim else state[key] for key in part.state_dict()})


def _count_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())
