from __future__ import annotations

import numpy as np
import pytest
import torch

from ltml.gaussians.statistics import fit_diagonal, fit_full


@pytest.mark.parametrize(("count", "width"), [(40, 6), (7, 6), (6, 6), (5, 6), (3, 6), (2, 6)])
def test_mean_and_covariance_equal_numpy_in_float64(count: int, width: int) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(count, width)) @ np.diag(np.arange(1, width + 1)))
    gaussian = fit_full(rows)
    np.testing.assert_allclose(gaussian.mean, rows.numpy().mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(gaussian.covariance(), np.cov(rows.numpy(), rowvar=False), atol=1e-10)
    assert len(gaussian.factor) <= min(count, width)


def test_a_dead_feature_keeps_the_covariance_exact() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 5)))
    rows[:, 2] = 3.0
    rows[:, 4] = rows[:, 0] * 2
    gaussian = fit_full(rows)
    assert len(gaussian.factor) == 3
    np.testing.assert_allclose(gaussian.covariance(), np.cov(rows.numpy(), rowvar=False), atol=1e-10)


def test_diagonal_keeps_variances_only() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 4)))
    np.testing.assert_allclose(fit_diagonal(rows).covariance(), np.diag(rows.numpy().var(axis=0, ddof=1)), atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 20, 400])
def test_sampled_moments_converge(count: int) -> None:
    """400 000 draws of 6 dimensions: standard errors near 1/600 of the scale; 6 of them are allowed."""
    width, draws = 6, 400_000
    rows = torch.from_numpy(np.random.default_rng(count).normal(size=(count, width)) * [1, 2, 3, 1, 1, 0.1] + 5)
    gaussian = fit_full(rows)
    sample = gaussian.sample(draws, torch.Generator().manual_seed(0)).double()
    deviation = gaussian.covariance().diagonal().clamp(min=0).sqrt()
    error = (sample.mean(dim=0) - gaussian.mean).abs()
    assert torch.all(error <= 6 * deviation / draws**0.5 + 1e-5)
    scale = torch.outer(deviation, deviation)
    covariance = torch.from_numpy(np.cov(sample.numpy(), rowvar=False))
    assert torch.all((covariance - gaussian.covariance()).abs() <= 6 * scale * (2 / draws) ** 0.5 + 1e-9)


def test_fewer_samples_than_dimensions_stay_in_their_subspace() -> None:
    count, width = 5, 40
    rows = torch.from_numpy(np.random.default_rng(3).normal(size=(count, width)))
    gaussian = fit_full(rows)
    sample = gaussian.sample(200_000, torch.Generator().manual_seed(1)).double() - gaussian.mean
    basis = np.linalg.svd((rows - rows.mean(dim=0)).numpy(), full_matrices=False)[2][: count - 1]
    outside = sample.numpy() - sample.numpy() @ basis.T @ basis
    assert np.abs(outside).max() < 1e-4  # float32 samples
    inside = np.cov(sample.numpy() @ basis.T, rowvar=False)
    expected = basis @ np.cov(rows.numpy(), rowvar=False) @ basis.T
    np.testing.assert_allclose(inside, expected, atol=0.03 * expected.max())


def test_one_sample_is_a_point_mass() -> None:
    row = torch.randn(1, 4)
    for gaussian in (fit_full(row), fit_diagonal(row)):
        assert torch.allclose(gaussian.sample(3, torch.Generator()), row.expand(3, -1))
