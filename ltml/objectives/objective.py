"""What a term sees of a step, and the weighted sum of terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ltml.types import Batch, ModelOutput


class Step(NamedTuple):
    """One step of training as a term sees it."""

    batch: Batch
    output: ModelOutput
    epoch: int


class Term(NamedTuple):
    """A term with its weight and the first epoch it takes part in."""

    module: nn.Module
    weight: float
    start_epoch: int


class Objective(nn.Module):
    """The plain weighted sum of the terms that have started."""

    def __init__(self, terms: Sequence[Term]) -> None:
        super().__init__()
        self.terms = nn.ModuleList(term.module for term in terms)
        self._weights = [term.weight for term in terms]
        self._starts = [term.start_epoch for term in terms]

    def forward(self, step: Step) -> Tensor:
        """Scalar objective of a step, float32 at least; 0 before any term has started."""
        total = step.output.logits.float().sum() * 0
        for module, weight, start in zip(self.terms, self._weights, self._starts, strict=True):
            if step.epoch >= start:
                total = total + weight * module(step)
        return torch.as_tensor(total)
