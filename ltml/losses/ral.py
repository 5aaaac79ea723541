"""Robust asymmetric loss."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES

LINEAR, SQUARE = 1.0, -1.25
"""Coefficients of the positives' polynomial in 1 − p."""


def ral_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
    hill: float = 1.5,
    reduction: Reduction = "mean",
) -> Tensor:
    """Robust asymmetric loss: ``−y (1 − p)^γ₊ L₊ − (1 − y) m^γ₋ L₋`` with ``p = σ(logit)``, ``m = max(p − clip, 0)``.

    Park et al. (ICCV workshops 2023): ``L₊ = log p + (1 − p) − 1.25 (1 − p)²``, and the Hill term that makes negatives
    of high probability, often mislabelled, count less: ``L₋ = log(1 − m) (λ − p) p² (λ − (1 − m))``, read as the
    authors' code has it. As in `asl_loss`, soft targets weigh both parts, and logarithms are taken of the logits.

    Args:
        logits: ``(B, C)``; with reduction ``none`` any shape, that of targets and known.
        targets: ``(B, C)`` in [0, 1]; soft targets are allowed.
        known: boolean ``(B, C)``; None means all known.
        gamma_pos: exponent γ₊ of positives, ≥ 0.
        gamma_neg: exponent γ₋ of negatives, ≥ 0.
        clip: probability in [0, 1) by which negatives are shifted.
        hill: λ, above which probability a negative would count less than nothing, ≥ 1.
        reduction: ``mean`` over known entries, ``sum`` as in the authors' code, or ``none``.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> round(ral_loss(torch.zeros(1, 1), torch.ones(1, 1)).item(), 4)
        0.5056
    """
    logits, targets, mask = prepare(logits, targets, known, any_shape=reduction == "none")
    log_present, log_absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    p, miss = logits.sigmoid(), (-logits).sigmoid()
    positive = (gamma_pos * log_absent).exp() * (log_present + LINEAR * miss + SQUARE * miss**2)
    log_shifted = torch.logaddexp(log_absent, logits.new_tensor(clip).log()).clamp(max=0)
    # Not quite 0, where a power below 1 has no derivative.
    shifted = (p - clip).clamp(min=torch.finfo(logits.dtype).tiny)
    negative = shifted**gamma_neg * log_shifted * (hill - p) * p**2 * (hill - log_shifted.exp())
    return reduce(-targets * positive - (1 - targets) * negative, mask, reduction)


@LOSSES.register("ral")
class RALLoss(nn.Module):
    """Robust asymmetric loss; see `ral_loss`."""

    def __init__(
        self,
        *,
        gamma_pos: Annotated[float, Field(ge=0, description="exponent of positives")] = 0.0,
        gamma_neg: Annotated[float, Field(ge=0, description="exponent of negatives")] = 4.0,
        clip: Annotated[float, Field(ge=0, lt=1, description="probability by which negatives are shifted")] = 0.05,
        hill: Annotated[float, Field(ge=1, description="lambda of the Hill term")] = 1.5,
        reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
    ) -> None:
        super().__init__()
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip
        self.hill = hill
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `ral_loss`."""
        return ral_loss(
            logits,
            targets,
            known,
            gamma_pos=self.gamma_pos,
            gamma_neg=self.gamma_neg,
            clip=self.clip,
            hill=self.hill,
            reduction=self.reduction,
        )
