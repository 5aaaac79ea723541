"""Unknown labels from the model's own answers, sharpened (Label-Assemble, ISBI 2023, section 2)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ltml.losses.loss import Loss
from ltml.objectives.objective import ObjectiveTerm, Step, TrainingContext, mean_where
from ltml.registry import OBJECTIVES

Threshold = Annotated[float, Field(gt=0, lt=1, description="answers above it go towards 1, the others towards 0")]
Sharpness = Annotated[
    float | None, Field(ge=1, description="t: answers move a t-th of the way; 1 gives hard labels, null leaves them")
]


def sharpen(answers: Tensor, threshold: float = 0.5, t: float | None = 4.0) -> Tensor:
    """Pseudo labels: ``a + (1 - a) / t`` above the threshold, else ``a - a / t``; detached.

    Args:
        answers: probabilities of any shape.
        threshold: where answers part.
        t: 1 gives hard labels, None (infinity) the answers themselves.
    """
    fixed = answers.detach()
    if t is None:
        return fixed
    return torch.where(fixed > threshold, fixed + (1 - fixed) / t, fixed - fixed / t)


@OBJECTIVES.register("pseudo_label")
class PseudoLabel(ObjectiveTerm):
    """Mean squared distance of predictions of unknown labels from their own sharpened values (``L_pseudo``).

    Args:
        loss: unused; every term is built alike.
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
        """Scalar; 0 for a batch without unknown labels."""
        answers = step.output.logits.float().sigmoid()
        return mean_where((answers - sharpen(answers, self.threshold, self.t)) ** 2, ~step.batch.known)
