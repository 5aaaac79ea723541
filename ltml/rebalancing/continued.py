"""Training that goes on: how much of stage 2 more epochs alone explain."""

from __future__ import annotations

from torch import Tensor

from ltml.losses.bce import bce_loss
from ltml.rebalancing.method import Rebalancing
from ltml.registry import REBALANCING


@REBALANCING.register("continue")
class ContinuedTraining(Rebalancing):
    """Control: train everything on by BCE, one pass over the images per M and E epoch."""

    moves = "everything"

    def image_loss(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Return the binary cross entropy of the known entries."""
        loss: Tensor = bce_loss(logits, targets, known)
        return loss
