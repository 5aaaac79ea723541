"""The supervised term: a loss on known labels."""

from __future__ import annotations

from torch import Tensor, nn

from ltml.objectives.objective import Step, TrainingContext, tell_epoch
from ltml.registry import OBJECTIVES


@OBJECTIVES.register("supervised")
class Supervised(nn.Module):
    """The recipe's loss over known entries.

    Args:
        loss: the recipe's loss.
        context: unused; every term is built alike.
    """

    def __init__(self, loss: nn.Module, context: TrainingContext) -> None:  # noqa: ARG002
        super().__init__()
        self.loss = loss

    def forward(self, step: Step) -> Tensor:
        """Scalar loss of a step."""
        tell_epoch(self.loss, step.epoch)
        value: Tensor = self.loss(step.output.logits, step.batch.targets, step.batch.known)
        return value
