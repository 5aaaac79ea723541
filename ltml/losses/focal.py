"""Focal loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


@LOSSES.register("focal")
def focal_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    gamma: Annotated[float, Field(ge=0, description="exponent; 0 is BCE")] = 2.0,
    alpha: Annotated[float | None, Field(ge=0, le=1, description="weight of positives; null: none")] = 0.25,
    reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
) -> Tensor:
    """Focal loss, which down-weights easy examples.

    ``−α y (1 − p)^γ log p − (1 − α) (1 − y) p^γ log(1 − p)`` with ``p = σ(logit)``.

    Lin et al. (ICCV 2017, eqs. 4-5) with a sigmoid per class. The formula is linear in the targets, so soft targets
    weigh both parts.

    Args:
        gamma: exponent γ, ≥ 0.
        alpha: weight α of positives in [0, 1]; None weighs positives and negatives by 1.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> round(focal_loss(torch.zeros(1, 1), torch.ones(1, 1), alpha=None).item(), 4)
        0.1733
    """
    logits, targets, mask = prepare(logits, targets, known, any_shape=reduction == "none")
    log_present, log_absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    present = -(gamma * log_absent).exp() * log_present
    absent = -(gamma * log_present).exp() * log_absent
    positive, negative = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return reduce(positive * targets * present + negative * (1 - targets) * absent, mask, reduction)
