"""Curves against scikit-learn and against slow versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ltml.metrics.bootstrap import draw_weights, number_groups
from ltml.metrics.ranking import auroc
from ltml.report.curves import GRID, confidence_band, cooccurrence, pr_curve, reliability, roc_curve, thin


def _draw(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = (rng.random(rows) < 0.2).astype(float)
    scores = np.round(np.clip(rng.normal(0.3 + 0.3 * targets, 0.2), 0, 1), 2)  # with ties
    targets[rng.random(rows) < 0.2] = np.nan
    return scores, targets


def test_roc_equals_scikit_learn() -> None:
    scores, targets = _draw()
    known = ~np.isnan(targets)
    false, true, _ = metrics.roc_curve(targets[known], scores[known], drop_intermediate=False)
    x, y = roc_curve(scores, targets)
    np.testing.assert_allclose(x, false)
    np.testing.assert_allclose(y, true)


def test_precision_and_recall_equal_scikit_learn() -> None:
    scores, targets = _draw()
    known = ~np.isnan(targets)
    precision, recall, _ = metrics.precision_recall_curve(targets[known], scores[known])
    x, y = pr_curve(scores, targets)
    np.testing.assert_allclose(x, recall[-2::-1])
    np.testing.assert_allclose(y, precision[-2::-1])


@pytest.mark.parametrize("targets", [[], [0.0, 0.0], [1.0, 1.0], [np.nan, 1.0]])
def test_a_class_of_one_kind_has_no_curve(targets: list[float]) -> None:
    for curve in (roc_curve, pr_curve):
        assert [len(part) for part in curve(np.linspace(0, 1, len(targets)), targets)] == [0, 0]


@given(st.integers(0, 1000))
def test_a_thinned_curve_keeps_its_ends_and_nearly_its_area(seed: int) -> None:
    scores, targets = np.random.default_rng(seed).random((2, 3000))
    x, y = roc_curve(scores, (targets + scores > 1.2).astype(float))
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) <= 200
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (0, 0, 1, 1)
    assert set(zip(thin_x, thin_y, strict=True)) <= set(zip(x, y, strict=True))
    area = auroc(scores, (targets + scores > 1.2).astype(float))
    assert np.trapezoid(thin_y, thin_x) == pytest.approx(area, abs=2e-3)


def test_a_short_curve_is_not_thinned() -> None:
    x = np.linspace(0, 1, 150)
    assert thin(x, x**2)[0] is x


def test_bins_of_equally_many_draw() -> None:
    scores, targets = _draw(seed=1)
    found = reliability(scores.reshape(-1, 4), targets.reshape(-1, 4), bins=7)
    known = ~np.isnan(targets)
    pairs = sorted(zip(scores[known].tolist(), targets[known].tolist(), strict=True))
    bins: dict[int, list[tuple[float, float]]] = {}
    for score, target in pairs:
        first = [other for other, _ in pairs].index(score)  # of all that are equal
        bins.setdefault(first * 7 // len(pairs), []).append((score, target))
    assert sorted(bins) == list(range(7))
    for place, part in bins.items():
        assert found.counts[place] == len(part)
        assert found.predicted[place] == pytest.approx(np.mean([score for score, _ in part]))
        assert found.observed[place] == pytest.approx(np.mean([target for _, target in part]))
    gaps = [len(part) * abs(np.mean([s - t for s, t in part])) for part in bins.values()]
    assert found.error == pytest.approx(sum(gaps) / len(pairs))
    order = np.random.default_rng(0).permutation(len(scores))
    assert reliability(scores[order], targets[order], bins=7).error == pytest.approx(found.error)


@pytest.mark.parametrize("kind", ["roc", "pr"])
def test_a_band_is_that_of_curves_of_rows_repeated(kind: str) -> None:
    scores, targets = _draw(rows=150, seed=2)
    groups = [f"patient {row // 3}" for row in range(150)]
    found = confidence_band(kind, scores, targets, groups, resamples=40, seed=3)
    numbers, count = number_groups(groups)
    rng, heights = np.random.default_rng(3), []
    for size in (16, 16, 8):
        for weights in draw_weights(rng, count, size).T:
            rows = np.repeat(np.arange(150), weights[numbers].astype(int))
            rows = rows[~np.isnan(targets[rows])]
            if kind == "roc":
                x, y, _ = metrics.roc_curve(targets[rows], scores[rows], drop_intermediate=False)
                heights.append([y[x <= at][-1] if at in x else np.interp(at, x, y) for at in GRID])
            else:
                precision, recall, _ = metrics.precision_recall_curve(targets[rows], scores[rows])
                heights.append([precision[:-1][recall[:-1] >= at - 1e-12][-1] for at in GRID])
    low, high = np.quantile(heights, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(found[0], low)
    np.testing.assert_allclose(found[1], high)


def test_a_rare_class_or_a_single_patient_has_no_band() -> None:
    scores, targets = _draw()
    rare = np.where(np.cumsum(targets == 1) > 9, 0.0, targets)
    rows = [str(row) for row in range(len(scores))]
    assert confidence_band("roc", scores, targets, rows) is not None
    assert confidence_band("roc", scores, rare, rows) is None
    assert confidence_band("roc", scores, targets, ["one"] * len(scores)) is None


def test_labels_that_occur_together_among_known_pairs() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 4)) < 0.4).astype(float)
    targets[rng.random(targets.shape) < 0.3] = np.nan
    targets[:, 3] = np.where(targets[:, 0] == 1, np.nan, 1.0)  # never known with a positive of 0
    found = cooccurrence(targets)
    for a in range(4):
        for b in range(4):
            rows = [row for row in targets if row[a] == 1 and not np.isnan(row[b])]
            expected = np.mean([row[b] for row in rows]) if rows else np.nan
            np.testing.assert_allclose(found[a, b], expected)
    assert np.isnan(found[0, 3])
