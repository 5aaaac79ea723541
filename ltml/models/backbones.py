"""Any timm model as a feature map ``(B, D0, H, W)``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ltml.errors import InputError, LtmlError, first_few, suggest


class Backbone(nn.Module):
    """A timm model without pooling and classifier.

    Args:
        name: timm model name.
        image_size: side of the input, px; fixed at building for models with position embeddings.
        channels: 1 or 3 input channels.
        pretrained: load timm's weights of that name from the network or its cache.
        weights: a local file with the model's weights instead.
        options: further arguments of ``timm.create_model``.

    Attributes:
        width: channels ``D0`` of the feature map.

    Raises:
        InputError: unknown name, wrong options, or a weight file that does not fit.
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
    ) -> None:
        super().__init__()
        self.net = _create(name, image_size, channels, pretrained and weights is None, dict(options or {}))
        if weights is not None:
            load_weights(self.net, weights)
        self.width = int(self.net.num_features)
        self._prefix_tokens = int(getattr(self.net, "num_prefix_tokens", 0))

    def forward(self, images: Tensor) -> Tensor:
        """Feature map ``(B, D0, H, W)`` of normalised images ``(B, channels, h, w)``."""
        output = self.net.forward_features(images)
        if output.ndim == 3:  # tokens of a transformer, class and register tokens first
            return self._grid(output[:, self._prefix_tokens :])
        if output.shape[1] != self.width and output.shape[-1] == self.width:  # channels last, as Swin has them
            return output.permute(0, 3, 1, 2)
        return output

    def _grid(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        side = math.isqrt(count)
        if side * side != count:
            raise InputError(f"backbone gives {count} tokens, which is not a square grid; ltml feeds square images")
        return tokens.transpose(1, 2).reshape(batch, width, side, side)


def list_backbones(pattern: str = "*") -> list[str]:
    """Names of timm models that match a wildcard."""
    names: list[str] = timm.list_models(pattern)
    return names


def normalization(name: str, channels: int) -> tuple[list[float], list[float]]:
    """Channel means and standard deviations in [0, 1] that the model's weights expect; their average for grey."""
    config = timm.get_pretrained_cfg(name)
    mean, std = (list(config.mean), list(config.std)) if config is not None else ([0.5], [0.5])
    return (mean, std) if channels == len(mean) else ([sum(mean) / len(mean)], [sum(std) / len(std)])


def check_backbone_name(name: str) -> None:
    """Refuse a name that timm does not have.

    Raises:
        InputError: names the nearest.
    """
    if not timm.is_model(name.split(".")[0]):
        raise InputError(f"backbone.name: unknown backbone '{name}': {suggest(name, timm.list_models(), most=6)}")


def _create(name: str, image_size: int, channels: int, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    check_backbone_name(name)
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options.setdefault("img_size", image_size)
    try:
        net: nn.Module = timm.create_model(name, pretrained=pretrained, in_chans=channels, num_classes=0, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise InputError(f"backbone.options {options} do not suit timm's '{name}': {error}") from error
    except Exception as error:  # the hub's clients raise errors of several libraries when offline
        if not pretrained:
            raise
        raise LtmlError(
            f"cannot get pretrained weights for backbone '{name}': {_first_line(error)}. They are neither in the cache "
            "nor reachable. Fetch them on a machine with network and copy its Hugging Face cache (HF_HOME), or give a "
            "file with backbone.weights=FILE, or set backbone.pretrained=false to train from random weights."
        ) from error
    return net


def load_weights(net: nn.Module, path: Path) -> None:
    """Load a local file (.safetensors or a torch state dict) into a model, classifier entries aside.

    Raises:
        InputError: the file is missing, unreadable, or lacks or misshapes entries of the model.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"cannot read backbone.weights {path}: {_first_line(error)}") from error
    except Exception as error:  # pickle's own errors, one of which says how to disable its safety
        raise InputError(f"backbone.weights {path} is not a plain state dict of tensors") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    own = net.state_dict()
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    if wrong:
        raise InputError(
            f"backbone.weights {path} does not fit the backbone: {len(wrong)} of {len(own)} entries are missing or have "
            f"another shape ({first_few(wrong, most=3)}). Check backbone.name, data.channels and the file."
        )
    net.load_state_dict({key: state[key] for key in own})


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
