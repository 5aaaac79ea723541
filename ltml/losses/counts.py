"""Weights and frequencies of losses, from the numbers of known training labels per class.

A loss that needs them takes ``class_counts`` (known positives per class) and ``num_samples`` (known entries per class,
or one number for all) before the ``*`` of its constructor, because they come from the data, not from a recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ltml.errors import InputError

Counts = Sequence[float] | npt.NDArray[Any] | Tensor


def read_counts(class_counts: Counts) -> Tensor:
    """Return known positives per class as float64 ``(C,)``.

    Raises:
        InputError: not one number per class, or one that is negative or not finite.
    """
    counts = _numbers(class_counts, "class_counts")
    if counts.ndim != 1 or len(counts) == 0:
        raise InputError(f"Expected class_counts as one number per class but got shape {tuple(counts.shape)}.")
    if not bool((torch.isfinite(counts) & (counts >= 0)).all()):
        raise InputError(f"Expected class_counts of 0 or more but got {counts.tolist()}.")
    return counts


def read_labels(class_counts: Counts, num_samples: Counts | float) -> tuple[Tensor, Tensor]:
    """Return known positives and known entries per class as float64 ``(C,)``.

    Raises:
        InputError: see `read_counts`; another number of classes, or fewer entries than positives.
    """
    positives = read_counts(class_counts)
    entries = _numbers(num_samples, "num_samples")
    if entries.shape not in ((), positives.shape):
        raise InputError(
            f"Expected num_samples as one number or one per class ({len(positives)}) but got shape "
            f"{tuple(entries.shape)}."
        )
    if not bool((torch.isfinite(entries) & (entries >= positives)).all()):
        raise InputError(f"Expected num_samples of at least class_counts {positives.tolist()} but got {num_samples}.")
    return positives, entries.expand_as(positives)


def clipped_frequencies(positives: Tensor, entries: Tensor) -> Tensor:
    """Return the share of positives among the ``n`` known entries of a class, clipped to ``[1/(2n), 1 - 1/(2n)]``.

    A class without known positives counts as if it had half a positive, one without known negatives as if it had half
    a negative. The share of a class without known entries is 0.5.
    """
    least = 0.5 / entries.clamp(min=1)
    return (positives / entries.clamp(min=1)).clamp(min=least, max=1 - least)


def positive_weights(positives: Tensor, negatives: Tensor) -> Tensor:
    """Return negatives over positives per class; 1 for a class without known positives."""
    return torch.where(positives > 0, negatives / positives.clamp(min=1), 1.0)


def effective_number_weights(positives: Tensor, beta: float) -> Tensor:
    """Return ``(1 - beta) / (1 - beta^n_c)`` per class, scaled to a mean of 1 (Cui et al., CVPR 2019).

    A class without known positives has weight 1 and is left out of the mean; the formula would make it infinite.
    """
    present = positives > 0
    if not bool(present.any()):
        return torch.ones_like(positives)
    weights = (1 - beta) / (1 - beta ** positives.clamp(min=1))
    return torch.where(present, weights / weights[present].mean(), 1.0)


def per_class(values: Tensor, logits: Tensor) -> Tensor:
    """Return values per class ``(C,)`` with the device and dtype of the logits ``(B, C)``.

    Raises:
        InputError: the numbers of classes differ.
    """
    if values.shape != logits.shape[1:]:
        raise InputError(f"The loss was made for {len(values)} classes but got logits of {logits.shape[1]}.")
    return values.to(logits)


def _numbers(values: Counts | float, name: str) -> Tensor:
    try:
        return torch.as_tensor(values).cpu().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"Expected {name} as numbers but got {values!r}.") from error
