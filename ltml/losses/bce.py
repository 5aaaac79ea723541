"""Binary cross entropy over known entries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


@LOSSES.register("bce")
def bce_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
) -> Tensor:
    """Binary cross entropy with logits (LDRNet, MM 2024, eq. 7).

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> round(bce_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
        0.6931
    """
    logits, targets, mask = prepare(logits, targets, known, any_shape=reduction == "none")
    return reduce(functional.binary_cross_entropy_with_logits(logits, targets, reduction="none"), mask, reduction)
