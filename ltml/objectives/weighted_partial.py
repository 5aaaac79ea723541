"""The task-weighted loss of Luo et al. (TMI 2020, eq. 1) on known labels."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.counts import positive_weights
from ltml.losses.loss import Loss
from ltml.losses.masking import prepare
from ltml.objectives.objective import ObjectiveTerm, Step, TrainingContext
from ltml.registry import OBJECTIVES


@OBJECTIVES.register("weighted_partial")
class WeightedPartial(ObjectiveTerm):
    """Weighted BCE on known labels: ``-alpha_c [beta_c y log p + (1 - y) log(1 - p)]``, over B and C.

    ``beta_c`` is negatives over positives among known training labels (1 where there is no positive), ``alpha_c`` is
    `common_weight` for classes that every source labels, and 1 for the others. As in eq. 1 the sum over known entries
    is divided by the number of samples and of all classes, known or not.

    Args:
        loss: unused; all terms have the same constructor.
        context: the training set.
        common_weight: weight ``alpha`` of classes that every source labels.
    """

    alpha: Tensor
    beta: Tensor

    def __init__(
        self,
        loss: Loss,  # noqa: ARG002
        context: TrainingContext,
        *,
        common_weight: Annotated[float, Field(gt=0, description="alpha of classes that every source labels")] = 3.0,
    ) -> None:
        super().__init__()
        self.register_buffer("beta", positive_weights(context.positives, context.negatives).float())
        self.register_buffer("alpha", torch.where(context.common, common_weight, 1.0))

    def forward(self, step: Step) -> Tensor:
        """Return a scalar; 0 for a batch without known labels."""
        logits, targets, known = prepare(step.output.logits, step.batch.targets, step.batch.known)
        present, absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        entries = -self.alpha * (self.beta * targets * present + (1 - targets) * absent)
        return torch.where(known, entries, torch.zeros_like(entries)).sum() / entries.numel()
