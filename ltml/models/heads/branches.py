"""One branch and thus one feature per class (Luo et al., TMI 2020, section III-B)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ltml.models.classifier import PerClassLinear
from ltml.models.context import HeadContext
from ltml.models.heads.head import Head
from ltml.registry import HEADS


@HEADS.register("branches")
class BranchesHead(Head):
    """Global average pooling and a branch per class: a linear map and a scalar classifier; class-aware features.

    ``f_c = W_c f + u_c`` and ``logit_c = w_c · f_c + b_c``. The paper names no activation between the two layers of a
    branch, so there is none, and does not say ``N'``: the default is 128.

    Args:
        context: the backbone's width and the labels.
        width: width ``N'`` of each class's feature.
    """

    def __init__(
        self,
        context: HeadContext,
        *,
        width: Annotated[int, Field(gt=0, description="N' of the class features")] = 128,
    ) -> None:
        super().__init__()
        self.shape = (context.num_classes, width)
        self.branches = nn.Linear(context.width, context.num_classes * width)  # the maps stacked
        self.classifier = PerClassLinear.initialised(context.num_classes, context.images_per_row * width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Return class-aware features ``(B, C, N')`` of a map ``(B, N, H, W)``."""
        features: Tensor = self.branches(feature_map.mean(dim=(2, 3)))
        return features.reshape(-1, *self.shape)
