"""One multivariate normal: its moments, products with its covariance, and draws from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

BLOCKS = 4
"""Number of column blocks of a product with a triangular factor."""


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution with covariance ``dense + rowsᵀ rows + diag(diagonal)``; any part may be missing.

    Attributes:
        count: number of samples it was fitted to.
        mean: float64 ``(D,)``.
        dense: float64 ``(D, D)``; used with more samples than dimensions.
        rows: float64 ``(k, D)`` with ``k ≤ D``; used otherwise. A ``(D, D)`` matrix is then never formed.
        diagonal: float64 ``(D,)`` variances; used by a diagonal or a shrunk covariance.
        shrinkage: share of a multiple of the identity in the covariance, in [0, 1].
    """

    count: int
    mean: Tensor
    dense: Tensor | None = None
    rows: Tensor | None = None
    diagonal: Tensor | None = None
    shrinkage: float = 0.0

    def covariance(self) -> Tensor:
        """Return the covariance, float64 ``(D, D)``."""
        total = torch.zeros_like(self.mean).diag() if self.dense is None else self.dense.clone()
        if self.rows is not None:
            total += self.rows.T @ self.rows
        if self.diagonal is not None:
            total.diagonal().add_(self.diagonal)
        return total

    def covariance_times(self, vector: Tensor) -> Tensor:
        """Multiply the covariance with float64 ``(D,)``, without forming a matrix unless it is dense."""
        product = torch.zeros_like(vector) if self.dense is None else self.dense @ vector
        if self.rows is not None:
            product += self.rows.T @ (self.rows @ vector)
        if self.diagonal is not None:
            product += self.diagonal * vector
        return product

    @property
    def is_dense(self) -> bool:
        """Return whether the covariance is stored as a matrix."""
        return self.dense is not None

    @property
    def noise_width(self) -> int:
        """Return how many standard normal numbers one draw takes."""
        factor, deviation = self._draw
        return len(factor) + (0 if deviation is None else len(deviation))

    def transform(self, noise: Tensor, out: Tensor | None = None) -> Tensor:
        """Turn standard normal numbers ``(n, noise_width)`` into draws ``(n, D)`` in float32 by one product.

        Args:
            noise: the numbers, on the device of the mean.
            out: tensor for the draws; a new one by default.
        """
        factor, deviation = self._draw
        width = len(factor)
        draws = noise.new_empty(len(noise), len(self.mean)) if out is None else out
        # In blocks of columns, most of the zeros below the diagonal of a triangular factor are left out.
        ends = (
            [len(self.mean) * block // BLOCKS for block in range(1, BLOCKS + 1)] if self.is_dense else [draws.shape[1]]
        )
        for start, end in zip([0, *ends], ends, strict=False):
            rows = min(width, end) if self.is_dense else width
            torch.addmm(self._mean32[start:end], noise[:, :rows], factor[:rows, start:end], out=draws[:, start:end])
        if deviation is not None:
            draws += noise[:, width : width + len(deviation)] * deviation
        return draws

    @cached_property
    def _mean32(self) -> Tensor:
        return self.mean.float()

    @cached_property
    def _draw(self) -> tuple[Tensor, Tensor | None]:
        """Return the float32 factor ``(k, D)``, upper triangular if dense, and the added deviations ``(D,)``."""
        if self.dense is not None:
            return _upper_factor(self.covariance()).float(), None
        factor = self._mean32.new_empty(0, len(self.mean)) if self.rows is None else self.rows.float()
        return factor, None if self.diagonal is None else self.diagonal.sqrt().float()


Pair = tuple[Gaussian | None, Gaussian | None]
"""The Gaussians of label 0 and label 1 of one class; None for a label without samples."""


def _upper_factor(covariance: Tensor) -> Tensor:
    """Return upper triangular ``U`` with ``Uᵀ U`` the covariance, which may be singular (a dead or doubled feature).

    Each variance may be raised by a share below the rounding of float64 features, or if that fails of float32 ones,
    because a singular covariance computed from sums is indefinite by as much.
    """
    deviation = covariance.diagonal().sqrt()
    scale = torch.where(deviation > 0, deviation, 1.0)
    correlation = covariance / scale / scale[:, None]
    for share in (0.0, len(scale) * torch.finfo(torch.float64).eps, 4 * torch.finfo(torch.float32).eps):
        correlation.diagonal().fill_(1 + share)
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(correlation, upper=True)
        if not failed:
            return factor.mul_(deviation)
    values, vectors = torch.linalg.eigh(covariance)
    factor = torch.linalg.qr((vectors * values.clamp(min=0).sqrt()).T, mode="r").R
    return factor
