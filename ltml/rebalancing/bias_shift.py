"""Biases moved to the sampling prior: how much of stage 2 a change of the prior alone explains."""

from __future__ import annotations

from torch import nn

from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.shift import LabelShift, shift_biases
from ltml.registry import REBALANCING


@REBALANCING.register("bias_shift")
class BiasShift(Rebalancing):
    """Control: move the biases from the training prevalence to the sampling prior; nothing is trained."""

    moves = "nothing"
    needs_linear = True

    def adjust(self, classifier: nn.Module, shift: LabelShift) -> None:
        """Add to every bias the change of its log-odds."""
        shift_biases(classifier, shift.log_odds)
