"""Tests over seeds against their formulas and published examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ltml.comparison.statistics import (
    difference,
    equivalence,
    friedman_nemenyi,
    holm,
    mean_sd,
    nemenyi_quantile,
    paired_bootstrap,
    wilcoxon,
)
from ltml.errors import InputError
from ltml.metrics.bootstrap import bootstrap_scores

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


def test_a_row_without_spread_is_compared_without_a_warning() -> None:
    """As rows whose F1 is 0 with every seed; any warning is an error here."""
    found = difference([0.0] * 5, B)
    mean, sd = np.mean(B), np.std(B, ddof=1)
    assert found.p == pytest.approx(_t_p(-mean / (sd / math.sqrt(5)), 4))
    assert found.p_independent == pytest.approx(_t_p(-mean / math.sqrt(sd**2 / 2 * 2 / 5), 8))
    assert difference([0.25] * 5, [0.5] * 5).p_independent is None


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


def test_paired_bootstrap_counts_the_rarer_side() -> None:
    gaps = np.array([-0.1] * 2 + [0.0] + [0.1] * 96)
    found = paired_bootstrap(gaps + 0.5, np.full(99, 0.5))
    assert (found.n, found.p) == (99, pytest.approx(2 * 4 / 100))
    assert (found.low, found.high) == (
        pytest.approx(np.quantile(gaps, 0.025)),
        pytest.approx(0.1),
    )
    assert paired_bootstrap([0.5, 0.6], [0.5, 0.6]).p == 1.0
    assert paired_bootstrap([0.6, math.nan, 0.7], [0.5, 0.5, math.nan]).n == 1
    assert paired_bootstrap([math.nan], [0.5]) == (None, None, None, 0)
    with pytest.raises(ValueError, match="same resamples"):
        paired_bootstrap([0.5], [0.5, 0.6])


def test_paired_bootstrap_of_two_methods_alike_has_nominal_false_positives() -> None:
    """Patients with two images each; the methods share what is hard about a patient."""
    rng, small, better = np.random.default_rng(0), 0, 0
    groups = np.repeat([f"{i:03d}" for i in range(100)], 2)
    for number in range(300):
        label = np.repeat(rng.random(100) < 0.3, 2)
        shared = label + np.repeat(rng.normal(size=100), 2)
        a, b = (shared + 0.7 * np.repeat(rng.normal(size=100), 2) + 0.3 * rng.normal(size=200) for _ in range(2))
        both = np.stack([a, b, label + 0.5 * rng.normal(size=200)], axis=1)
        targets = np.tile(label[:, None], 3)
        found = bootstrap_scores(both, targets, groups, measures=["auroc"], resamples=200, seed=number)["auroc"]
        small += paired_bootstrap(found[:, 0], found[:, 1]).p < 0.05
        better += paired_bootstrap(found[:, 2], found[:, 1]).p < 0.05
    assert 0.02 < small / 300 < 0.085
    assert better > 270


def test_wilcoxon_says_when_it_cannot_tell() -> None:
    gaps = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    for count in range(1, 7):
        found = wilcoxon(gaps[:count], np.zeros(count))
        assert found.p == pytest.approx(2 / 2**count)
        assert bool(found.warning) == (count <= 5)
    assert "least possible p is 0.0625" in wilcoxon(gaps[:5], np.zeros(5)).warning
    assert wilcoxon([0.5, 0.6], [0.5, 0.6]) == (None, 0, "no pair differs: there is nothing to test")
    rng = np.random.default_rng(0)
    a, b = rng.random(12), rng.random(12)
    with_equal = wilcoxon(np.append(a, 0.5), np.append(b, 0.5))
    assert (with_equal.n, with_equal.p) == (12, pytest.approx(stats.wilcoxon(a, b).pvalue))
    signs = np.array(np.meshgrid(*[[0, 1]] * 12)).reshape(12, -1)
    ranks = stats.rankdata(np.abs(a - b))
    sums, observed = ranks @ signs, ranks @ (a > b)
    assert with_equal.p == pytest.approx(2 * min(np.mean(sums <= observed), np.mean(sums >= observed)))
    with pytest.raises(ValueError, match="same length"):
        wilcoxon([0.5], [0.5, 0.6])


def test_nemenyi_quantiles_as_published() -> None:
    """Table 5 of Demšar (2006), at 0.05 for 2 to 10 methods; two of its last digits are not rounded to nearest."""
    published = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    assert [nemenyi_quantile(k) for k in range(2, 11)] == pytest.approx(published, abs=1e-3)


def test_friedman_by_its_formula_and_nemenyi_by_its_quantile() -> None:
    rng = np.random.default_rng(0)
    table = rng.random((8, 4)) + np.array([0, 0.1, 0.5, 1.0])
    found = friedman_nemenyi(table)
    places = [[1 + sum(other > value for other in row) for value in row] for row in table]
    ranks = np.mean(places, axis=0)
    np.testing.assert_allclose(found.ranks, ranks)
    chi2 = 12 * 8 / (4 * 5) * (np.sum(ranks**2) - 4 * 25 / 4)
    assert found.p == pytest.approx(float(stats.chi2.sf(chi2, 3)))
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / 48), abs=1e-3)
    gaps = np.abs(ranks[:, None] - ranks[None, :])
    np.testing.assert_array_equal(found.pairs < 0.05, gaps > found.critical_difference)
    assert np.diag(found.pairs).tolist() == [1.0] * 4
    assert friedman_nemenyi(np.ones((5, 3))).p is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.ones((4, 3)), "4 dataset.*at least 5"),
        (np.ones((5, 2)), "2 method.*at least 3"),
        (np.full((5, 3), np.nan), "every method on every dataset"),
    ],
)
def test_friedman_refuses_what_it_cannot_judge(table: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        friedman_nemenyi(table)
