"""Any timm model as a feature map ``(B, D0, H, W)``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from ltml.errors import InputError, LtmlError, first_line, suggest


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
        self.net: Any = _create(name, image_size, channels, pretrained, weights, dict(options or {}))
        self.width: int = self.net.num_features
        self._prefix_tokens = int(getattr(self.net, "num_prefix_tokens", 0))

    def forward(self, images: Tensor) -> Tensor:
        """Feature map ``(B, D0, H, W)`` of normalised images ``(B, channels, h, w)``."""
        output: Tensor = self.net.forward_features(images)
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
        hint = suggest(name, timm.list_models())
        raise InputError(f"backbone.name: unknown backbone '{name}': {hint} (`ltml list backbones 'resnet*'`)")


def _create(name: str, image_size: int, channels: int, pretrained: bool, weights: Path | None, options: Any) -> Any:
    """timm adapts the input layer of pretrained or local weights to the number of channels."""
    check_backbone_name(name)
    config = timm.get_pretrained_cfg(name)
    options = {"in_chans": channels, "num_classes": 0, **options}
    if config is not None and config.fixed_input_size:
        options.setdefault("img_size", image_size)
    try:
        net = timm.create_model(name, pretrained=False, **options)
    except Exception as error:  # timm lets wrong arguments fail wherever they first matter
        raise InputError(f"backbone.options {options} do not suit timm's '{name}': {first_line(error)}") from error
    if weights is not None:
        return _with_file(name, weights, options)
    return _with_pretrained(name, options) if pretrained else net


def _with_file(name: str, weights: Path, options: dict[str, Any]) -> Any:
    if not weights.is_file():
        raise InputError(f"backbone.weights {weights} is not a file")
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}, **options)
    except Exception as error:  # a damaged file fails in one of several libraries, a wrong one in load_state_dict
        raise InputError(
            f"backbone.weights {weights} cannot be loaded into '{name}': {first_line(error)}. It must be a "
            ".safetensors or .pth state dict of that timm model; check backbone.name and backbone.options."
        ) from error


def _with_pretrained(name: str, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub's clients raise errors of several libraries when offline
        raise LtmlError(
            f"cannot get pretrained weights for backbone '{name}': {first_line(error)}. They are neither in the cache "
            "nor reachable. Fetch them on a machine with network and copy its Hugging Face cache (HF_HOME), or give a "
            "file with backbone.weights=FILE, or set backbone.pretrained=false to train from random weights."
        ) from error
