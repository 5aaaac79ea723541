from __future__ import annotations

import numpy as np
import pytest
import torch

from ltml.gaussians import GaussianResampler
from ltml.gaussians.gaussian import Gaussian


def _fit(rows: np.ndarray, covariance: str | float = "full") -> Gaussian:
    """The Gaussian of one group alone."""
    pair = GaussianResampler(covariance=covariance).fit(rows, np.ones((len(rows), 1)), warn=False).gaussians_[0]
    assert pair[1] is not None
    return pair[1]


def _rows(count: int, width: int = 6) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, width)) * np.linspace(0.1, 3, width) + 5


@pytest.mark.parametrize(("count", "width"), [(400, 6), (7, 6), (6, 6), (5, 6), (3, 6), (2, 6), (30, 64)])
def test_mean_and_covariance_equal_numpy_in_float64(count: int, width: int) -> None:
    rows = _rows(count, width)
    gaussian = _fit(rows)
    np.testing.assert_allclose(gaussian.mean, rows.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(gaussian.covariance(), np.cov(rows, rowvar=False), atol=1e-10)
    vector = torch.randn(width, dtype=torch.float64)
    np.testing.assert_allclose(gaussian.covariance_times(vector), gaussian.covariance() @ vector, atol=1e-10)
    assert gaussian.is_dense == (count > width)


def test_diagonal_keeps_variances_only() -> None:
    for count in (30, 3):
        rows = _rows(count)
        gaussian = _fit(rows, "diagonal")
        np.testing.assert_allclose(gaussian.covariance(), np.diag(rows.var(axis=0, ddof=1)), atol=1e-12)
        assert gaussian.noise_width == 6


def test_a_dead_feature_keeps_the_covariance_exact() -> None:
    rows = _rows(50, 5)
    rows[:, 2] = 3.0
    rows[:, 4] = rows[:, 0] * 2
    gaussian = _fit(rows)
    np.testing.assert_allclose(gaussian.covariance(), np.cov(rows, rowvar=False), atol=1e-10)
    noise = torch.randn(4000, gaussian.noise_width, generator=torch.Generator().manual_seed(0))
    draws = gaussian.transform(noise)
    assert torch.allclose(draws[:, 2], torch.tensor(3.0), atol=1e-5)
    assert torch.allclose(draws[:, 4], draws[:, 0] * 2, atol=1e-4)


@pytest.mark.parametrize("covariance", ["full", "diagonal", "ledoit_wolf", "oas", 0.3])
@pytest.mark.parametrize("count", [1, 2, 5, 400])
def test_sampled_moments_converge(count: int, covariance: str | float) -> None:
    """A million draws: errors within 6 standard errors of mean and covariance entries."""
    draws = 1_000_000
    gaussian = _fit(_rows(count), covariance)
    noise = torch.randn(draws, gaussian.noise_width, generator=torch.Generator().manual_seed(0))
    sample = gaussian.transform(noise).double()
    expected = gaussian.covariance()
    deviation = expected.diagonal().sqrt()
    assert torch.all((sample.mean(dim=0) - gaussian.mean).abs() <= 6 * deviation / draws**0.5 + 1e-5)
    found = torch.from_numpy(np.cov(sample.numpy(), rowvar=False))
    error = 6 * torch.outer(deviation, deviation) * (2 / draws) ** 0.5
    assert torch.all((found - expected).abs() <= error + 1e-6)


def test_fewer_samples_than_dimensions_stay_in_their_subspace() -> None:
    rows = _rows(5, 40)
    gaussian = _fit(rows)
    assert gaussian.noise_width == 5  # never a 40 x 40 matrix
    noise = torch.randn(200_000, 5, generator=torch.Generator().manual_seed(1))
    sample = (gaussian.transform(noise) - gaussian.mean).double().numpy()
    basis = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:4]
    assert np.abs(sample - sample @ basis.T @ basis).max() < 1e-4  # float32 samples
    inside = np.cov(sample @ basis.T, rowvar=False)
    expected = basis @ np.cov(rows, rowvar=False) @ basis.T
    np.testing.assert_allclose(inside, expected, atol=0.03 * expected.max())


def test_one_sample_is_a_point_mass() -> None:
    row = np.random.default_rng(0).normal(size=(1, 4))
    for covariance in ("full", "diagonal", "ledoit_wolf", "oas", 0.5):
        gaussian = _fit(row, covariance)
        draws = gaussian.transform(torch.randn(3, gaussian.noise_width))
        np.testing.assert_allclose(draws, np.repeat(row, 3, axis=0), rtol=1e-6)
