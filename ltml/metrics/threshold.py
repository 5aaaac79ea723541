"""Measures of thresholded predictions: accuracy, balanced accuracy, Cohen's kappa, F1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ltml.arrays import Float64Array as Floats
from ltml.metrics.arguments import ArrayError
from ltml.metrics.class_inputs import check_thresholds
from ltml.metrics.inputs import read_pair

NAN = float("nan")


@dataclass(frozen=True)
class Confusion:
    """Counts of one class over known entries."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def total(self) -> int:
        """Known entries."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def one_sided(self) -> bool:
        """No known positive or no known negative: most measures are undefined."""
        return self.tp + self.fn == 0 or self.tn + self.fp == 0


def confusion(probs: npt.ArrayLike, targets: npt.ArrayLike, threshold: npt.ArrayLike = 0.5) -> Confusion:
    """Count outcomes of ``probs >= threshold`` of one class.

    Args:
        probs: ``(N,)`` in [0, 1].
        targets: ``(N,)`` of 0, 1, or NaN for unknown (left out).
        threshold: in [0, 1]; one, or one per entry ``(N,)``.

    Raises:
        ArrayError: shapes do not fit, or a value is not allowed.
    """
    values, labels = read_pair(probs, targets)
    limits = check_thresholds(threshold) if np.ndim(threshold) else check_thresholds([threshold])
    if limits.shape not in ((1,), values.shape):
        raise ArrayError(f"Expected one threshold or {len(values)} but got the shape {limits.shape}.")
    return count_outcomes(values >= limits, labels)


def count_outcomes(predictions: npt.NDArray[np.bool_], labels: Floats) -> Confusion:
    """Count predictions ``(N,)`` against labels ``(N,)`` of 0, 1, or NaN for unknown."""
    known = ~np.isnan(labels)
    chosen, truth = predictions[known], labels[known] == 1
    tp, predicted, positive = int((chosen & truth).sum()), int(chosen.sum()), int(truth.sum())
    return Confusion(tp, predicted - tp, positive - tp, len(truth) - predicted - positive + tp)


def accuracy(counts: Confusion) -> float:
    """Return the share of right predictions; NaN with no known entry. Its mean over classes is LDRNet's mACC."""
    return (counts.tp + counts.tn) / counts.total if counts.total else NAN


def balanced_accuracy(counts: Confusion) -> float:
    """Return the mean of sensitivity and specificity; NaN for a one-sided class."""
    if counts.one_sided:
        return NAN
    return (counts.tp / (counts.tp + counts.fn) + counts.tn / (counts.tn + counts.fp)) / 2


def f1(counts: Confusion) -> float:
    """Return the harmonic mean of precision and recall of label 1; NaN for a one-sided class."""
    if counts.one_sided:
        return NAN
    return 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn)


def kappa(counts: Confusion) -> float:
    """Return Cohen's kappa of predictions and labels; NaN for a one-sided class."""
    if counts.one_sided:
        return NAN
    chance = (
        (counts.tp + counts.fp) * (counts.tp + counts.fn) + (counts.fn + counts.tn) * (counts.fp + counts.tn)
    ) / counts.total**2
    return (accuracy(counts) - chance) / (1 - chance)
