"""Binary cross entropy over known entries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


def bce_loss(logits: Tensor, targets: Tensor, known: Tensor | None = None, *, reduction: Reduction = "mean") -> Tensor:
    """Binary cross entropy with logits, averaged over known entries (LDRNet, MM 2024, eq. 7).

    Args:
        logits: ``(B, C)``; with reduction ``none`` any shape, that of targets and known.
        targets: ``(B, C)`` in [0, 1]; soft targets are allowed.
        known: boolean ``(B, C)``; None means all known.
        reduction: ``mean`` over known entries, ``sum``, or ``none`` for ``(B, C)`` with 0 where unknown.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> round(bce_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
        0.6931
    """
    logits, targets, mask = prepare(logits, targets, known, any_shape=reduction == "none")
    return reduce(functional.binary_cross_entropy_with_logits(logits, targets, reduction="none"), mask, reduction)


@LOSSES.register("bce")
class BCELoss(nn.Module):
    """Binary cross entropy over known entries; see `bce_loss`."""

    def __init__(self, *, reduction: Annotated[Reduction, Field(description="over known entries")] = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `bce_loss`."""
        return bce_loss(logits, targets, known, reduction=self.reduction)
