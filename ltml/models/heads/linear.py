"""The plain baseline: global pooling and one linear classifier per class."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from ltml.models.classifier import PerClassLinear
from ltml.models.context import HeadContext
from ltml.models.heads.head import Head
from ltml.registry import HEADS


@HEADS.register("linear")
class LinearHead(Head):
    """Global average or max pooling and a linear classifier; one shared feature.

    Args:
        context: the backbone's width and the labels.
        pool: global pooling, ``avg`` or ``max``.
    """

    class_dims = {"classifier.weight": (0,), "classifier.bias": (0,)}  # noqa: RUF012

    def __init__(
        self,
        context: HeadContext,
        *,
        pool: Annotated[Literal["avg", "max"], Field(description="global pooling")] = "avg",
    ) -> None:
        super().__init__()
        self.pool = pool
        self.classifier = PerClassLinear.initialised(context.num_classes, context.images_per_row * context.width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Return the shared feature ``(B, D0)`` of a map ``(B, D0, H, W)``."""
        return feature_map.mean(dim=(2, 3)) if self.pool == "avg" else feature_map.amax(dim=(2, 3))
