"""Mean and covariance of one (class, label) group, exact for any number of samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """A multivariate normal by its mean and a factor of its covariance.

    Attributes:
        count: samples it was fitted to.
        mean: float64 ``(D,)``.
        factor: float64 ``(k, D)`` with ``factorᵀ factor`` the covariance and ``k ≤ D``; ``k = 0`` is a point mass.
    """

    count: int
    mean: Tensor
    factor: Tensor

    def covariance(self) -> Tensor:
        """Float64 ``(D, D)``."""
        return self.factor.T @ self.factor

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Float32 ``(count, D)`` draws ``mean + z · factor`` with ``z`` standard normal, on the mean's device."""
        z = torch.randn(count, len(self.factor), generator=generator, device=generator.device)
        return (self.mean.float() + z.to(self.mean.device) @ self.factor.float()).float()


def fit_full(rows: Tensor) -> Gaussian:
    """Mean and unbiased covariance (LDRNet, MM 2024, eqs. 9-10) of rows ``(n, D)``, in float64.

    With ``n ≤ D`` the covariance is singular and the factor is the centred rows over ``√(n − 1)`` themselves, so that
    samples have exactly that covariance and stay in the rows' affine span. With ``n > D`` the factor's rows are
    the covariance's eigenvectors times the roots of their eigenvalues, zero ones left out. One row is a point mass.

    Args:
        rows: ``(n, D)``, n ≥ 1, any floating type.
    """
    wide = rows.double()
    mean = wide.mean(dim=0)
    centred = wide - mean
    count, width = rows.shape
    if count == 1:
        return Gaussian(count, mean, centred[:0])
    scaled = centred / (count - 1) ** 0.5
    if count <= width:
        return Gaussian(count, mean, scaled)
    values, vectors = torch.linalg.eigh(scaled.T @ scaled)
    kept = values > values[-1].clamp(min=0) * width * torch.finfo(torch.float64).eps
    return Gaussian(count, mean, (vectors[:, kept] * values[kept].sqrt()).T)


def fit_diagonal(rows: Tensor) -> Gaussian:
    """Mean and unbiased variances of rows ``(n, D)``, in float64; covariances between features are set to 0."""
    wide = rows.double()
    count = len(rows)
    if count == 1:
        return Gaussian(count, wide[0], wide[:0])
    return Gaussian(count, wide.mean(dim=0), torch.diag(wide.var(dim=0).sqrt()))
