"""Multi-label softmax loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ltml.losses.masking import Total, log_sum_exp, prepare, reduce, refuse_soft
from ltml.registry import LOSSES


def mlsl_loss(logits: Tensor, targets: Tensor, known: Tensor | None = None, *, reduction: Total = "mean") -> Tensor:
    """Multi-label softmax: ``−log(exp(x_ic) / (exp(x_ic) + Σ_neg exp(x)))`` per positive, by sample and by class.

    Yi et al. (IEEE TMI 42(1), 2022). For a positive entry the negatives are once those of its sample, which orders the
    labels of an image, and once those of its class in the batch, which orders the images of a label; the two are added.
    An unknown entry is in no softmax; a positive without negatives has the loss 0 and counts.

    The loss depends on the whole batch: more samples put more negatives beside a class's positives, so doubling the
    batch raises the part by class. There is no loss of a single entry, and none of a batch without positives: 0.

    Args:
        logits: ``(B, C)``.
        targets: ``(B, C)``, 0 or 1 where known.
        known: boolean ``(B, C)``; None means all known.
        reduction: ``mean`` over known positives, or ``sum``.

    Returns:
        A scalar; float32 at least.

    Raises:
        InputError: see `prepare`; or a known target is neither 0 nor 1.

    Example:
        >>> import torch
        >>> round(mlsl_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
        0.6931
    """
    logits, targets, mask = prepare(logits, targets, known)
    refuse_soft(targets, mask, "mlsl")
    present, absent = mask & (targets == 1), mask & (targets == 0)
    by_sample, by_class = (-functional.logsigmoid(logits - log_sum_exp(logits, absent, dim)) for dim in (1, 0))
    return reduce(by_sample + by_class, present, reduction)


@LOSSES.register("mlsl")
class MLSLLoss(nn.Module):
    """Multi-label softmax loss; see `mlsl_loss`."""

    def __init__(self, *, reduction: Annotated[Total, Field(description="over known positives")] = "mean") -> None:
        super().__init__()
        self.reduction: Total = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `mlsl_loss`."""
        return mlsl_loss(logits, targets, known, reduction=self.reduction)
