"""Robust asymmetric loss."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES

LINEAR, SQUARE = 1.0, -1.25
"""Coefficients of the positives' polynomial in 1 − p."""


@LOSSES.register("ral")
def ral_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    gamma_pos: Annotated[float, Field(ge=0, description="exponent of positives")] = 0.0,
    gamma_neg: Annotated[float, Field(ge=0, description="exponent of negatives")] = 4.0,
    clip: Annotated[float, Field(ge=0, lt=1, description="probability by which negatives are shifted")] = 0.05,
    hill: Annotated[float, Field(ge=1, description="lambda of the Hill term")] = 1.5,
    reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
) -> Tensor:
    """Robust asymmetric loss: ASL with polynomial terms; down-weights confident false negatives, often label noise.

    ``−y (1 − p)^γ₊ L₊ − (1 − y) m^γ₋ L₋`` with ``p = σ(logit)``, ``m = max(p − clip, 0)``.

    Park et al. (ICCV workshops 2023): ``L₊ = log p + (1 − p) − 1.25 (1 − p)²``. The Hill term
    ``L₋ = log(1 − m) (λ − p) p² (λ − (1 − m))`` down-weights confident false negatives, which are often label noise;
    it is read as in the authors' code. As in `asl_loss`, soft targets weigh both parts and logarithms are computed
    from the logits. The authors use reduction ``sum``.

    Args:
        gamma_pos: exponent γ₊ of positives, ≥ 0.
        gamma_neg: exponent γ₋ of negatives, ≥ 0.
        clip: probability in [0, 1) by which negatives are shifted.
        hill: λ ≥ 1; below 1, negatives with a probability above λ would have a negative loss.

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
