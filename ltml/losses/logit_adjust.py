"""Logit-adjusted binary cross entropy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.counts import Counts, clipped_frequencies, per_class, read_labels
from ltml.losses.loss import Loss
from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


def logit_adjust_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    frequencies: Tensor,
    tau: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy on ``logit + τ log(F_c / (1 − F_c))``, ``F`` the class frequencies.

    Menon et al. (ICLR 2021) add the log prior to the logits of a softmax; the binary form adds its log-odds.
    The model then learns what a balanced prior would ask for: at test time its logits are used as they are, and rare
    classes have higher ones than under BCE.

    Args:
        logits: ``(B, C)``.
        targets: ``(B, C)`` in [0, 1]; soft targets are allowed.
        known: boolean ``(B, C)``; None means all known.
        frequencies: ``F (C,)`` in (0, 1), see `clipped_frequencies`.
        tau: τ ≥ 0; 0 is BCE.
        reduction: ``mean`` over known entries, ``sum``, or ``none``.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> rare = torch.tensor([0.2])
        >>> round(logit_adjust_loss(torch.zeros(1, 1), torch.ones(1, 1), frequencies=rare).item(), 4)
        1.6094
    """
    logits, targets, mask = prepare(logits, targets, known)
    moved = logits + tau * per_class(frequencies, logits).logit()
    return reduce(functional.binary_cross_entropy_with_logits(moved, targets, reduction="none"), mask, reduction)


@LOSSES.register("logit_adjust")
class LogitAdjustLoss(Loss):
    """Binary cross entropy on logits that are shifted by the log-odds of the class; see `logit_adjust_loss`.

    Args:
        class_counts: known positives per class. A class without any counts as if it had half a one.
        num_samples: known entries per class, or one number for all.
        tau: see `logit_adjust_loss`.
        reduction: see `logit_adjust_loss`.

    Raises:
        InputError: the counts are not those of classes.
    """

    frequencies: Tensor

    def __init__(
        self,
        class_counts: Counts,
        num_samples: Counts | float,
        *,
        tau: Annotated[float, Field(ge=0, description="how far logits are moved; 0 is BCE")] = 1.0,
        reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
    ) -> None:
        super().__init__()
        frequencies = clipped_frequencies(*read_labels(class_counts, num_samples))
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.tau = tau
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `logit_adjust_loss`."""
        return logit_adjust_loss(
            logits, targets, known, frequencies=self.frequencies, tau=self.tau, reduction=self.reduction
        )
