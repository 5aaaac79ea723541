"""The expected loss of one class as a function of its classifier: value, gradient and inverse Hessian.

Both integrals over the logit are taken by the trapezoid rule, which converges exponentially for smooth losses: the
error is below 1e-10 for the binary cross entropy up to a standard deviation of 20, where Gauss-Hermite rules of
practical size fail, and below 1e-8 for a loss with a kink in a high derivative, such as the asymmetric loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ltml.gaussians.gaussian import Gaussian

ElementwiseLoss = Callable[[Tensor, Tensor], Tensor]
"""Maps logits and targets of one shape to the loss of each entry, in float64 and of the same shape."""

TwoSided = tuple[Gaussian, Gaussian]
"""The label-0 and the label-1 Gaussian of one class, where both exist."""

HALF_WIDTH = 8.0
"""Half the width of the quadrature interval in standard deviations; 1e-15 of the mass lies outside."""
MIN_NODES = 129
"""Smallest number of quadrature nodes."""
MAX_SPACING = 0.75
"""Largest distance between two nodes, in logits: the sigmoid's poles are π from the real axis, so the relative error
is e^(−2π²/0.75)."""
MAX_NODES = 1 << 16
"""Largest number of quadrature nodes. Bounds the memory of hopeless trial steps with spreads in the thousands."""


class Point(NamedTuple):
    """A linear classifier, or a direction in which to move one; every part is linear in weight and bias.

    Attributes:
        weight: ``(D,)``.
        bias: scalar.
        turned: ``(2, D)``, each label's covariance times the weight.
    """

    weight: Tensor
    bias: Tensor
    turned: Tensor

    def moved(self, direction: Point, length: float) -> Point:
        """Return the point at a length along a direction."""
        return Point(*(mine + length * other for mine, other in zip(self, direction, strict=True)))


@dataclass(frozen=True)
class Objective:
    """The expected loss of one class.

    Attributes:
        pair: label-0 and label-1 Gaussian; only their covariances are used.
        means: ``(2, D)``; shifting both by one vector changes only the meaning of the bias.
        shares: ``(2,)``, probability of each label.
        l2: penalty on the weight.
        loss: None for the binary cross entropy.
        matrices: both covariances if Hessians are to be formed.
    """

    pair: TwoSided
    means: Tensor
    shares: Tensor
    l2: float
    loss: ElementwiseLoss | None
    matrices: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, pair: TwoSided, chance: float, l2: float, loss: ElementwiseLoss | None = None) -> Objective:
        """Build the objective of a class from P(label 1) and the penalty; without matrices."""
        means = torch.stack([gaussian.mean for gaussian in pair])
        return cls(pair, means, means.new_tensor([1 - chance, chance]), l2, loss)

    def point(self, weight: Tensor, bias: Tensor) -> Point:
        """Return a classifier with the products of its weight and the covariances."""
        return Point(weight, bias, torch.stack([gaussian.covariance_times(weight) for gaussian in self.pair]))

    def evaluate(self, point: Point) -> tuple[Tensor, Tensor]:
        """Return the value and the gradient ``(D + 1,)``, whose last entry is by the bias."""
        values, slopes, bends = self._expect(self.means @ point.weight + point.bias, point.turned @ point.weight)
        by_weight = slopes @ self.means + bends @ point.turned + self.l2 * point.weight
        value = values.sum() + self.l2 / 2 * (point.weight @ point.weight)
        return value, torch.cat([by_weight, slopes.sum()[None]])

    def along(self, point: Point, direction: Point) -> Callable[[float], tuple[float, float]]:
        """Return a function from a length along a direction to value and slope; its cost does not depend on D."""
        mean, mean_slope = (self.means @ p.weight + p.bias for p in (point, direction))
        variance, cross, square = (
            torch.stack([*(a.turned @ b.weight), self.l2 * (a.weight @ b.weight)])
            for a, b in ((point, point), (point, direction), (direction, direction))
        )

        def at(length: float) -> tuple[float, float]:
            quadratic, half_slope = variance + 2 * length * cross + length**2 * square, cross + length * square
            values, slopes, bends = self._expect(mean + length * mean_slope, quadratic[:2])
            value = values.sum() + quadratic[2] / 2
            slope = slopes @ mean_slope + bends @ half_slope[:2] + half_slope[2]
            return value.item(), slope.item()

        return at

    def inverse_hessian(self, point: Point) -> Callable[[Tensor], Tensor]:
        """Return a function that multiplies ``(D + 1,)`` by the inverse Hessian of the binary cross entropy.

        Without matrices, only the diagonal of the Hessian is inverted.
        """
        spreads = _root(point.turned @ point.weight)
        nodes, z, mass = _quadrature(self.means @ point.weight + point.bias, spreads)
        bend = nodes.sigmoid() * (-nodes).sigmoid() * self.shares[:, None]
        plain, tilted, squared = bend @ mass, bend @ (z * mass), bend @ (z**2 * mass)
        if self.matrices is None:
            return self._inverse_diagonal(plain)
        # Second derivatives by the mean and the standard deviation s of a logit; the gradient of s is Σw/s.
        spread_gradients = torch.where(spreads[:, None] > 0, point.turned / spreads[:, None], 0.0)
        factors = torch.cat([self.means, spread_gradients])
        corners = torch.stack([torch.stack([plain, tilted]), torch.stack([tilted, squared - plain])])
        inner = corners.diag_embed().transpose(1, 2).reshape(4, 4)
        border, corner = inner[:2].sum(dim=0), plain.sum().clamp(min=torch.finfo(plain.dtype).eps)
        hessian = self.matrices[0] * plain[0]
        hessian.add_(self.matrices[1], alpha=plain[1].item())
        hessian.addmm_(factors.T @ (inner - torch.outer(border, border) / corner), factors)
        factor = factorise(hessian, self.l2)
        edge = border @ factors

        def solve(vector: Tensor) -> Tensor:  # eliminates the bias first
            weight = torch.cholesky_solve((vector[:-1] - edge * (vector[-1] / corner))[:, None], factor)[:, 0]
            return torch.cat([weight, ((vector[-1] - edge @ weight) / corner)[None]])

        return solve

    def _inverse_diagonal(self, bends: Tensor) -> Callable[[Tensor], Tensor]:
        squares = torch.stack([variances_of(gaussian) for gaussian in self.pair]) + self.means**2
        diagonal = torch.cat([bends @ squares + self.l2, bends.sum()[None]])
        positive = diagonal.clamp(min=torch.finfo(diagonal.dtype).eps * float(diagonal.max()))
        return lambda vector: vector / positive

    def sizes(self) -> tuple[float, float]:
        """Return the scales of the gradient by the weight and by the bias, to which tolerances are relative."""
        variance = sum(float(variances_of(gaussian).sum()) for gaussian in self.pair)
        chance = float(self.shares.prod())
        return chance * math.sqrt(variance + float((self.means[1] - self.means[0]).square().sum())), chance

    def _expect(self, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return each label's part of the loss and its first and second derivatives by the mean, ``(2,)`` each."""
        spreads = _root(variances)
        nodes, z, mass = _quadrature(means, spreads)
        values, slopes = _differentiate(nodes, self.loss)
        bends = torch.where(spreads > 0, slopes @ (z * mass) / spreads, 0.0)
        return values @ mass * self.shares, slopes @ mass * self.shares, bends * self.shares


