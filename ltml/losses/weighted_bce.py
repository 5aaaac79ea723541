"""Binary cross entropy with heavier positives for rarer classes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.counts import Counts, per_class, positive_weights, read_labels
from ltml.losses.loss import Loss
from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


def weighted_bce_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    weights: Tensor,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy with weighted positives: ``−β_c y log p − (1 − y) log(1 − p)``, ``p = σ(logit)``.

    Rajpurkar et al. (CheXNet, 2017, section 2.1), whose weights are these up to a factor per class. With ``β_c``
    negatives over positives (`positive_weights`) both labels of a class weigh the same in sum.

    Args:
        logits: ``(B, C)``.
        targets: ``(B, C)`` in [0, 1]; soft targets are allowed.
        known: boolean ``(B, C)``; None means all known.
        weights: ``β (C,)``.
        reduction: ``mean`` over known entries, ``sum``, or ``none``.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> round(weighted_bce_loss(torch.zeros(1, 1), torch.ones(1, 1), weights=torch.tensor([3.0])).item(), 4)
        2.0794
    """
    logits, targets, mask = prepare(logits, targets, known)
    present, absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return reduce(-per_class(weights, logits) * targets * present - (1 - targets) * absent, mask, reduction)


@LOSSES.register("weighted_bce")
class WeightedBCELoss(Loss):
    """Binary cross entropy with positives weighted by negatives over positives; see `weighted_bce_loss`.

    The weight of a class without known positives is 1. That of a class without known negatives is 0, so its known
    entries, all positive, do not count.

    Args:
        class_counts: known positives per class.
        num_samples: known entries per class, or one number for all.
        reduction: see `weighted_bce_loss`.

    Raises:
        InputError: the counts are not those of classes.
    """

    weights: Tensor

    def __init__(
        self,
        class_counts: Counts,
        num_samples: Counts | float,
        *,
        reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
    ) -> None:
        super().__init__()
        positives, entries = read_labels(class_counts, num_samples)
        self.register_buffer("weights", positive_weights(positives, entries - positives).float(), persistent=False)
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `weighted_bce_loss`."""
        return weighted_bce_loss(logits, targets, known, weights=self.weights, reduction=self.reduction)
