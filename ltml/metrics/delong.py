"""DeLong's test of the difference between two areas under the ROC curve on the same samples."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from ltml.arrays import BoolArray as Bools
from ltml.arrays import Float64Array as Floats
from ltml.metrics.inputs import read_runs
from ltml.metrics.ranking import known_entries


class DeLong(NamedTuple):
    """Two areas and the test of their difference.

    Attributes:
        auroc: of both methods, ``(2,)``; NaN where no positive or no negative is known.
        covariance: of the two areas, ``(2, 2)``; NaN with fewer than two positives or two negatives.
        z: difference over its standard error; None where that is zero or undefined.
        p: two-sided; None in the same cases.
    """

    auroc: Floats
    covariance: Floats
    z: float | None
    p: float | None


def delong(scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, targets: npt.ArrayLike) -> DeLong:
    """Compare two methods on one class (DeLong et al., Biometrics 1988) by midranks (Sun & Xu, IEEE SPL 2014).

    Samples are taken as independent: where patients have several images the test is too sure of itself, and the
    patient-cluster bootstrap is the one to read first. The mean area of several runs is a U-statistic too, whose
    placements are the means of theirs.

    Args:
        scores_a: ``(N,)``, higher means present; or ``(S, N)`` of S runs, whose areas are averaged.
        scores_b: ``(N,)`` or ``(S, N)``.
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Raises:
        ArrayError: shapes do not fit, or a value is not allowed.
    """
    both, labels = read_runs({"scores_a": scores_a, "scores_b": scores_b}, targets)
    parts = []
    for scores in both:
        runs = [_placements(*known_entries(run, labels)) for run in scores]
        parts.append([np.mean(side, axis=0) for side in zip(*runs, strict=True)])
    of_positives, of_negatives = (np.stack(side) for side in zip(*parts, strict=True))
    n_pos, n_neg = of_positives.shape[1], of_negatives.shape[1]
    if n_pos < 2 or n_neg < 2:
        areas = of_positives.mean(axis=1) if n_pos and n_neg else np.full(2, np.nan)
        return DeLong(areas, np.full((2, 2), np.nan), None, None)
    areas = of_positives.mean(axis=1)
    covariance = np.cov(of_positives) / n_pos + np.cov(of_negatives) / n_neg
    gaps = of_positives[0] - of_positives[1], of_negatives[0] - of_negatives[1]
    if all(np.ptp(gap) < 1e-12 for gap in gaps):  # rounding: a placement is a multiple of 1 / (2 n)
        return DeLong(areas, covariance, None, None)
    variance = float(np.var(gaps[0], ddof=1) / n_pos + np.var(gaps[1], ddof=1) / n_neg)
    z = float(areas[0] - areas[1]) / math.sqrt(variance)
    return DeLong(areas, covariance, z, float(2 * norm.sf(abs(z))))


def _placements(values: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative that of positives above; ties half."""
    ranks = rankdata(values)
    n_pos = int(np.count_nonzero(positive))
    n_neg = len(values) - n_pos
    below = (ranks[positive] - rankdata(values[positive])) / max(n_neg, 1)
    above = 1 - (ranks[~positive] - rankdata(values[~positive])) / max(n_pos, 1)
    return below, above
