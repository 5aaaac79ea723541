"""Post-hoc logit adjustment (Menon et al., ICLR 2021), in its binary form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.shift import LabelShift, shift_biases
from ltml.registry import REBALANCING


@REBALANCING.register("logit_adjust")
class LogitAdjustment(Rebalancing):
    """Subtract the training log-odds from the biases, ``b_c - tau logit(F_c)`` (Menon et al., ICLR 2021, post-hoc)."""

    moves = "nothing"
    needs_linear = True
    former_keys: ClassVar[Mapping[str, str]] = {"tau": "tau"}

    def __init__(
        self, *, tau: Annotated[float, Field(ge=0, description="factor of the training log-odds")] = 1.0
    ) -> None:
        self.tau = tau

    def adjust(self, classifier: nn.Module, shift: LabelShift) -> None:
        """Subtract ``tau`` times the training log-odds from every bias."""
        shift_biases(classifier, -self.tau * shift.natural)
