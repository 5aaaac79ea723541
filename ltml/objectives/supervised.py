"""The supervised term: a loss on known labels."""

from __future__ import annotations

from torch import Tensor

from ltml.losses.loss import Loss
from ltml.objectives.objective import ObjectiveTerm, Step, TrainingContext
from ltml.registry import OBJECTIVES


@OBJECTIVES.register("supervised")
class Supervised(ObjectiveTerm):
    """The loss of the recipe over known entries.

    Args:
        loss: the recipe's loss.
        context: unused; all terms have the same constructor.
    """

    def __init__(self, loss: Loss, context: TrainingContext) -> None:  # noqa: ARG002
        super().__init__()
        self.loss = loss

    def forward(self, step: Step) -> Tensor:
        """Return the scalar loss of a step."""
        self.loss.set_epoch(step.epoch)
        value: Tensor = self.loss(step.output.logits, step.batch.targets, step.batch.known)
        return value
