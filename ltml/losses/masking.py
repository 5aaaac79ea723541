"""What every masked loss shares: checked inputs and reductions over known entries."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ltml.errors import InputError

Reduction = Literal["mean", "sum", "none"]
Total = Literal["mean", "sum"]
"""Reduction of a loss that couples entries, so that no part of it belongs to one of them."""


def prepare(logits: Tensor, targets: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Check shapes and give logits and targets in float32 at least, and a boolean mask.

    Args:
        logits: floating ``(B, C)``.
        targets: ``(B, C)`` in [0, 1], no NaN.
        known: boolean ``(B, C)``; None means all known.

    Raises:
        InputError: shapes differ, the mask is not boolean, or targets hold NaN.
    """
    if logits.shape != targets.shape:
        raise InputError(f"Expected targets of shape {tuple(logits.shape)} but got {tuple(targets.shape)}.")
    mask = torch.ones_like(targets, dtype=torch.bool) if known is None else known
    if mask.dtype != torch.bool or mask.shape != logits.shape:
        raise InputError(
            f"Expected known as a boolean mask of shape {tuple(logits.shape)} but got {mask.dtype} {tuple(mask.shape)}."
        )
    if targets.is_floating_point() and bool(torch.isnan(targets).any()):
        raise InputError("Expected targets without NaN; mark unknown entries in the mask `known` instead.")
    wide = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(wide), targets.to(wide), mask


def reduce(entries: Tensor, known: Tensor, reduction: Reduction) -> Tensor:
    """Reduce per-entry losses ``(B, C)`` over known entries; unknown ones contribute exactly nothing.

    ``mean`` divides by the number of known entries; with none it is 0.
    """
    kept = torch.where(known, entries, torch.zeros_like(entries))
    if reduction == "none":
        return kept
    if reduction == "sum":
        return kept.sum()
    return kept.sum() / known.sum().clamp(min=1)


def refuse_soft(targets: Tensor, known: Tensor, name: str) -> None:
    """Refuse known targets between 0 and 1, for a loss that needs a set of positives.

    Raises:
        InputError: names the loss.
    """
    soft = known & (targets != 0) & (targets != 1)
    if bool(soft.any()):
        raise InputError(
            f"Expected targets of 0 or 1 but got {targets[soft][0].item():g}: the loss '{name}' is defined by which "
            "labels are positive. Use a loss that takes soft targets, e.g. bce, asl or focal."
        )


def log_sum_exp(values: Tensor, kept: Tensor, dim: int) -> Tensor:
    """Logarithm of the sum of exponentials of the entries that a mask keeps, `dim` kept as 1.

    Of none it is the lowest number of the dtype; no gradient reaches an entry that is left out.
    """
    return values.masked_fill(~kept, torch.finfo(values.dtype).min).logsumexp(dim=dim, keepdim=True)
