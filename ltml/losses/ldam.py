"""Label-distribution-aware margin loss with deferred re-weighting."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.counts import Counts, effective_number_weights, per_class, read_counts
from ltml.losses.loss import Loss
from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


def ldam_margins(class_counts: Tensor, largest: float) -> Tensor:
    """Return ``largest · (n_c / min n)^(−1/4)`` per class, the minimum over classes with known positives.

    A class without any has the largest margin.

    Args:
        class_counts: known positives per class ``(C,)``.
        largest: margin of the rarest class.
    """
    present = class_counts > 0
    least = class_counts[present].min() if bool(present.any()) else class_counts.new_ones(())
    return largest * (class_counts.clamp(min=least) / least) ** -0.25


def ldam_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    margins: Tensor,
    weights: Tensor | None = None,
    scale: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy with a margin to pass: ``−w_c [y log σ(s (x − m_c)) + (1 − y) log σ(−s x)]``.

    Cao et al. (NeurIPS 2019) subtract the margin from the logit of the true class in a softmax. In the
    binary form it is subtracted from a positive's logit and negatives keep theirs; the negatives of a rare class are
    many, so they need no margin. The formula is linear in the targets, so soft ones weigh both of its parts.

    Args:
        logits: ``(B, C)``.
        targets: ``(B, C)`` in [0, 1]; soft targets are allowed.
        known: boolean ``(B, C)``; None means all known.
        margins: ``m (C,)``, see `ldam_margins`.
        weights: ``w (C,)``; None weighs every class by 1.
        scale: s > 0; the authors' 30 is for logits that are cosines.
        reduction: ``mean`` over known entries, ``sum``, or ``none``.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> round(ldam_loss(torch.zeros(1, 1), torch.ones(1, 1), margins=torch.tensor([0.5])).item(), 4)
        0.9741
    """
    logits, targets, mask = prepare(logits, targets, known)
    present = functional.logsigmoid(scale * (logits - per_class(margins, logits)))
    absent = functional.logsigmoid(-scale * logits)
    entries = -targets * present - (1 - targets) * absent
    return reduce(entries if weights is None else per_class(weights, logits) * entries, mask, reduction)


@LOSSES.register("ldam")
class LDAMLoss(Loss):
    """Margins that rare positives have to pass (LDAM), with class weights from `drw_epoch` on; see `ldam_loss`.

    The deferred weights (DRW) are those of `CBLoss`. The trainer sets the epoch by `set_epoch`.

    Args:
        class_counts: known positives per class. A class without any has the largest margin and weight 1.
        max_margin: margin of the rarest class.
        scale: see `ldam_loss`.
        drw_epoch: epoch, from 0, from which classes are weighted; None never.
        beta: parameter of the deferred weights, see `effective_number_weights`.
        reduction: see `ldam_loss`.

    Raises:
        InputError: the counts are not those of classes.
    """

    margins: Tensor
    weights: Tensor

    def __init__(
        self,
        class_counts: Counts,
        *,
        max_margin: Annotated[float, Field(ge=0, description="margin of the rarest class")] = 0.5,
        scale: Annotated[float, Field(gt=0, description="of the logits; 30 where they are cosines")] = 1.0,
        drw_epoch: Annotated[
            int | None, Field(ge=0, description="epoch, from 0, from which classes are weighted as by cb; null: never")
        ] = None,
        beta: Annotated[float, Field(ge=0, lt=1, description="of the deferred weights, see cb")] = 0.9999,
        reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
    ) -> None:
        super().__init__()
        counts = read_counts(class_counts)
        self.register_buffer("margins", ldam_margins(counts, max_margin).float(), persistent=False)
        self.register_buffer("weights", effective_number_weights(counts, beta).float(), persistent=False)
        self.scale = scale
        self.drw_epoch = drw_epoch
        self.epoch = 0
        self.reduction: Reduction = reduction

    def set_epoch(self, epoch: int) -> None:
        """Take note of the epoch, from 0, of the next calls."""
        self.epoch = epoch

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `ldam_loss`."""
        weighted = self.drw_epoch is not None and self.epoch >= self.drw_epoch
        return ldam_loss(
            logits,
            targets,
            known,
            margins=self.margins,
            weights=self.weights if weighted else None,
            scale=self.scale,
            reduction=self.reduction,
        )
