"""Points of ROC and precision-recall curves, their confidence bands, and the bins of a reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ltml.arrays import Float64Array
from ltml.metrics.bootstrap import CHUNK, LEVEL, draw_weights, number_groups, why_no_interval
from ltml.metrics.ranking import known_entries

MAX_POINTS = 200
"""Maximum number of points of a drawn curve."""
BINS = 15
"""Number of bins of a reliability diagram."""
RESAMPLES = 200
"""Number of bootstrap resamples for a confidence band."""
GRID = np.linspace(0, 1, 41)
"""Values of the horizontal axis at which a confidence band is computed."""


def roc_curve(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return the false and true positive rates at every distinct score, from (0, 0) to (1, 1).

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
    """Return recall and precision at every distinct score, from the highest score down to recall 1.

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


def thin(x: Float64Array, y: Float64Array, max_points: int = MAX_POINTS) -> tuple[Float64Array, Float64Array]:
    """Return at most `max_points` points of a curve, evenly along its length, with its first and last."""
    if len(x) <= max_points:
        return x, y
    along = np.append(0.0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    chosen = np.unique(np.searchsorted(along, np.linspace(0, along[-1], max_points - 1)).clip(0, len(x) - 1))
    chosen = np.unique([0, *chosen.tolist(), len(x) - 1])
    return x[chosen], y[chosen]


class Reliability(NamedTuple):
    """Bins of equally many predictions, by their probability.

    Attributes:
        predicted: mean probability of each bin.
        observed: share of positives in each bin.
        counts: number of predictions in each bin.
        error: adaptive expected calibration error, the mean of ``|observed − predicted|`` over predictions.
    """

    predicted: Float64Array
    observed: Float64Array
    counts: npt.NDArray[np.int64]
    error: float


def reliability(probs: npt.ArrayLike, targets: npt.ArrayLike, bins: int = BINS) -> Reliability:
    """Sort predictions into adaptive bins of equal size (Nixon et al., CVPR workshops 2019).

    Sparse ranges get wide bins. Equal probabilities share a bin, so that the order of the rows does not matter.

    Args:
        probs: ``(N, C)`` or ``(N,)``; all known entries are taken together.
        targets: the same shape: 0, 1, or NaN for unknown.
        bins: number of bins; empty ones are left out.
    """
    values, positive = known_entries(np.ravel(probs), np.ravel(targets))
    bin_of = np.searchsorted(np.sort(values), values) * bins // max(len(values), 1)
    counts, predicted, observed = (
        np.bincount(bin_of, weights=weights, minlength=bins) for weights in (None, values, positive)
    )
    filled = counts > 0
    error = float(np.abs(observed - predicted).sum() / max(len(values), 1))
    sizes = counts[filled]
    return Reliability(predicted[filled] / sizes, observed[filled] / sizes, sizes, error)


def confidence_band(
    kind: Literal["roc", "pr"],
    scores: npt.ArrayLike,
    targets: npt.ArrayLike,
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Float64Array, Float64Array] | None:
    """Return the pointwise interval of a curve at `GRID`, from resamples of patients with replacement.

    All classes of the same rows get the same resamples. A resample without a positive or a negative of the class is
    passed over.

    Args:
        kind: ``roc`` or ``pr``.
        scores: ``(N,)``, higher means present.
        targets: ``(N,)`` of 0, 1, or NaN for unknown.
        groups: ``(N,)``, the patient of each row.
        resamples: number of resamples.
        seed: seed of the resamples.

    Returns:
        Lower and upper ends, each ``(41,)``; None if the class is too rare for an interval, there is only one patient,
        or no resample has both positives and negatives.
    """
    numbers, n_groups = number_groups(groups)
    if why_no_interval(targets) is not None or n_groups < 2:
        return None
    values, positive = known_entries(scores, targets)
    order = np.argsort(-values, kind="stable")
    ends, positive = _ends_of_ties(values[order]), positive[order]
    group_of = numbers[~np.isnan(np.asarray(targets, dtype=np.float64))][order]
    rng, heights = np.random.default_rng(seed), []
    for start in range(0, resamples, CHUNK):
        weights = draw_weights(rng, n_groups, min(CHUNK, resamples - start))[group_of]
        above = np.cumsum(weights, axis=0)[ends].T
        hits = np.cumsum(weights * positive[:, None], axis=0)[ends].T
        pairs = zip(above, hits, strict=True)
        heights += [_heights(kind, a, h) for a, h in pairs if 0 < h[-1] < a[-1]]
    if not heights:
        return None
    low, high = np.quantile(heights, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def _heights(kind: str, above: Float64Array, hits: Float64Array) -> Float64Array:
    """Return a curve at `GRID`: the interpolated true positive rate, or the precision where the recall is reached."""
    if kind == "roc":
        false = np.append(0.0, (above - hits) / (above[-1] - hits[-1]))
        rate: Float64Array = np.interp(GRID, false, np.append(0.0, hits / hits[-1]))
        return rate
    drawn = above > 0  # the first rows may be missing from the resample
    above, hits = above[drawn], hits[drawn]
    reached = np.searchsorted(hits / hits[-1], GRID - 1e-12)
    precision: Float64Array = (hits / above)[reached]
    return precision


def cooccurrence(targets: npt.ArrayLike) -> Float64Array:
    """Return the share of each row label's positives that are positive for the column's label too, if both are known.

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
    """Return predictions and positives at or above each distinct score, from the highest, and all positives."""
    values, positive = known_entries(scores, targets)
    order = np.argsort(-values, kind="stable")
    ends = _ends_of_ties(values[order])
    above = (ends + 1).astype(np.float64)
    return above, np.cumsum(positive[order])[ends].astype(np.float64), int(positive.sum())


def _ends_of_ties(ordered: Float64Array) -> npt.NDArray[np.intp]:
    """Return the last index of each distinct value."""
    return np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1) if len(ordered) else np.empty(0, dtype=np.intp)
