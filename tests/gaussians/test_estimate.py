"""Shrinkage against scikit-learn, borrowing against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import OAS, LedoitWolf, shrunk_covariance

from ltml.gaussians import GaussianResampler


@pytest.mark.parametrize(("name", "peer"), [("ledoit_wolf", LedoitWolf), ("oas", OAS)])
@pytest.mark.parametrize(
    ("count", "width"), [(300, 12), (13, 12), (12, 12), (5, 12), (2, 12), (20, 150), (40, 1), (9, 2)]
)
def test_shrinkage_equals_scikit_learn(name: str, peer: type, count: int, width: int) -> None:
    rng = np.random.default_rng(count)
    rows = rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + 50
    reference = peer(store_precision=False).fit(rows)
    resampler = GaussianResampler(covariance=name).fit(rows, np.ones((count, 1)), warn=False)
    gaussian = resampler.gaussians_[0][1]
    assert gaussian is not None
    assert resampler.shrinkage_[0, 1] == pytest.approx(reference.shrinkage_, abs=1e-10)
    scale = np.linalg.norm(reference.covariance_)
    np.testing.assert_allclose(gaussian.covariance(), reference.covariance_, rtol=0, atol=1e-10 * scale)
    assert np.isnan(resampler.shrinkage_[0, 0])


@pytest.mark.parametrize("count", [100, 5])
def test_a_given_share_of_the_identity(count: int) -> None:
    rows = np.random.default_rng(0).normal(size=(count, 8)) * np.arange(1, 9)
    for share in (0.0, 0.25, 1.0):
        gaussian = GaussianResampler(covariance=share).fit(rows, np.ones((count, 1)), warn=False).gaussians_[0][1]
        assert gaussian is not None
        expected = shrunk_covariance(np.cov(rows, rowvar=False), share)
        np.testing.assert_allclose(gaussian.covariance(), expected, atol=1e-10)


def test_equal_samples_have_nothing_to_shrink() -> None:
    for covariance in ("ledoit_wolf", "oas"):
        for count in (3, 30):
            gaussians = GaussianResampler(covariance=covariance).fit(
                np.ones((count, 5)), np.ones((count, 1)), warn=False
            )
            assert gaussians.sample(2, seed=0)[0] == pytest.approx(1)


WIDTH = 6
COUNTS = (200, 90, 40, 4, 2, 1)


def _long_tail() -> tuple[np.ndarray, np.ndarray]:
    """Six classes, one label each; means in a row so that the nearest larger class is the one before."""
    rng = np.random.default_rng(0)
    targets = np.full((sum(COUNTS), len(COUNTS)), np.nan)
    targets[np.arange(len(targets)), np.repeat(np.arange(len(COUNTS)), COUNTS)] = 1
    rows = rng.normal(size=(len(targets), WIDTH)) * np.linspace(0.5, 2, WIDTH)
    return rows + 10 * np.nan_to_num(targets) @ np.arange(len(COUNTS))[:, None], targets


def _covariances(borrow: str | int | None, covariance: str = "full") -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What was fitted, and the plain covariance of each class's rows."""
    rows, targets = _long_tail()
    resampler = GaussianResampler(covariance=covariance, borrow=borrow).fit(rows, targets, warn=False)
    fitted = [pair[1].covariance().numpy() for pair in resampler.gaussians_ if pair[1] is not None]
    groups = [rows[targets[:, c] == 1] for c in range(len(COUNTS))]
    plain = [np.cov(group, rowvar=False) if len(group) > 1 else np.zeros((WIDTH, WIDTH)) for group in groups]
    return fitted, plain


def _mixed(own: np.ndarray, count: int, shared: np.ndarray) -> np.ndarray:
    return ((count - 1) * own + WIDTH * shared) / (count - 1 + WIDTH)


def test_borrowing_from_the_head() -> None:
    fitted, plain = _covariances("head")
    pooled = (199 * plain[0] + 89 * plain[1]) / 288
    for c, count in enumerate(COUNTS):
        expected = plain[c] if count > WIDTH else _mixed(plain[c], count, pooled)
        np.testing.assert_allclose(fitted[c], expected, atol=1e-10)


def test_borrowing_from_the_nearest() -> None:
    fitted, plain = _covariances(2)
    for c, count in enumerate(COUNTS):
        donors = [(plain[d], COUNTS[d] - 1) for d in (c - 1, c - 2)]
        pooled = sum(freedom * covariance for covariance, freedom in donors) / sum(freedom for _, freedom in donors)
        expected = plain[c] if count > WIDTH else _mixed(plain[c], count, pooled)
        np.testing.assert_allclose(fitted[c], expected, atol=1e-10)


def test_borrowing_mixes_variances_of_diagonal_covariances() -> None:
    fitted, plain = _covariances("head", "diagonal")
    pooled = (199 * plain[0] + 89 * plain[1]) / 288
    np.testing.assert_allclose(fitted[3], np.diag(np.diag(_mixed(plain[3], 4, pooled))), atol=1e-10)


def test_wide_donors_lend_their_rows() -> None:
    """All groups smaller than the width: nothing of D x D is formed, and the covariance is the mixture all the same."""
    rng = np.random.default_rng(0)
    rows, width = rng.normal(size=(12, 40)), 40
    targets = np.full((12, 2), np.nan)
    targets[:9, 0] = targets[9:, 1] = 1
    gaussian = GaussianResampler(borrow="head").fit(rows, targets, warn=False).gaussians_[1][1]
    assert gaussian is not None
    assert gaussian.dense is None
    expected = (2 * np.cov(rows[9:], rowvar=False) + width * np.cov(rows[:9], rowvar=False)) / (2 + width)
    np.testing.assert_allclose(gaussian.covariance(), expected, atol=1e-10)


def test_a_single_sample_that_borrows_varies() -> None:
    rows, targets = _long_tail()
    resampler = GaussianResampler(borrow="head", prior=[1.0] * 6).fit(rows, targets, warn=False)
    virtual, _ = resampler.sample(2000, seed=0)
    np.testing.assert_allclose(virtual[:, 5].mean(axis=0), rows[-1], atol=0.2)
    assert np.all(virtual[:, 5].std(axis=0) > 0.3)


@pytest.mark.parametrize(
    "parameters",
    [
        {"covariance": "ful"},
        {"covariance": 1.5},
        {"covariance": True},
        {"borrow": "tail"},
        {"borrow": 0},
        {"borrow": 0.5},
    ],
)
def test_wrong_parameters_are_refused(parameters: dict) -> None:
    with pytest.raises(ValueError, match=f"Expected {next(iter(parameters))} as"):
        GaussianResampler(**parameters).fit(np.zeros((3, 2)), np.ones((3, 1)))
