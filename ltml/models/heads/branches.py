"""One branch per class, so that each class has a feature of its own (Luo et al., TMI 2020, section III-B)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ltml.models.classifier import PerClassLinear
from ltml.registry import HEADS


@HEADS.register("branches")
class BranchesHead(nn.Module):
    """Global average pooling, ``C`` parallel linear maps of ``N × N'``, ``C`` scalar classifiers; class-aware features.

    ``f_c = W_c f + u_c`` and ``logit_c = w_c · f_c + b_c``. The paper names no activation between the two layers of a
    branch, so there is none, and does not say ``N'``: the default is 128.

    Args:
        in_width: channels ``N`` of the feature map.
        num_classes: ``C``.
        words: unused; this head has no prompts.
        images_per_row: images whose features stand side by side before the classifier.
        width: width ``N'`` of a class's feature.
    """

    def __init__(
        self,
        in_width: int,
        num_classes: int,
        words: Tensor | None = None,  # noqa: ARG002 - every head is built alike
        images_per_row: int = 1,
        *,
        width: Annotated[int, Field(gt=0, description="N' of the class features")] = 128,
    ) -> None:
        super().__init__()
        self.shape = (num_classes, width)
        self.branches = nn.Linear(in_width, num_classes * width)  # the maps one below the other
        self.classifier: nn.Module = PerClassLinear.initialised(num_classes, images_per_row * width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Class-aware features ``(B, C, N')`` of a map ``(B, N, H, W)``."""
        answers: Tensor = self.branches(feature_map.mean(dim=(2, 3)))
        return answers.reshape(-1, *self.shape)
