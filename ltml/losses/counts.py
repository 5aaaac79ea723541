"""What losses make of the number of known training labels per class.

A loss that needs them takes ``class_counts`` (known positives per class) and ``num_samples`` (known entries per class,
or one number for all) before the ``*`` of its constructor: they follow from the data and are no options of a recipe.
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
    """Known positives per class as float64 ``(C,)``.

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
    """Known positives and known entries per class as float64 ``(C,)``.

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
    """Share of positives among known entries, within ``[1/(2n), 1 - 1/(2n)]``, ``n`` the known entries of a class.

    A class without known positives counts as if it had half a one, one without negatives likewise, and one without
    known entries is as often present as absent.
    """
    least = 0.5 / entries.clamp(min=1)
    return (positives / entries.clamp(min=1)).clamp(min=least, max=1 - least)


def positive_weights(positives: Tensor, negatives: Tensor) -> Tensor:
    """Negatives over positives per class; 1 for a class without known positives."""
    return torch.where(positives > 0, negatives / positives.clamp(min=1), 1.0)


def effective_number_weights(positives: Tensor, beta: float) -> Tensor:
    """``(1 - beta) / (1 - beta^n_c)`` per class, scaled to a mean of 1 (Cui et al., CVPR 2019).

    A class without known positives has weight 1 and no part in the mean: the formula would give it all there is.
    """
    there = positives > 0
    if not bool(there.any()):
        return torch.ones_like(positives)
    weights = (1 - beta) / (1 - beta ** positives.clamp(min=1))
    return torch.where(there, weights / weights[there].mean(), 1.0)


def per_class(values: Tensor, logits: Tensor) -> Tensor:
    """Numbers of the classes ``(C,)`` with the device and dtype of the logits ``(B, C)``.

    Raises:
        InputError: numbers of classes differ.
    """
    if values.shape != logits.shape[1:]:
        raise InputError(f"The loss was made for {len(values)} classes but got logits of {logits.shape[1]}.")
    return values.to(logits)


def _numbers(values: Counts | float, name: str) -> Tensor:
    try:
        return torch.as_tensor(values).cpu().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"Expected {name} as numbers but got {values!r}.") from error
