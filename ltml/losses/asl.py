"""Asymmetric loss."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


@LOSSES.register("asl")
def asl_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    gamma_pos: Annotated[float, Field(ge=0, description="exponent of positives")] = 1.0,
    gamma_neg: Annotated[float, Field(ge=0, description="exponent of negatives")] = 4.0,
    clip: Annotated[float, Field(ge=0, lt=1, description="probability by which negatives are shifted")] = 0.05,
    detach_weight: Annotated[bool, Field(description="no gradient through the powers")] = False,
    reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
) -> Tensor:
    """Asymmetric loss: focal loss with separate exponents for positives and negatives; easy negatives are dropped.

    ``−y (1 − p)^γ₊ log p − (1 − y) m^γ₋ log(1 − m)`` with ``p = σ(logit)``, ``m = max(p − clip, 0)``.

    Ridnik et al. (ICCV 2021): the focal loss with separate exponents for positives and negatives; a negative with a
    probability below the clip contributes 0. Soft targets follow the paper's formula; the authors' code is equal to
    it for targets 0 and 1 and mixes the two exponents for others. Logarithms are computed from the logits, so large
    logits keep their digits and gradient. The authors use reduction ``sum``.

    Args:
        gamma_pos: exponent γ₊ of positives, ≥ 0.
        gamma_neg: exponent γ₋ of negatives, ≥ 0.
        clip: probability in [0, 1) by which negatives are shifted.
        detach_weight: stop the gradient through the powers; the gradient is then not that of the value.

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
