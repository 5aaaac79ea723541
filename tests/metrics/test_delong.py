"""DeLong's test against its definition over all pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from ltml.metrics.delong import delong


def _slow(a: np.ndarray, b: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and covariance by the kernel over all pairs, as in the paper of 1988."""
    kernels = []
    for scores in (a, b):
        gaps = scores[targets == 1][:, None] - scores[targets == 0][None, :]
        kernels.append(np.where(gaps > 0, 1.0, np.where(gaps == 0, 0.5, 0.0)))
    n_pos, n_neg = kernels[0].shape
    areas = np.array([kernel.mean() for kernel in kernels])
    covariance = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            tens = (kernels[i].mean(axis=1) - areas[i]) @ (kernels[j].mean(axis=1) - areas[j]) / (n_pos - 1)
            ones = (kernels[i].mean(axis=0) - areas[i]) @ (kernels[j].mean(axis=0) - areas[j]) / (n_neg - 1)
            covariance[i, j] = tens / n_pos + ones / n_neg
    return areas, covariance


@given(st.integers(0, 10_000), st.integers(8, 60), st.sampled_from([4, 1000]))
def test_equal_to_all_pairs(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.append([0.0, 0.0, 1.0, 1.0], rng.choice([0.0, 1.0, np.nan], count - 4)))
    a, b = (rng.integers(0, levels, count) / levels for _ in range(2))
    known = ~np.isnan(targets)
    areas, covariance = _slow(a[known], b[known], targets[known])
    found = delong(a, b, targets)
    np.testing.assert_allclose(found.auroc, areas, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, rtol=0, atol=1e-12)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance < 1e-12:
        assert found.p is None
        return
    z = (areas[0] - areas[1]) / math.sqrt(variance)
    assert found.z == pytest.approx(z, abs=1e-6)
    assert found.p == pytest.approx(2 * norm.sf(abs(z)), abs=1e-6)


def test_what_has_no_variance_has_no_p() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.random(50), rng.integers(0, 2, 50)
    assert delong(scores, 2 * scores, targets).p is None
    assert delong(targets, 1.0 - targets, targets)[2:] == (None, None)


@pytest.mark.parametrize("targets", [[1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [np.nan] * 4])
def test_a_single_positive_or_negative_has_no_p(targets: list[float]) -> None:
    scores = [0.9, 0.2, 0.4, 0.1]
    found = delong(scores, scores[::-1], targets)
    assert found.p is None
    assert np.isnan(found.covariance).all()
    if len(set(targets)) == 2:
        assert found.auroc[0] == roc_auc_score(targets, scores)
    else:
        assert np.isnan(found.auroc).all()


def test_false_positives_are_nominal() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        targets = rng.random(150) < 0.3
        shared = targets + rng.normal(size=150)
        p = delong(shared + rng.normal(size=150), shared + rng.normal(size=150), targets).p
        hits += p is not None and p < 0.05
    assert 0.02 < hits / 400 < 0.085


def test_areas_of_several_runs_are_averaged_and_so_are_their_pairs() -> None:
    rng = np.random.default_rng(2)
    targets = rng.random(60) < 0.4
    runs_a, runs_b = rng.integers(0, 9, (3, 60)) / 9, rng.integers(0, 9, (2, 60)) / 9
    kernels = []
    for runs in (runs_a, runs_b):
        gaps = runs[:, targets][:, :, None] - runs[:, ~targets][:, None, :]
        kernels.append(((gaps > 0) + 0.5 * (gaps == 0)).mean(axis=0))
    gap = kernels[0] - kernels[1]
    error = gap.mean(axis=1).var(ddof=1) / gap.shape[0] + gap.mean(axis=0).var(ddof=1) / gap.shape[1]
    found = delong(runs_a, runs_b, targets)
    np.testing.assert_allclose(found.auroc, [kernel.mean() for kernel in kernels], rtol=0, atol=1e-12)
    assert found.z == pytest.approx(gap.mean() / math.sqrt(error))
