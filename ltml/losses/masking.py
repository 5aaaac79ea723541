"""What every masked loss shares: checked inputs and reductions over known entries."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ltml.errors import InputError

Reduction = Literal["mean", "sum", "none"]


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
