"""Distribution-balanced loss."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.counts import Counts, clipped_frequencies, per_class, read_labels
from ltml.losses.loss import Loss
from ltml.losses.masking import Reduction, prepare, reduce, refuse_soft
from ltml.registry import LOSSES


def db_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    frequencies: Tensor,
    scale: float = 2.0,
    kappa: float = 0.05,
    alpha: float = 0.1,
    beta: float = 10.0,
    mu: float = 0.2,
    gamma: float = 2.0,
    balance: float = 2.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Distribution-balanced loss: focal BCE, rebalanced per sample and class, tolerant to negatives.

    Wu et al. (ECCV 2020). With class frequencies ``F`` an entry of class ``c`` weighs ``r = α + σ(β (s − μ))``, where
    ``s = (1/F_c) / Σ_k (1/F_k)`` over the known positives ``k`` of its sample; 1 + α where there is none. Its logit is
    shifted to ``z = x + κ logit(F_c) / λ``, and with ``e = −z`` for positives and ``e = λ z`` for negatives it counts
    ``balance · r · σ(e)^γ · softplus(e)``, for negatives over λ. Shift, order of scaling and focusing, and the factor
    `balance` are those of the authors' code.

    Args:
        logits: ``(B, C)``.
        targets: ``(B, C)``, 0 or 1 where known.
        known: boolean ``(B, C)``; None means all known.
        frequencies: ``F (C,)`` in (0, 1), see `clipped_frequencies`.
        scale: λ > 0.
        kappa: κ ≥ 0.
        alpha: α ≥ 0.
        beta: β > 0.
        mu: μ.
        gamma: exponent γ of the focal weight, ≥ 0.
        balance: factor of the loss.
        reduction: ``mean`` over known entries, ``sum``, or ``none``.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`; or a known target is neither 0 nor 1.

    Example:
        >>> import torch
        >>> half = torch.full((1,), 0.5)
        >>> round(db_loss(torch.zeros(1, 1), torch.ones(1, 1), frequencies=half, gamma=0).item(), 4)
        1.5245
    """
    logits, targets, mask = prepare(logits, targets, known)
    refuse_soft(targets, mask, "db")
    frequencies = per_class(frequencies, logits)
    present = mask & (targets == 1)
    rarity = 1 / frequencies
    share = rarity / (rarity * present).sum(dim=1, keepdim=True)
    weights = alpha + (beta * (share - mu)).sigmoid()
    moved = logits + kappa * frequencies.logit() / scale
    log_right = functional.logsigmoid(torch.where(present, moved, -scale * moved))
    log_wrong = functional.logsigmoid(torch.where(present, -moved, scale * moved))
    entries = -balance * weights * (gamma * log_wrong).exp() * log_right
    return reduce(torch.where(present, entries, entries / scale), mask, reduction)


@LOSSES.register("db")
class DBLoss(Loss):
    """Focal loss, rebalanced by the other labels of the image and tolerant to negatives; see `db_loss`.

    Args:
        class_counts: known positives per class. A class without any counts as if it had half a one.
        num_samples: known entries per class, or one number for all.
        scale: see `db_loss`.
        kappa: see `db_loss`.
        alpha: see `db_loss`.
        beta: see `db_loss`.
        mu: see `db_loss`.
        gamma: see `db_loss`.
        balance: see `db_loss`.
        reduction: see `db_loss`.

    Raises:
        InputError: the counts are not those of classes.
    """

    frequencies: Tensor

    def __init__(
        self,
        class_counts: Counts,
        num_samples: Counts | float,
        *,
        scale: Annotated[float, Field(gt=0, description="lambda of the negatives' logits")] = 2.0,
        kappa: Annotated[float, Field(ge=0, description="how far logits are shifted by the prior")] = 0.05,
        alpha: Annotated[float, Field(ge=0, description="least weight")] = 0.1,
        beta: Annotated[float, Field(gt=0, description="steepness of the weight")] = 10.0,
        mu: Annotated[float, Field(description="where the weight rises")] = 0.2,
        gamma: Annotated[float, Field(ge=0, description="exponent of the focal weight")] = 2.0,
        balance: Annotated[float, Field(gt=0, description="factor of the loss")] = 2.0,
        reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
    ) -> None:
        super().__init__()
        frequencies = clipped_frequencies(*read_labels(class_counts, num_samples))
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.scale = scale
        self.kappa = kappa
        self.alpha = alpha
        self.beta = beta
        self.mu = mu
        self.gamma = gamma
        self.balance = balance
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `db_loss`."""
        return db_loss(
            logits,
            targets,
            known,
            frequencies=self.frequencies,
            scale=self.scale,
            kappa=self.kappa,
            alpha=self.alpha,
            beta=self.beta,
            mu=self.mu,
            gamma=self.gamma,
            balance=self.balance,
            reduction=self.reduction,
        )
