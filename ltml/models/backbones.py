"""Timm models as backbones that give a feature map ``(B, D0, H, W)``."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltml.errors import InputError, first_few, first_line, suggest
from ltml.models.hub import NotHereError, can_fetch, fetching
from ltml.models.ibn import check_ibn, mix_norms
from ltml.models.weights import read_state_dict

log = logging.getLogger(__name__)


class Backbone(nn.Module):
    """A timm model without pooling and classifier.

    Args:
        name: timm model name.
        image_size: side of the input in px; fixed at construction for models with position embeddings.
        channels: number of input channels, 1 or 3.
        pretrained: load timm's weights of that name from the network or its cache.
        weights: a local file with the model's weights instead.
        options: further arguments of ``timm.create_model``.
        ibn: instance-batch normalisation in the shallow blocks; loaded weights go to the channels they belong to.

    Attributes:
        width: number of channels ``D0`` of the feature map.
        channels: number of input channels.
        fixed_size: the only side of the input in px that the model takes; None if it takes others.

    Raises:
        InputError: unknown name, wrong options, a weight file that does not fit, or IBN where it is not defined.
        LtmlError: pretrained weights that are neither cached nor reachable.
    """

    def __init__(
        self,
        name: str,
        *,
        image_size: int,
        channels: int = 3,
        pretrained: bool = False,
        weights: Path | None = None,
        options: Mapping[str, Any] | None = None,
        ibn: bool = False,
    ) -> None:
        super().__init__()
        self.net: Any = _create(
            name, image_size, channels, dict(options or {}), pretrained=pretrained and weights is None, ibn=ibn
        )
        if weights is not None:
            load_weights(self.net, weights)
        if ibn:
            mix_norms(name, self.net, loaded=pretrained or weights is not None)
        self.width: int = self.net.num_features
        self.channels = channels
        self.fixed_size = image_size if _has_fixed_size(self.net) else None
        self._prefix_tokens = int(getattr(self.net, "num_prefix_tokens", 0))
        self._check_input(name, image_size, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map ``(B, D0, H, W)`` of normalised images ``(B, channels, h, w)``; ``B`` may be 0."""
        if len(images) == 0 and not any(isinstance(module, nn.SyncBatchNorm) for module in self.net.modules()):
            # Not every model takes an empty batch. SyncBatchNorm does, and would pass blank images to the other ranks.
            blank: Tensor = self(images.new_zeros(2, *images.shape[1:]))
            return blank[:0]
        output: Tensor = self.net.forward_features(images)
        if output.ndim == 3:  # tokens of a transformer, class and register tokens first
            return self._grid(output[:, self._prefix_tokens :])
        if output.shape[1] != self.width and output.shape[-1] == self.width:  # channels last, as Swin has them
            return output.permute(0, 3, 1, 2)
        return output

    @torch.no_grad()
    def _check_input(self, name: str, image_size: int, channels: int) -> None:
        """Pass one blank image, so that an unsuitable size fails before anything else is done."""
        self.eval()
        try:
            shape = tuple(self(torch.zeros(1, channels, image_size, image_size)).shape)
        except Exception as error:  # each model fails in its own way
            raise InputError(
                f"backbone '{name}' does not take images of {image_size} px: {first_line(error)}. "
                "Change data.image_size or the backbone."
            ) from error
        if len(shape) != 4 or 0 in shape or shape[1] != self.width:
            raise InputError(f"backbone '{name}' gives {shape} for images of {image_size} px, which is no feature map")
        self.train()

    def _grid(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        side = math.isqrt(count)
        if side * side != count:
            raise ValueError(f"{count} tokens are not a square grid")
        return tokens.transpose(1, 2).reshape(batch, width, side, side)


def _has_fixed_size(net: Any) -> bool:
    flexible = getattr(getattr(net, "patch_embed", None), "strict_img_size", True) is False
    return bool(net.pretrained_cfg.get("fixed_input_size")) and not flexible


def list_backbones(pattern: str = "*") -> list[str]:
    """Return the names of timm models that match a wildcard."""
    import timm

    names: list[str] = timm.list_models(pattern)
    return names


def normalization(name: str, channels: int) -> tuple[list[float], list[float]]:
    """Return channel means and standard deviations in [0, 1] that the weights expect; their average for one channel."""
    import timm

    config = timm.get_pretrained_cfg(name)
    mean, std = (list(config.mean), list(config.std)) if config is not None else ([0.5], [0.5])
    return (mean, std) if channels == len(mean) else ([sum(mean) / len(mean)], [sum(std) / len(std)])


def check_backbone_name(name: str) -> None:
    """Raise if timm has no model or weights of a name.

    Raises:
        InputError: names the nearest.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        hint = suggest(name, timm.list_models())
        raise InputError(f"backbone.name: unknown backbone '{name}': {hint} (`ltml list backbones 'resnet*'`)")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise InputError(f"backbone.name: unknown weights '{tag}' of '{architecture}': {suggest(tag, tags)}")


def _create(name: str, image_size: int, channels: int, options: dict[str, Any], *, pretrained: bool, ibn: bool) -> Any:
    import timm

    check_backbone_name(name)
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options = {"img_size": image_size, **options}
    try:
        net = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0, **options)
    except Exception as error:  # timm lets wrong arguments fail wherever they first matter
        raise InputError(f"backbone.options {options} do not suit timm's '{name}': {first_line(error)}") from error
    if ibn:
        check_ibn(name, net)
    if not pretrained:
        return net
    log.info("loading pretrained weights of %s from the cache or the network", name)
    return _create_pretrained(name, in_chans=channels, **options)


def check_pretrained(name: str) -> None:
    """Raise if the hub is unreachable and pretrained weights are not in its cache; otherwise they are fetched later.

    Raises:
        NotHereError: names the weights and the remedies.
    """
    if not can_fetch():
        _create_pretrained(name)


def _create_pretrained(name: str, **options: Any) -> Any:
    import timm

    try:
        with fetching():
            return timm.create_model(name, pretrained=True, num_classes=0, **options)
    except Exception as error:  # the hub's clients raise errors of several libraries when offline
        raise NotHereError(
            f"get pretrained weights for backbone '{name}'",
            "give a file with backbone.weights=FILE, or set backbone.pretrained=false to train from random weights",
            error,
        ) from error


def check_file(path: Path) -> None:
    """Raise if a weight file does not exist.

    Raises:
        InputError: names the file.
    """
    if not path.is_file():
        raise InputError(f"backbone.weights {path} is not a file")


def load_weights(net: nn.Module, path: Path) -> None:
    """Load a local weight file of the same timm model; all entries must exist and have the same shape.

    Entries of the file's classifier are left out, and an input layer for another number of channels is adapted as
    timm adapts its own.

    Args:
        net: a timm model without classifier.
        path: .safetensors or .pth state dict.

    Raises:
        InputError: the file cannot be read or belongs to another model.
    """

    check_file(path)
    try:
        state = read_state_dict(path)
    except InputError as error:
        raise InputError(f"backbone.weights {error}") from error
    own = net.state_dict()
    config: Any = net.pretrained_cfg
    state = _with_channels(state, own, config.get("first_conv"))
    heads = config.get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ([heads] if isinstance(heads, str) else heads))
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    wrong += [key for key in state if key not in own and not key.startswith(prefixes)]
    if wrong:
        raise InputError(
            f"backbone.weights {path} does not fit the backbone: {len(wrong)} entries are missing, left over or of "
            f"another shape ({first_few(wrong, most=3)}). Check backbone.name, backbone.options and the file."
        )
    net.load_state_dict({key: state[key] for key in own})


def _with_channels(state: dict[str, Tensor], own: dict[str, Tensor], first: Any) -> dict[str, Tensor]:
    """Return the state with input layers adapted to the model's channels, summed or repeated as timm does."""
    import timm

    layers = [f"{name}.weight" for name in ([first] if isinstance(first, str) else first or ())]
    adapted = {
        key: timm.models.adapt_input_conv(own[key].shape[1], state[key])
        for key in layers
        if key in state and key in own and state[key].ndim == 4 and state[key].shape[1] == 3
    }
    return state | adapted
