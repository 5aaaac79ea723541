"""Tests over seeds against their formulas and published examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ltml.comparison.statistics import difference, equivalence, holm, mean_sd

A = (0.81, 0.84, 0.79, 0.86, 0.83)
B = (0.80, 0.82, 0.79, 0.83, 0.81)


def _t_p(t: float, df: int) -> float:
    return 2 * float(stats.t.sf(abs(t), df))


def test_paired_and_independent_t_by_their_formulas() -> None:
    found = difference(A, B)
    gaps = [a - b for a, b in zip(A, B, strict=True)]
    mean = sum(gaps) / 5
    sd = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / 4)
    assert (found.n, found.mean, found.sd) == (5, pytest.approx(mean), pytest.approx(sd))
    assert found.p == pytest.approx(_t_p(mean / (sd / math.sqrt(5)), 4))
    pooled = (np.var(A, ddof=1) + np.var(B, ddof=1)) / 2
    assert found.p_independent == pytest.approx(_t_p(mean / math.sqrt(pooled * 2 / 5), 8))
    assert found.p < found.p_independent  # shared seeds make the paired test the sharper one


def test_one_seed_or_no_spread_has_no_p() -> None:
    assert difference([0.5], [0.4]) == (pytest.approx(0.1), None, 1, None, None)
    same = difference([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    assert (same.p, same.mean) == (None, pytest.approx(0.1))
    assert equivalence([0.5], [0.4], 0.01) is None


@pytest.mark.parametrize("shapes", [((0.1,), (0.1, 0.2)), ((), ())])
def test_rows_must_pair(shapes: tuple) -> None:
    with pytest.raises(ValueError, match="two rows of the same length"):
        difference(*shapes)


def test_equivalence_is_two_one_sided_tests() -> None:
    gaps = np.array(A) - np.array(B)
    error = gaps.std(ddof=1) / math.sqrt(5)
    expected = max(stats.t.sf((gaps.mean() + 0.05) / error, 4), stats.t.cdf((gaps.mean() - 0.05) / error, 4))
    assert equivalence(A, B, 0.05) == pytest.approx(expected)
    assert equivalence(A, B, 0.05) < 0.05 < equivalence(A, B, 0.005)


def test_holm_as_in_its_paper() -> None:
    """Values of R's ``p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")``; undefined ones stay out of the family."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None, 0.04, math.nan, 0.03, 0.005]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        None,
        pytest.approx(0.06),
        pytest.approx(0.02),
    ]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_mean_and_deviation_over_seeds() -> None:
    assert mean_sd([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_sd([1.0]) == (1.0, None)


def test_false_positives_of_the_default_test_are_nominal() -> None:
    """Two methods without a difference, whose seeds share a large part of their chance."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(4000, 5))
    a, b = (shared + 0.3 * rng.normal(size=(4000, 5)) for _ in range(2))
    tests = [difference(x, y) for x, y in zip(a, b, strict=True)]
    paired = np.mean([found.p < 0.05 for found in tests])
    independent = np.mean([found.p_independent < 0.05 for found in tests])
    assert 0.04 < paired < 0.06
    assert independent < 0.01  # blind to what the seeds share
    better = [difference(x + 0.6, y) for x, y in zip(a, b, strict=True)]
    assert np.mean([found.p < 0.05 for found in better]) > 3 * np.mean([found.p_independent < 0.05 for found in better])
