"""Consistency of two views on unknown labels (Label-Assemble, ISBI 2023, section 2)."""

from __future__ import annotations

from torch import Tensor

from ltml.losses.loss import Loss
from ltml.objectives.objective import ObjectiveTerm, Step, TrainingContext, mean_where
from ltml.objectives.pseudo_label import Sharpness, Threshold, sharpen
from ltml.registry import OBJECTIVES


@OBJECTIVES.register("consistency")
class Consistency(ObjectiveTerm):
    """Mean squared distance of the strong view's predictions of unknown labels from the weak view's pseudo-labels.

    Args:
        loss: unused; all terms have the same constructor.
        context: unused.
        threshold: see `sharpen`.
        t: see `sharpen`.
    """

    needs_strong = True

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
        assert step.strong is not None
        weak, strong = step.output.logits.float().sigmoid(), step.strong.logits.float().sigmoid()
        return mean_where((strong - sharpen(weak, self.threshold, self.t)) ** 2, ~step.batch.known)
