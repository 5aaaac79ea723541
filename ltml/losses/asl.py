"""Asymmetric loss."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


def asl_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    gamma_pos: float = 1.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
    detach_weight: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """Asymmetric loss: ``−y (1 − p)^γ₊ log p − (1 − y) m^γ₋ log(1 − m)``, ``p = σ(logit)``, ``m = max(p − clip, 0)``.

    Ridnik et al. (ICCV 2021): positives and negatives are focused on by exponents of their own, and negatives whose
    probability is below the clip count nothing. The formula is the paper's for soft targets as well; the authors'
    code, equal to it for targets 0 and 1, mixes the two exponents there. Logarithms are taken of the logits, so that
    large ones keep their digits and gradient.

    Args:
        logits: ``(B, C)``; with reduction ``none`` any shape, that of targets and known.
        targets: ``(B, C)`` in [0, 1]; soft targets are allowed.
        known: boolean ``(B, C)``; None means all known.
        gamma_pos: exponent γ₊ of positives, ≥ 0.
        gamma_neg: exponent γ₋ of negatives, ≥ 0.
        clip: probability in [0, 1) by which negatives are shifted.
        detach_weight: whether the powers carry no gradient; the gradient is then not that of the value.
        reduction: ``mean`` over known entries, ``sum`` as in the authors' code, or ``none``.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> round(asl_loss(torch.zeros(1, 1), torch.ones(1, 1)).item(), 4)
        0.3466
    """
    logits, targets, mask = prepare(logits, targets, known, any_shape=reduction == "none")
    log_present, log_absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    floor = logits.new_tensor(clip).log()
    log_shifted = torch.logaddexp(log_absent, floor).clamp(max=0)
    # Not quite 0, where a power below 1 has no derivative.
    shifted = (logits.sigmoid() - clip).clamp(min=torch.finfo(logits.dtype).tiny)
    positive_weight, negative_weight = (gamma_pos * log_absent).exp(), shifted**gamma_neg
    if detach_weight:
        positive_weight, negative_weight = positive_weight.detach(), negative_weight.detach()
    entries = -targets * positive_weight * log_present - (1 - targets) * negative_weight * log_shifted
    return reduce(entries, mask, reduction)


@LOSSES.register("asl")
class ASLLoss(nn.Module):
    """Asymmetric loss; see `asl_loss`."""

    def __init__(
        self,
        *,
        gamma_pos: Annotated[float, Field(ge=0, description="exponent of positives")] = 1.0,
        gamma_neg: Annotated[float, Field(ge=0, description="exponent of negatives")] = 4.0,
        clip: Annotated[float, Field(ge=0, lt=1, description="probability by which negatives are shifted")] = 0.05,
        detach_weight: Annotated[bool, Field(description="no gradient through the powers")] = False,
        reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
    ) -> None:
        super().__init__()
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip
        self.detach_weight = detach_weight
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `asl_loss`."""
        return asl_loss(
            logits,
            targets,
            known,
            gamma_pos=self.gamma_pos,
            gamma_neg=self.gamma_neg,
            clip=self.clip,
            detach_weight=self.detach_weight,
            reduction=self.reduction,
        )
