"""Threshold-free measures of one class: area under the ROC curve and average precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata


def auroc(scores: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Area under the ROC curve of one class, ties counted half (Mann-Whitney).

    Args:
        scores: ``(N,)``, higher means present.
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Returns:
        A value in [0, 1]; NaN where no positive or no negative is known.

    Example:
        >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.75
    """
    values, positive = known_entries(scores, targets)
    n_pos = int(positive.sum())
    n_neg = len(positive) - n_pos
    if n_pos == 0 or n_neg == 0:
        return float("nan")
    rank_sum = float(rankdata(values)[positive].sum())
    return (rank_sum - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)


def average_precision(scores: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Average precision of one class: precision summed over the steps of recall, tied scores as one step.

    Args:
        scores: ``(N,)``, higher means present.
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Returns:
        A value in (0, 1]; NaN where no positive or no negative is known.

    Example:
        >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
        0.8333
    """
    values, positive = known_entries(scores, targets)
    n_pos = int(positive.sum())
    if n_pos == 0 or n_pos == len(positive):
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    true_positives = np.cumsum(positive[order])[ends]
    precision = true_positives / (ends + 1)
    return float(np.sum(np.diff(true_positives, prepend=0) * precision) / n_pos)


def known_entries(
    scores: npt.ArrayLike, targets: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Scores of the known samples, float64 ``(n,)``, and which of those are positive; targets may be NaN (unknown)."""
    labels = np.asarray(targets, dtype=np.float64)
    known = ~np.isnan(labels)
    return np.asarray(scores, dtype=np.float64)[known], labels[known] == 1
