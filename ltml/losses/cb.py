"""Class-balanced binary cross entropy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.counts import Counts, effective_number_weights, per_class, read_counts
from ltml.losses.loss import Loss
from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


def cb_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    weights: Tensor,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy with a weight per class.

    Cui et al. (CVPR 2019) weigh a sample by the effective number of samples of its one class. With several labels per
    image the weight is read as that of the class of an entry, for positives and negatives alike.

    Args:
        logits: ``(B, C)``.
        targets: ``(B, C)`` in [0, 1]; soft targets are allowed.
        known: boolean ``(B, C)``; None means all known.
        weights: ``(C,)``, see `effective_number_weights`.
        reduction: ``mean`` over known entries, ``sum``, or ``none``.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> round(cb_loss(torch.zeros(1, 1), torch.ones(1, 1), weights=torch.tensor([2.0])).item(), 4)
        1.3863
    """
    logits, targets, mask = prepare(logits, targets, known)
    entries = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return reduce(per_class(weights, logits) * entries, mask, reduction)


@LOSSES.register("cb")
class CBLoss(Loss):
    """Binary cross entropy weighted by the effective number of positives per class; see `cb_loss`.

    Args:
        class_counts: known positives per class. A class without any has weight 1, the mean of the others.
        beta: see `effective_number_weights`.
        reduction: see `cb_loss`.

    Raises:
        InputError: the counts are not those of classes.
    """

    weights: Tensor

    def __init__(
        self,
        class_counts: Counts,
        *,
        beta: Annotated[float, Field(ge=0, lt=1, description="0: equal weights; towards 1: 1/count")] = 0.9999,
        reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
    ) -> None:
        super().__init__()
        weights = effective_number_weights(read_counts(class_counts), beta)
        self.register_buffer("weights", weights.float(), persistent=False)
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `cb_loss`."""
        return cb_loss(logits, targets, known, weights=self.weights, reduction=self.reduction)
