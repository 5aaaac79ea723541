from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from ltml.metrics.ranking import auroc, average_precision


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
