from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, f1_score

from ltml.metrics.odir import odir_score
from ltml.metrics.threshold import accuracy, balanced_accuracy, confusion, f1, kappa


@given(st.integers(0, 10_000), st.integers(2, 40))
def test_equal_to_scikit_learn_on_known_entries(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    probs, targets = rng.choice([0.1, 0.5, 0.9], count), rng.choice([0.0, 1.0, np.nan], count)
    known = ~np.isnan(targets)
    truth, answer = targets[known], probs[known] >= 0.5
    counts = confusion(probs, targets)
    if known.any():
        assert accuracy(counts) == pytest.approx(accuracy_score(truth, answer))
    else:
        assert math.isnan(accuracy(counts))
    if len(set(truth)) < 2:
        assert all(math.isnan(measure(counts)) for measure in (balanced_accuracy, f1, kappa))
        return
    assert balanced_accuracy(counts) == pytest.approx(balanced_accuracy_score(truth, answer))
    assert f1(counts) == pytest.approx(f1_score(truth, answer, zero_division=0))
    assert kappa(counts) == pytest.approx(cohen_kappa_score(truth, answer))


def test_odir_score_is_that_of_one_long_list() -> None:
    rng = np.random.default_rng(1)
    probs, targets = rng.random((30, 8)), rng.integers(0, 2, (30, 8)).astype(float)
    flat, answer = targets.ravel(), probs.ravel() >= 0.5
    result = odir_score(probs, targets)
    assert result["kappa"] == pytest.approx(cohen_kappa_score(flat, answer))
    assert result["f1"] == pytest.approx(f1_score(flat, answer, average="micro"))
    assert result["f1"] == pytest.approx(accuracy_score(flat, answer))
    assert result["final"] == pytest.approx((result["kappa"] + result["f1"] + result["auc"]) / 3)
