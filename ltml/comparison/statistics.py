"""Differences between methods over seeds, tested.

Runs of one seed share split and seed, so the default test is the paired t-test; the independent two-sample test that
the papers use stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats


class Difference(NamedTuple):
    """How a row differs from another over seeds.

    Attributes:
        mean: of ``a - b``.
        sd: of ``a - b``, with divisor ``n - 1``; None for one seed.
        n: seeds.
        p: two-sided, paired t-test; None where undefined (one seed, or no spread at all).
        p_independent: two-sided, Student's two-sample t-test, as the papers have it; None likewise.
    """

    mean: float
    sd: float | None
    n: int
    p: float | None
    p_independent: float | None


def difference(a: npt.ArrayLike, b: npt.ArrayLike) -> Difference:
    """Mean difference of two rows of values, one per seed in the same order, and its tests.

    Args:
        a: ``(n,)``.
        b: ``(n,)``.

    Raises:
        ValueError: the lengths differ or are zero.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if x.shape != y.shape or x.ndim != 1 or len(x) == 0:
        raise ValueError(f"Expected two rows of the same length but got {x.shape} and {y.shape}.")
    gaps = x - y
    n = len(gaps)
    if n < 2:
        return Difference(float(gaps.mean()), None, n, None, None)
    paired = None if _is_constant(gaps) else float(stats.ttest_rel(x, y).pvalue)
    independent = None if _is_constant(x) and _is_constant(y) else float(stats.ttest_ind(x, y).pvalue)
    return Difference(float(gaps.mean()), float(gaps.std(ddof=1)), n, paired, independent)


def equivalence(a: npt.ArrayLike, b: npt.ArrayLike, margin: float) -> float | None:
    """p of two one-sided paired t-tests (Schuirmann 1987): that ``|a - b|`` is below a margin in the mean.

    Args:
        a: ``(n,)``, one value per seed.
        b: ``(n,)``.
        margin: in the unit of the values.

    Returns:
        The larger of the two p; None where undefined (one seed, or no spread at all).
    """
    gaps = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if len(gaps) < 2 or _is_constant(gaps):
        return None
    above = stats.ttest_1samp(gaps, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(gaps, margin, alternative="less").pvalue
    return float(max(above, below))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (1979) of a family; undefined ones are not part of it."""
    family = sorted((p, i) for i, p in enumerate(p_values) if p is not None and not math.isnan(p))
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(family):
        largest = max(largest, min(1.0, p * (len(family) - rank)))
        adjusted[i] = largest
    return adjusted


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation with divisor ``n - 1`` (None for one value)."""
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def _is_constant(values: npt.NDArray[np.float64]) -> bool:
    """Whether values differ by no more than rounding, where a t statistic means nothing."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))
