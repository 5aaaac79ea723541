"""Linear classifiers, one per class, on class-aware or shared features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WEIGHT, BIAS = "head.classifier.weight", "head.classifier.bias"
"""Names of a linear classifier's parameters in a checkpoint."""


class PerClassLinear(nn.Module):
    """``logit_c = w_c · x_c + b_c`` (LDRNet, eq. 6); with a shared feature, ``x_c = x`` for every class.

    Args:
        weight: initial weights ``(C, D)``.
        bias: initial biases ``(C,)``.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())

    @classmethod
    def initialised(cls, num_classes: int, width: int) -> PerClassLinear:
        """Return a classifier with small random weights and zero biases."""
        return cls(torch.randn(num_classes, width) / width**0.5, torch.zeros(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(B, C)`` of features ``(B, C, D)`` or ``(B, D)``."""
        if features.ndim == 2:
            return nn.functional.linear(features, self.weight, self.bias)
        return (features * self.weight).sum(dim=-1) + self.bias

    def class_weights(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(C, D)`` and bias ``(C,)``."""
        return self.weight, self.bias
