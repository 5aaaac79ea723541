"""Curves against scikit-learn and against slow versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ltml.metrics.ranking import auroc
from ltml.report.curves import cooccurrence, pr_curve, reliability, roc_curve, thin


def _answers(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = (rng.random(rows) < 0.2).astype(float)
    scores = np.round(np.clip(rng.normal(0.3 + 0.3 * targets, 0.2), 0, 1), 2)  # with ties
    targets[rng.random(rows) < 0.2] = np.nan
    return scores, targets


def test_roc_equals_scikit_learn() -> None:
    scores, targets = _answers()
    known = ~np.isnan(targets)
    false, true, _ = metrics.roc_curve(targets[known], scores[known], drop_intermediate=False)
    x, y = roc_curve(scores, targets)
    np.testing.assert_allclose(x, false)
    np.testing.assert_allclose(y, true)


def test_precision_and_recall_equal_scikit_learn() -> None:
    scores, targets = _answers()
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


def test_bins_of_equally_many_answers() -> None:
    scores, targets = _answers(seed=1)
    found = reliability(scores.reshape(-1, 4), targets.reshape(-1, 4), bins=7)
    known = ~np.isnan(targets)
    pairs = sorted(zip(scores[known], targets[known], strict=True), key=lambda pair: pair[0])
    size, rest = divmod(len(pairs), 7)
    start, error = 0, 0.0
    for place in range(7):
        part = pairs[start : start + size + (place < rest)]
        start += len(part)
        predicted, observed = np.mean([p for p, _ in part]), np.mean([t for _, t in part])
        assert found.counts[place] == len(part)
        assert found.predicted[place] == pytest.approx(predicted)
        assert found.observed[place] == pytest.approx(observed)
        error += len(part) * abs(predicted - observed) / len(pairs)
    assert found.error == pytest.approx(error)


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