def _root(variances: Tensor) -> Tensor:
    return variances.clamp(min=0).sqrt()


def _quadrature(means: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits ``(2, K)`` at the nodes, the nodes in standard deviations ``(K,)`` and their mass ``(K,)``."""
    wanted = 1 + math.ceil(min(2 * HALF_WIDTH * float(spreads.max()) / MAX_SPACING, MAX_NODES))
    z = torch.linspace(-HALF_WIDTH, HALF_WIDTH, max(MIN_NODES, wanted), dtype=means.dtype, device=means.device)
    mass = (-(z**2) / 2).exp()
    return means[:, None] + spreads[:, None] * z, z, mass / mass.sum()


def _differentiate(nodes: Tensor, loss: ElementwiseLoss | None) -> tuple[Tensor, Tensor]:
    """Return the loss ``(2, K)`` of logits with label 0 and with label 1, and its derivative."""
    if loss is None:
        sign = nodes.new_tensor([[1.0], [-1.0]])
        return -functional.logsigmoid(-sign * nodes), sign * (sign * nodes).sigmoid()
    with torch.enable_grad():
        logits = nodes.detach().requires_grad_()
        values = loss(logits, nodes.new_tensor([[0.0], [1.0]]).expand_as(logits))
        if values.shape != logits.shape:
            raise ValueError(f"Expected a loss of shape {tuple(logits.shape)} but got {tuple(values.shape)}.")
        (slopes,) = torch.autograd.grad(values.sum(), logits)
    return values.detach(), slopes


def variances_of(gaussian: Gaussian) -> Tensor:
    """Return the variances ``(D,)`` without forming a covariance matrix."""
    total = torch.zeros_like(gaussian.mean) if gaussian.dense is None else gaussian.dense.diagonal().clone()
    if gaussian.rows is not None:
        total += gaussian.rows.square().sum(dim=0)
    if gaussian.diagonal is not None:
        total += gaussian.diagonal
    return total


def factorise(matrix: Tensor, ridge: float) -> Tensor:
    """Return the lower Cholesky factor of a positive semidefinite matrix plus ``ridge·I``; overwrites the matrix.

    Adds a further multiple of the identity of the size of rounding errors, so that a singular matrix has a factor.
    """
    limits = torch.finfo(matrix.dtype)
    matrix.diagonal().add_(ridge + len(matrix) * limits.eps * matrix.trace() + limits.tiny)
    factor: Tensor = torch.linalg.cholesky(matrix)
    return factor
