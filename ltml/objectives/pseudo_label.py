"""Pseudo labels: sharpened predictions as targets of unknown labels (Label-Assemble, ISBI 2023, section 2)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ltml.losses.loss import Loss
from ltml.objectives.objective import ObjectiveTerm, Step, TrainingContext, mean_where
from ltml.registry import OBJECTIVES

Threshold = Annotated[float, Field(gt=0, lt=1, description="predictions above it move towards 1, the others towards 0")]
Sharpness = Annotated[
    float | None,
    Field(ge=1, description="t: predictions move 1/t of the way; 1: hard labels, null: unchanged"),
]


def sharpen(predictions: Tensor, threshold: float = 0.5, t: float | None = 4.0) -> Tensor:
    """Return detached pseudo labels: ``a + (1 - a) / t`` for predictions above the threshold, else ``a - a / t``.

    Args:
        predictions: probabilities ``a`` of any shape.
        threshold: probability above which a prediction moves towards 1.
        t: sharpness; 1 gives hard labels, None (infinity) the predictions themselves.
    """
    fixed = predictions.detach()
    if t is None:
        return fixed
    return torch.where(fixed > threshold, fixed + (1 - fixed) / t, fixed - fixed / t)


@OBJECTIVES.register("pseudo_label")
class PseudoLabel(ObjectiveTerm):
    """Mean squared distance of predictions of unknown labels from their own sharpened values (``L_pseudo``).

    Args:
        loss: unused; all terms have the same constructor.
        context: unused.
        threshold: see `sharpen`.
        t: see `sharpen`.
    """

    def __init__(
        self,
        loss: Loss,  # noqa: ARG002
        context: TrainingContext,  # noqa: ARG002
        *,
        threshold: Threshold = 0.5,
        t: Sharpness = 4.0,
    ) -> None:
        super().__init__()
        self.threshold, self.t = threshold, t

    def forward(self, step: Step) -> Tensor:
        """Return a scalar; 0 for a batch without unknown labels."""
        predictions = step.output.logits.float().sigmoid()
        return mean_where((predictions - sharpen(predictions, self.threshold, self.t)) ** 2, ~step.batch.known)
