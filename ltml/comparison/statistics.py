"""Differences between methods over seeds, tested.

Runs of one seed share split and seed, so the default test is the paired t-test; the independent two-sample test that
the papers use stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from ltml.errors import InputError

LEVEL = 0.05
"""Significance level of adjusted p values."""
MIN_DATASETS = 5
"""Minimum number of datasets for Friedman's test."""


class Difference(NamedTuple):
    """How a row differs from another over seeds.

    Attributes:
        mean: of ``a - b``.
        sd: of ``a - b``, with divisor ``n - 1``; None for one seed.
        n: seeds.
        p: two-sided, paired t-test; None where undefined (one seed, or no spread at all).
        p_independent: two-sided, Student's two-sample t-test, as the papers have it; None in the same cases.
    """

    mean: float
    sd: float | None
    n: int
    p: float | None
    p_independent: float | None


def difference(a: npt.ArrayLike, b: npt.ArrayLike) -> Difference:
    """Return the mean difference of two rows of values, one per seed in the same order, and its tests.

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
    moments = (x.mean(), x.std(ddof=1), n, y.mean(), y.std(ddof=1), n)  # scipy's own warn where one row is constant
    independent = None if _is_constant(x) and _is_constant(y) else float(stats.ttest_ind_from_stats(*moments).pvalue)
    return Difference(float(gaps.mean()), float(gaps.std(ddof=1)), n, paired, independent)


def equivalence(a: npt.ArrayLike, b: npt.ArrayLike, margin: float) -> float | None:
    """Return the p of two one-sided paired t-tests (Schuirmann 1987): that ``|a - b|`` is below a margin in the mean.

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
    """Return Holm's step-down adjustment (1979) of a family; undefined ones are not part of it."""
    family = sorted((p, i) for i, p in enumerate(p_values) if p is not None and not math.isnan(p))
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(family):
        largest = max(largest, min(1.0, p * (len(family) - rank)))
        adjusted[i] = largest
    return adjusted


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and standard deviation with divisor ``n - 1`` (None for one value)."""
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def _is_constant(values: npt.NDArray[np.float64]) -> bool:
    """Return whether values differ by no more than rounding, where a t statistic means nothing."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


class PairedBootstrap(NamedTuple):
    """A difference over paired resamples.

    Attributes:
        low: lower end of the 95 % percentile interval of ``a - b``; None where no resample defines both.
        high: its upper end; None in the same cases.
        p: two-sided; never below ``2 / (n + 1)``; None in the same cases.
        n: resamples that define both.
    """

    low: float | None
    high: float | None
    p: float | None
    n: int


def paired_bootstrap(a: npt.ArrayLike, b: npt.ArrayLike) -> PairedBootstrap:
    """Return interval and p of a difference from one figure of two methods on the same resamples.

    The p inverts the percentile interval: twice the share of differences on the rarer side of zero, zero itself on
    both sides, with the observed data counted as one resample more (Davison & Hinkley 1997, ch. 4).

    Args:
        a: ``(R,)``, NaN where a resample does not define it.
        b: ``(R,)``, of the same resamples in the same order.

    Raises:
        ValueError: the lengths differ.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"Expected two rows of the same resamples but got {x.shape} and {y.shape}.")
    gaps = (x - y)[~np.isnan(x - y)]
    if not len(gaps):
        return PairedBootstrap(None, None, None, 0)
    low, high = np.quantile(gaps, [0.025, 0.975])
    rarer = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    return PairedBootstrap(float(low), float(high), min(1.0, 2 * (rarer + 1) / (len(gaps) + 1)), len(gaps))


class Wilcoxon(NamedTuple):
    """Wilcoxon's signed-rank test.

    Attributes:
        p: two-sided; None where all pairs are equal.
        n: pairs that differ.
        warning: why the test says nothing, or nothing more; empty where there is no reason.
    """

    p: float | None
    n: int
    warning: str


def wilcoxon(a: npt.ArrayLike, b: npt.ArrayLike) -> Wilcoxon:
    """Run Wilcoxon's signed-rank test on two rows of values, one per seed or dataset in the same order.

    Args:
        a: ``(n,)``.
        b: ``(n,)``.

    Raises:
        ValueError: the lengths differ.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"Expected two rows of the same length but got {x.shape} and {y.shape}.")
    gaps = (x - y)[x != y]
    n = len(gaps)
    if n == 0:
        return Wilcoxon(None, 0, "no pair differs: there is nothing to test")
    least = 2.0 ** (1 - n)
    warning = f"{n} pair(s) that differ cannot reach p < 0.05: the least possible p is {least:.4g}; 6 are needed"
    return Wilcoxon(float(stats.wilcoxon(gaps).pvalue), n, warning if least >= LEVEL else "")


class FriedmanNemenyi(NamedTuple):
    """Several methods over several datasets (Demšar, JMLR 2006).

    Attributes:
        ranks: mean rank of each method, ``(k,)``; 1 is best.
        p: Friedman's chi-squared test that all are alike; None where all ranks are tied.
        critical_difference: by how much mean ranks of two methods must differ at the level 0.05.
        pairs: p of every two methods, ``(k, k)``, adjusted for all pairs.
    """

    ranks: npt.NDArray[np.float64]
    p: float | None
    critical_difference: float
    pairs: npt.NDArray[np.float64]


def friedman_nemenyi(table: npt.ArrayLike) -> FriedmanNemenyi:
    """Run Friedman's test with Nemenyi's comparison of all pairs.

    Args:
        table: ``(datasets, methods)``, higher is better.

    Raises:
        InputError: fewer than 5 datasets or 3 methods, or a value is missing.
    """
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"Expected a table (datasets, methods) but got {values.shape}.")
    count, methods = values.shape
    if count < MIN_DATASETS:
        raise InputError(
            f"Friedman's test over {count} dataset(s): at least {MIN_DATASETS} are needed; compare seeds by paired "
            "t-tests instead"
        )
    if methods < 3:
        raise InputError(f"Friedman's test of {methods} method(s): at least 3 are needed; take Wilcoxon's for two")
    if np.isnan(values).any():
        raise InputError("Friedman's test needs a value of every method on every dataset; leave incomplete ones out")
    rows = stats.rankdata(-values, axis=1)
    ranks = rows.mean(axis=0)
    all_tied = bool((np.ptp(rows, axis=1) == 0).all())
    error = math.sqrt(methods * (methods + 1) / (6 * count))
    distances = np.abs(ranks[:, None] - ranks[None, :]) / error
    return FriedmanNemenyi(
        ranks=ranks,
        p=None if all_tied else float(stats.friedmanchisquare(*values.T).pvalue),
        critical_difference=nemenyi_quantile(methods) * error,
        pairs=stats.studentized_range.sf(distances * math.sqrt(2), methods, np.inf),
    )


def nemenyi_quantile(methods: int, level: float = LEVEL) -> float:
    """Return q of Nemenyi's test: the studentised range for infinite degrees of freedom over √2."""
    return float(stats.studentized_range.isf(level, methods, np.inf)) / math.sqrt(2)


def add_holm(family: Sequence[dict[str, Any] | None]) -> None:
    """Add ``p_holm`` to each result of a family that has a ``p``; None stands for what is not compared."""
    there = [entry for entry in family if entry is not None]
    for entry, p in zip(there, holm([entry["p"] for entry in there]), strict=True):
        entry["p_holm"] = p
