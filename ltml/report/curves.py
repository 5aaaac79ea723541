"""What curves are drawn from: ROC and precision-recall points, bins of a reliability diagram, thinned for a page."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ltml.metrics.ranking import known_entries

Float64Array = npt.NDArray[np.float64]

MOST_POINTS = 200
"""Points of a curve; more would not be seen."""
BINS = 15
"""Of a reliability diagram."""


def roc_curve(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """False and true positive rate at every distinct score, from (0, 0) to (1, 1).

    Args:
        scores: ``(N,)``, higher means present.
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Returns:
        Two rows of equal length; empty where no positive or no negative is known.
    """
    above, true_positives, positives = _counts(scores, targets)
    negatives = len(known_entries(scores, targets)[1]) - positives
    if positives == 0 or negatives == 0:
        return np.empty(0), np.empty(0)
    false_positives = above - true_positives
    return np.append(0.0, false_positives / negatives), np.append(0.0, true_positives / positives)


def pr_curve(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Recall and precision at every distinct score, from the highest score down to recall 1.

    Args:
        scores: ``(N,)``, higher means present.
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Returns:
        Two rows of equal length; empty where no positive or no negative is known.
    """
    above, true_positives, positives = _counts(scores, targets)
    if positives in (0, len(known_entries(scores, targets)[1])):
        return np.empty(0), np.empty(0)
    return true_positives / positives, true_positives / above


def thin(x: Float64Array, y: Float64Array, most: int = MOST_POINTS) -> tuple[Float64Array, Float64Array]:
    """At most so many points of a curve, evenly along its length, first and last among them."""
    if len(x) <= most:
        return x, y
    along = np.append(0.0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    chosen = np.unique(np.searchsorted(along, np.linspace(0, along[-1], most - 1)).clip(0, len(x) - 1))
    chosen = np.unique([0, *chosen.tolist(), len(x) - 1])
    return x[chosen], y[chosen]


class Reliability(NamedTuple):
    """Bins of equally many answers, by their probability.

    Attributes:
        predicted: mean probability of each bin.
        observed: share of positives in each bin.
        counts: answers in each bin.
        error: adaptive expected calibration error, the mean of ``|observed − predicted|`` over answers.
    """

    predicted: Float64Array
    observed: Float64Array
    counts: npt.NDArray[np.int64]
    error: float


def reliability(probs: npt.ArrayLike, targets: npt.ArrayLike, bins: int = BINS) -> Reliability:
    """Adaptive bins (Nixon et al., CVPR workshops 2019): as many answers in each, so that sparse ranges get wide ones.

    Args:
        probs: ``(N, C)`` or ``(N,)``; all known entries are taken together.
        targets: the same shape: 0, 1, or NaN for unknown.
        bins: how many; fewer where there are fewer answers.
    """
    values, positive = known_entries(np.ravel(probs), np.ravel(targets))
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    predicted = np.array([values[part].mean() for part in parts])
    observed = np.array([positive[part].mean() for part in parts])
    counts = np.array([len(part) for part in parts], dtype=np.int64)
    error = float(np.sum(counts * np.abs(observed - predicted)) / max(counts.sum(), 1))
    return Reliability(predicted, observed, counts, error)


def cooccurrence(targets: npt.ArrayLike) -> Float64Array:
    """Share of each row label's positives that are positive for the column's label too, where both are known.

    Args:
        targets: ``(N, C)`` of 0, 1, or NaN for unknown.

    Returns:
        ``(C, C)``, 1 on the diagonal; NaN where no positive of the row has a known column.
    """
    labels = np.asarray(targets, dtype=np.float64)
    positive, known = (labels == 1).astype(np.float64), (~np.isnan(labels)).astype(np.float64)
    both, counted = positive.T @ positive, positive.T @ known
    shares: Float64Array = both / np.where(counted > 0, counted, np.nan)
    return shares


def _counts(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Float64Array, Float64Array, int]:
    """Answers and positives at or above each distinct score, from the highest, and all positives."""
    values, positive = known_entries(scores, targets)
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1) if len(values) else np.empty(0, int)
    return ends + 1.0, np.cumsum(positive[order])[ends].astype(np.float64), int(positive.sum())
