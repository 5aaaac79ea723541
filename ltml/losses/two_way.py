"""Two-way multi-label loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ltml.losses.masking import Total, log_sum_exp, prepare, reduce, refuse_soft
from ltml.registry import LOSSES


def two_way_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    temperature_pos: float = 4.0,
    temperature_neg: float = 1.0,
    reduction: Total = "mean",
) -> Tensor:
    """Two-way loss: ``softplus(T₋ log Σ_neg exp(x/T₋) + T₊ log Σ_pos exp(−x/T₊))`` by sample and by class, added.

    Kobayashi (CVPR 2023): within a sample the positive labels, and within a class the positive samples, are
    to lie above the negative ones. Samples and classes without a known positive are left out of their mean; with no
    known negative their term is 0 and counts. An unknown entry enters no sum.

    The loss depends on the whole batch: a class is compared over all samples in it, and doubling the batch adds
    ``(T₊ + T₋) log 2`` to the argument of every class's softplus. There is no loss of a single entry.

    Args:
        logits: ``(B, C)``.
        targets: ``(B, C)``, 0 or 1 where known.
        known: boolean ``(B, C)``; None means all known.
        temperature_pos: T₊ > 0.
        temperature_neg: T₋ > 0.
        reduction: ``mean`` over samples plus mean over classes, or ``sum`` over both.

    Returns:
        A scalar; float32 at least.

    Raises:
        InputError: see `prepare`; or a known target is neither 0 nor 1.

    Example:
        >>> import torch
        >>> round(two_way_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
        0.6931
    """
    logits, targets, mask = prepare(logits, targets, known)
    refuse_soft(targets, mask, "two_way")
    present, absent = mask & (targets == 1), mask & (targets == 0)
    total = logits.new_zeros(())
    for dim in (1, 0):
        hardest_absent = temperature_neg * log_sum_exp(logits / temperature_neg, absent, dim)
        hardest_present = temperature_pos * log_sum_exp(-logits / temperature_pos, present, dim)
        terms = -functional.logsigmoid(-hardest_absent - hardest_present)
        total = total + reduce(terms, present.any(dim=dim, keepdim=True), reduction)
    return total


@LOSSES.register("two_way")
class TwoWayLoss(nn.Module):
    """Two-way multi-label loss; see `two_way_loss`."""

    def __init__(
        self,
        *,
        temperature_pos: Annotated[float, Field(gt=0, description="of positives")] = 4.0,
        temperature_neg: Annotated[float, Field(gt=0, description="of negatives")] = 1.0,
        reduction: Annotated[Total, Field(description="over samples and over classes")] = "mean",
    ) -> None:
        super().__init__()
        self.temperature_pos = temperature_pos
        self.temperature_neg = temperature_neg
        self.reduction: Total = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `two_way_loss`."""
        return two_way_loss(
            logits,
            targets,
            known,
            temperature_pos=self.temperature_pos,
            temperature_neg=self.temperature_neg,
            reduction=self.reduction,
        )
