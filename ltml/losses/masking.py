"""Input checks and reductions over known entries, shared by all losses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ltml.errors import InputError

Reduction = Literal["mean", "sum", "none"]
Total = Literal["mean", "sum"]
"""Reduction of a loss that couples entries, so that it has no value per entry."""


ROUNDING = 4
"""Allowed distance of targets from [0, 1] due to rounding, in machine epsilons of their dtype."""

_ARE_CHECKED: ContextVar[bool] = ContextVar("targets_are_checked", default=False)


@contextmanager
def targets_are_checked() -> Iterator[None]:
    """Skip the check of target values on a GPU inside the block, because it would make the host wait in every step."""
    token = _ARE_CHECKED.set(True)
    try:
        yield
    finally:
        _ARE_CHECKED.reset(token)


def prepare(
    logits: Tensor, targets: Tensor, known: Tensor | None, *, any_shape: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Check the arguments of a loss; return logits and targets in float32 at least, and a boolean mask.

    Args:
        logits: floating ``(B, C)``.
        targets: ``(B, C)``, real, boolean or whole numbers, in [0, 1] where known, no NaN.
        known: boolean ``(B, C)``; None means all known.
        any_shape: allow other shapes than ``(B, C)``, for losses of independent entries.

    Returns:
        Logits, targets and mask, ``(B, C)`` each; targets of unknown entries are finite.

    Raises:
        InputError: an argument is not a tensor, shapes or devices differ, logits are not floating, the mask is not
            boolean, or targets hold NaN or, where known, a number outside [0, 1].
    """
    _check_form(logits, targets, known, any_shape=any_shape)
    mask = torch.ones_like(targets, dtype=torch.bool) if known is None else known
    if targets.device.type == "cpu" or not _ARE_CHECKED.get():
        targets = _check_values(targets, mask)
    wide = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(wide), targets.to(wide), mask


def guard(loss: nn.Module) -> nn.Module:
    """Make a loss check its arguments before every call, whatever its own code does; return the loss."""
    loss.register_forward_pre_hook(_check_arguments, with_kwargs=True)
    return loss


def _check_arguments(_loss: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    given = dict(zip(("logits", "targets", "known"), positional, strict=False)) | named
    if "logits" in given and "targets" in given:
        prepare(given["logits"], given["targets"], given.get("known"))


def _check_form(logits: Tensor, targets: Tensor, known: Tensor | None, *, any_shape: bool) -> None:
    """Raise InputError for wrong types, shapes, dtypes or devices, without reading values."""
    for name, value in (("logits", logits), ("targets", targets), ("known", known)):
        if not isinstance(value, Tensor) and not (name == "known" and value is None):
            raise InputError(f"Expected {name} as a torch tensor (B, C) but got {type(value).__name__}.")
    if logits.ndim != 2 and not any_shape:
        raise InputError(f"Expected logits of shape (B, C), samples × classes, but got {tuple(logits.shape)}.")
    if targets.shape != logits.shape:
        raise InputError(f"Expected targets of shape {tuple(logits.shape)} but got {tuple(targets.shape)}.")
    if not logits.is_floating_point() or targets.is_complex():
        raise InputError(
            f"Expected floating logits first, then real targets, but got {logits.dtype} and {targets.dtype}."
        )
    if known is not None and (known.dtype != torch.bool or known.shape != logits.shape):
        raise InputError(
            f"Expected known as a boolean mask of shape {tuple(logits.shape)} but got {known.dtype} "
            f"{tuple(known.shape)}; for a mask of 0 and 1 use known.bool()."
        )
    devices = {value.device for value in (logits, targets, known) if value is not None}
    if len(devices) > 1:
        raise InputError(f"Expected logits, targets and known on one device but got {sorted(map(str, devices))}.")


def _check_values(targets: Tensor, known: Tensor) -> Tensor:
    """Refuse targets outside [0, 1] where known and NaN anywhere; replace other values of unknown entries by 0.

    Raises:
        InputError: names the first value that is refused.
    """
    if targets.dtype == torch.bool or not targets.numel():
        return targets
    low, high = torch.stack(torch.aminmax(targets.detach())).tolist()
    slack = ROUNDING * torch.finfo(targets.dtype).eps if targets.is_floating_point() else 0
    if low >= -slack and high <= 1 + slack:
        return targets
    outside = ~((targets >= -slack) & (targets <= 1 + slack))  # NaN is
    refused = targets[outside & known]
    if len(refused):
        value = refused[0].item()
        given = "give targets without NaN and " if math.isnan(value) else ""
        raise InputError(
            f"Expected targets in [0, 1] but got {value:.7g}; {given}mark unknown entries in the mask `known`."
        )
    if bool(targets.isnan().any()):
        raise InputError("Expected targets without NaN, also where `known` is False: use targets.nan_to_num().")
    return targets.masked_fill(outside, 0)


def reduce(entries: Tensor, known: Tensor, reduction: Reduction) -> Tensor:
    """Reduce per-entry losses ``(B, C)`` over known entries; unknown ones contribute exactly 0.

    ``mean`` divides by the number of known entries and is 0 if there are none.
    """
    kept = torch.where(known, entries, torch.zeros_like(entries))
    if reduction == "none":
        return kept
    if reduction == "sum":
        return kept.sum()
    return kept.sum() / known.sum().clamp(min=1)


def refuse_soft(targets: Tensor, known: Tensor, name: str) -> None:
    """Raise if known targets lie between 0 and 1, for a loss that needs a set of positives.

    Raises:
        InputError: names the loss.
    """
    if targets.device.type != "cpu" and _ARE_CHECKED.get():
        return
    soft = known & (targets != 0) & (targets != 1)
    if bool(soft.any()):
        raise InputError(
            f"Expected targets of 0 or 1 but got {targets[soft][0].item():g}: the loss '{name}' is defined by which "
            "labels are positive. Use a loss that takes soft targets, e.g. bce, asl or focal."
        )


def log_sum_exp(values: Tensor, kept: Tensor, dim: int) -> Tensor:
    """Return the log-sum-exp along `dim` of the entries where a mask is True; `dim` keeps size 1.

    Without such entries it is the lowest number of the dtype. Other entries get no gradient.
    """
    return values.masked_fill(~kept, torch.finfo(values.dtype).min).logsumexp(dim=dim, keepdim=True)
