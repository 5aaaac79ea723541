"""The plain baseline: global pooling and one linear classifier per class."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from ltml.models.classifier import PerClassLinear
from ltml.registry import HEADS


@HEADS.register("linear")
class LinearHead(nn.Module):
    """Global average or max pooling and a linear classifier; one shared feature.

    Args:
        in_width: channels ``D0`` of the feature map.
        num_classes: ``C``.
        words: unused; this head has no prompts.
        images_per_row: images whose features stand side by side before the classifier.
        pool: how the map becomes one feature.
    """

    class_dims = {"classifier.weight": (0,), "classifier.bias": (0,)}  # noqa: RUF012

    def __init__(
        self,
        in_width: int,
        num_classes: int,
        words: Tensor | None = None,  # noqa: ARG002 - every head is built alike
        images_per_row: int = 1,
        *,
        pool: Annotated[Literal["avg", "max"], Field(description="global pooling")] = "avg",
    ) -> None:
        super().__init__()
        self.pool = pool
        self.classifier: nn.Module = PerClassLinear.initialised(num_classes, images_per_row * in_width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Shared feature ``(B, D0)`` of a map ``(B, D0, H, W)``."""
        return feature_map.mean(dim=(2, 3)) if self.pool == "avg" else feature_map.amax(dim=(2, 3))
