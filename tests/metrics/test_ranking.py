from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from ltml.metrics.measures import score_classes
from ltml.metrics.ranking import auroc, average_precision, sort_order


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 8))
def test_equal_to_scikit_learn_with_ties_and_unknowns(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, count) / levels
    targets = rng.choice([0.0, 1.0, np.nan], count)
    known = ~np.isnan(targets)
    if len(set(targets[known])) < 2:
        assert np.isnan(auroc(scores, targets))
        assert np.isnan(average_precision(scores, targets))
        return
    assert auroc(scores, targets) == pytest.approx(roc_auc_score(targets[known], scores[known]), abs=1e-12)
    expected = average_precision_score(targets[known], scores[known])
    assert average_precision(scores, targets) == pytest.approx(expected, abs=1e-12)


def test_order_of_samples_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.integers(0, 5, 50), rng.integers(0, 2, 50)
    order = rng.permutation(50)
    assert auroc(scores[order], targets[order]) == auroc(scores, targets)
    assert average_precision(scores[order], targets[order]) == average_precision(scores, targets)


@pytest.mark.parametrize("values", ["normal", "rare", "float32", "few", "wide", "infinite", "same", "none"])
def test_sort_order_is_that_of_a_stable_sort(values: str) -> None:
    rng = np.random.default_rng(1)
    normal = rng.normal(size=30_000)
    scores = {
        "normal": normal,
        "rare": 1 / (1 + np.exp(12 - 3 * normal)),
        "float32": (1 / (1 + np.exp(-normal))).astype(np.float32).astype(np.float64),
        "few": rng.integers(-3, 3, 30_000) / 7,
        "wide": np.append(normal, [1e308, -1e308]),
        "infinite": np.append(normal, [np.inf, -np.inf, np.inf]),
        "same": np.full(9, 0.1),
        "none": np.empty(0),
    }[values]
    np.testing.assert_array_equal(sort_order(scores), np.argsort(scores, kind="stable"))


def test_close_scores_are_told_apart_beside_far_ones() -> None:
    """Only the last bits differ, where 32 bits of the range cannot tell."""
    scores = np.array([1e9, 1 + 2e-16, 1, 1 + 4e-16, -1e9])
    assert sort_order(scores).tolist() == [4, 2, 1, 3, 0]


def test_every_class_as_alone() -> None:
    rng = np.random.default_rng(2)
    probs, targets = rng.random((80, 3)), rng.choice([0.0, 1.0, np.nan], (80, 3))
    targets[:, 2] = 0
    areas, precisions = (score_classes(name, probs, targets, range(3)) for name in ("auroc", "ap"))
    np.testing.assert_array_equal(areas, [auroc(probs[:, c], targets[:, c]) for c in range(3)])
    np.testing.assert_array_equal(precisions, [average_precision(probs[:, c], targets[:, c]) for c in range(3)])


def test_nan_among_known_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="without NaN"):
        auroc([0.1, np.nan, 0.3], [0, 1, 1])
    assert auroc([0.1, np.nan, 0.3], [0, np.nan, 1]) == 1.0
