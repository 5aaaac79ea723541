"""A loss function as a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ltml.losses.loss import Loss


class FunctionLoss(Loss):
    """Loss without state: calls a function with fixed options.

    Args:
        function: called as ``function(logits, targets, known, **options)``.
        **options: its keyword-only parameters.
    """

    def __init__(self, function: Callable[..., Tensor], **options: Any) -> None:
        super().__init__()
        self.function = function
        self.options = options

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the loss of ``(B, C)`` logits and targets."""
        return self.function(logits, targets, known, **self.options)

    def extra_repr(self) -> str:
        """Return the function's name and its options."""
        return ", ".join([self.function.__name__, *(f"{name}={value}" for name, value in self.options.items())])
