"""Threshold-free measures of one class: area under the ROC curve and average precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ltml.arrays import BoolArray as Bools
from ltml.arrays import Float64Array as Floats
from ltml.metrics.inputs import read_pair

Ints = npt.NDArray[np.intp]

KEY = 2**32 - 1
"""Largest of the keys that scores are sorted by first."""


def auroc(scores: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the area under the ROC curve of one class, ties counted half (Mann-Whitney).

    Args:
        scores: ``(N,)``, higher means present.
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Returns:
        A value in [0, 1]; NaN where no positive or no negative is known.

    Raises:
        ArrayError: shapes do not fit, targets hold another value, or a score of a known entry is NaN.

    Example:
        >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.75
    """
    return auroc_and_ap(scores, targets)[0]


def average_precision(scores: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the average precision of one class: precision summed over the steps of recall, tied scores as one step.

    Args:
        scores: ``(N,)``, higher means present.
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Returns:
        A value in (0, 1]; NaN where no positive or no negative is known.

    Raises:
        ArrayError: shapes do not fit, targets hold another value, or a score of a known entry is NaN.

    Example:
        >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
        0.8333
    """
    return auroc_and_ap(scores, targets)[1]


def auroc_and_ap(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[float, float]:
    """Return `auroc` and `average_precision` of one class from one sort.

    Only the places of the positives in the sorted scores are looked at, so a rare class costs little beyond its sort.

    Args:
        scores: ``(N,)``, higher means present.
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Raises:
        ArrayError: shapes do not fit, targets hold another value, or a score of a known entry is NaN.
    """
    return area_and_precision(*known_entries(scores, targets))


def area_and_precision(values: Floats, positive: Bools) -> tuple[float, float]:
    """Compute `auroc_and_ap` from the scores of the known entries ``(K,)`` and which of them are positive."""
    count, n_pos = len(values), int(np.count_nonzero(positive))
    if n_pos in (0, count):
        return float("nan"), float("nan")
    order = sort_order(values)
    places = np.flatnonzero(positive[order])
    starts, ends = _tied_with(values[order], places)
    rank_sum = float(np.sum(starts + ends + 1)) / 2  # ranks from 1; a tie has the mean of its ranks
    area = (rank_sum - n_pos * (n_pos + 1) / 2) / (n_pos * (count - n_pos))
    positives_from = n_pos - np.searchsorted(places, starts)
    return area, float(np.mean(positives_from / (count - starts)))


def known_entries(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Floats, Bools]:
    """Return scores of the known entries as float64 ``(K,)``, and which of them are positive.

    Raises:
        ArrayError: shapes do not fit, targets hold another value, or a score of a known entry is NaN.
    """
    return _where_known(*read_pair(scores, targets, what="scores", chances=False))


def _where_known(values: Floats, labels: Floats) -> tuple[Floats, Bools]:
    known = ~np.isnan(labels)
    return values[known], labels[known] == 1


def sort_order(values: Floats) -> Ints:
    """Return ``np.argsort(values, kind="stable")``, in about a fifth of the time where values are many.

    numpy sorts 16-bit integers by radix: two such passes over 32-bit keys, the values' places in their range, leave so
    little out of order that its merge sort ends at once.

    Args:
        values: ``(N,)``, infinite ones allowed.

    Raises:
        ValueError: a value is NaN.
    """
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if np.isnan(low):
        raise ValueError("Expected scores without NaN.")
    span = high - low
    if not 0 < span < float("inf"):
        return np.argsort(values, kind="stable")
    keys = ((values - low) / span * KEY).astype(np.uint32)
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    order = order[np.argsort((keys >> np.uint32(16)).astype(np.uint16)[order], kind="stable")]
    exact: Ints = order[np.argsort(values[order], kind="stable")]
    return exact


def _tied_with(ordered: Floats, places: Ints) -> tuple[Ints, Ints]:
    """Return the first index, and one past the last, of the values equal to those at some places; ascending."""
    is_new = ordered[1:] != ordered[:-1]
    if is_new.all():
        return places, places + 1
    bounds = np.concatenate([[0], np.flatnonzero(is_new) + 1, [len(ordered)]])
    steps = np.searchsorted(bounds, places, side="right")
    return bounds[steps - 1], bounds[steps]
