"""The exact limit of stage 2: the linear classifiers that infinitely many virtual samples would give.

A linear classifier sees a Gaussian feature only through its logit ``s = w·x + b ~ N(w·μ + b, wᵀΣw)``, so the expected
loss of a class is two one-dimensional integrals. They are taken by the trapezoid rule, which converges exponentially
for smooth losses: below 1e-10 for the binary cross entropy up to a standard deviation of 20, where Gauss-Hermite
rules of practical size are not, and below 1e-8 for a loss with a kink in a high derivative, as the asymmetric one.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ltml.gaussians.gaussian import Gaussian

log = logging.getLogger(__name__)

ElementwiseLoss = Callable[[Tensor, Tensor], Tensor]
"""Logits and targets of one shape to the loss of each entry, of that shape and in float64."""

TwoSided = tuple[Gaussian, Gaussian]

REACH = 8.0
"""Standard deviations that the quadrature covers on either side; 1e-15 of the mass lies beyond."""
NODES = 129
"""Quadrature nodes at least."""
SPACING = 0.75
"""Logits between two nodes at most: the poles of the sigmoid are π from the real line, the error e^(−2π²/0.75)."""
MOST_NODES = 1 << 16
"""Keeps a hopeless trial step, of spreads in the thousands, from taking all memory."""
EXACT_WIDTH = 4096
"""Widest feature whose Hessian is formed: beyond, L-BFGS is faster unless features are badly conditioned."""
MEMORY = 20
"""Pairs of differences that L-BFGS keeps."""
SUFFICIENT, CURVATURE = 1e-4, 0.9
"""Of the weak Wolfe conditions."""
LINE_ITERATIONS = 60
"""Of a line search, and of the start's one-dimensional problem."""


class ExpectedFit(NamedTuple):
    """Classifiers of all classes; what is not fitted is NaN.

    Attributes:
        weight: float64 ``(C, D)``.
        bias: float64 ``(C,)``.
        loss: float64 ``(C,)`` objective, penalty included.
        gradient_norm: float64 ``(C,)`` Euclidean norm of the objective's gradient by weight and bias.
        iterations: int64 ``(C,)``.
        converged: boolean ``(C,)``; False where not fitted.
        fitted: boolean ``(C,)``; False for a class without both Gaussians or without a probability.
    """

    weight: Tensor
    bias: Tensor
    loss: Tensor
    gradient_norm: Tensor
    iterations: Tensor
    converged: Tensor
    fitted: Tensor


@torch.no_grad()
def expected_loss(
    pair: TwoSided,
    probability: float,
    weight: Tensor,
    bias: Tensor,
    *,
    l2: float = 1e-4,
    loss: ElementwiseLoss | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``π E[f(s₁, 1)] + (1 − π) E[f(s₀, 0)] + l2/2 ‖w‖²`` of one class, and its gradient.

    The logit of label j is ``s_j ~ N(w·μ_j + b, wᵀΣ_j w)``, with standard deviation ``s``.
    With ``g_j = E[f′]`` and ``h_j = E[f″]`` the gradient is ``Σ_j π_j (g_j μ_j + h_j Σ_j w) + l2 w`` by the weight and
    ``Σ_j π_j g_j`` by the bias. ``h_j`` is taken as ``E[f′ z]/s`` (Stein's lemma): that is the derivative of the
    quadrature itself, and a loss with kinks needs no second derivative.

    Args:
        pair: label-0 and label-1 Gaussian.
        probability: P(label 1), π.
        weight: ``(D,)``.
        bias: scalar; not penalised.
        l2: penalty.
        loss: None is the binary cross entropy, in closed form; another is differentiated by autograd, so no part
            of it may be detached.

    Returns:
        Value, gradient by the weight ``(D,)`` and by the bias; float64, on the device of the means.

    Raises:
        ValueError: a negative penalty, or the loss is not elementwise.
    """
    _check_penalty(l2)
    objective = _Objective.of(pair, probability, l2, loss)
    wide = weight.to(objective.means)
    value, gradient = objective.evaluate(objective.point(wide, bias.to(wide)))
    return value, gradient[:-1], gradient[-1]


@torch.inference_mode(False)
@torch.no_grad()
def fit_expected(
    gaussians: Sequence[tuple[Gaussian | None, Gaussian | None]],
    probabilities: Sequence[float] | npt.NDArray[np.float64] | Tensor,
    *,
    l2: float = 1e-4,
    loss: ElementwiseLoss | None = None,
    start: tuple[Tensor, Tensor] | None = None,
    tolerance: float = 1e-9,
    max_iterations: int = 1000,
) -> ExpectedFit:
    """Minimise the expected loss of every class over weight and bias; see `expected_loss`.

    The binary cross entropy is convex and its minimum unique: Newton's method with the exact Hessian, from the
    direction of the linear discriminant. Features wider than `EXACT_WIDTH`, and purely diagonal covariances, take
    L-BFGS, which forms no ``(D, D)`` matrix. Where neither covariance is held as a matrix and their rows span less
    than the whole space, the problem is solved exactly in that span. Another loss need not be convex: L-BFGS from
    the minimum of the binary cross entropy, or from `start`, to a point where the gradient vanishes.

    Args:
        gaussians: label-0 and label-1 Gaussian per class; None where there was no sample.
        probabilities: P(label 1) per class, ``(C,)``; NaN where a class has none.
        l2: penalty on the weights, not on the bias.
        loss: None is the binary cross entropy; see `expected_loss`.
        start: weight ``(C, D)`` and bias ``(C,)`` that another loss starts from; the cross entropy needs none.
        tolerance: on the gradient relative to ``π (1 − π)`` and, by the weight, to the spread of the features.
        max_iterations: per class.

    Raises:
        ValueError: numbers of classes differ, a probability that is not in (0, 1) although both Gaussians exist, a
            negative penalty, or none where only a penalty keeps the minimiser finite.
    """
    _check_penalty(l2)
    chances = torch.as_tensor(probabilities, dtype=torch.float64).tolist()
    if len(chances) != len(gaussians):
        raise ValueError(f"Expected {len(gaussians)} probabilities, one per class, but got {len(chances)}.")
    mean = next((gaussian.mean for pair in gaussians for gaussian in pair if gaussian is not None), None)
    if mean is None:
        raise ValueError("Expected at least one Gaussian but got none.")
    fit = _unfitted(len(gaussians), mean)
    for c, ((absent, present), chance) in enumerate(zip(gaussians, chances, strict=True)):
        if absent is None or present is None or math.isnan(chance):
            continue
        pair = (absent, present)
        _check_class(c, pair, chance, l2)
        first = None if start is None else (start[0][c].to(mean), start[1][c].to(mean))
        weight, bias, iterations, converged = _fit_class(pair, chance, l2, loss, first, tolerance, max_iterations)
        value, by_weight, by_bias = expected_loss(pair, chance, weight, bias, l2=l2, loss=loss)
        norm = torch.hypot(by_weight.norm(), by_bias)
        entries: tuple[Tensor | int, ...] = (weight, bias, value, norm, iterations, converged, True)
        for column, entry in zip(fit, entries, strict=True):
            column[c] = entry
    _warn(fit, tolerance)
    return fit


def expected_auc(pair: TwoSided, weight: Tensor) -> float:
    """Area under the ROC curve of ``w·x`` between the two Gaussians, ``Φ(w·(μ₁ − μ₀) / √(wᵀ(Σ₀ + Σ₁)w))``.

    Args:
        pair: label-0 and label-1 Gaussian.
        weight: ``(D,)``; one that separates nothing has 0.5.
    """
    wide = weight.detach().to(pair[0].mean)
    difference = float(wide @ (pair[1].mean - pair[0].mean))
    variance = sum(float(wide @ gaussian.covariance_times(wide)) for gaussian in pair)
    if variance <= 0:
        return 0.5 * (1 + (difference > 0) - (difference < 0))
    return 0.5 * math.erfc(-difference / math.sqrt(2 * variance))


def lda_direction(pair: TwoSided, ridge: float) -> Tensor:
    """Direction of the linear discriminant, ``((Σ₀ + Σ₁)/2 + ridge·I)⁻¹ (μ₁ − μ₀)``, float64 ``(D,)``.

    Without a ridge it has the highest `expected_auc` of all weights.

    Args:
        pair: label-0 and label-1 Gaussian.
        ridge: ≥ 0; greater where the covariances are singular.
    """
    return _discriminant(pair[0].covariance() + pair[1].covariance(), pair[1].mean - pair[0].mean, ridge)


class _Point(NamedTuple):
    """A classifier, or a direction to move one; every part is linear in weight and bias.

    Attributes:
        weight: ``(D,)``.
        bias: scalar.
        turned: ``(2, D)``, each label's covariance times the weight.
    """

    weight: Tensor
    bias: Tensor
    turned: Tensor

    def moved(self, direction: _Point, length: float) -> _Point:
        return _Point(*(mine + length * other for mine, other in zip(self, direction, strict=True)))


@dataclass(frozen=True)
class _Objective:
    """The expected loss of one class.

    Attributes:
        pair: whose covariances are used.
        means: ``(2, D)``; moved by the same vector they change only what the bias means.
        shares: ``(2,)``, probability of each label.
        matrices: both covariances, where Hessians are to be formed.
    """

    pair: TwoSided
    means: Tensor
    shares: Tensor
    l2: float
    loss: ElementwiseLoss | None
    matrices: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, pair: TwoSided, chance: float, l2: float, loss: ElementwiseLoss | None = None) -> _Objective:
        means = torch.stack([gaussian.mean for gaussian in pair])
        return cls(pair, means, means.new_tensor([1 - chance, chance]), l2, loss)

    def point(self, weight: Tensor, bias: Tensor) -> _Point:
        return _Point(weight, bias, torch.stack([gaussian.covariance_times(weight) for gaussian in self.pair]))

    def evaluate(self, point: _Point) -> tuple[Tensor, Tensor]:
        """Value, and gradient ``(D + 1,)`` with the bias last."""
        values, slopes, bends = self._expect(self.means @ point.weight + point.bias, point.turned @ point.weight)
        by_weight = slopes @ self.means + bends @ point.turned + self.l2 * point.weight
        value = values.sum() + self.l2 / 2 * (point.weight @ point.weight)
        return value, torch.cat([by_weight, slopes.sum()[None]])

    def along(self, point: _Point, direction: _Point) -> Callable[[float], tuple[float, float]]:
        """Value and slope at a length along a direction: a few numbers, whatever the width."""
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

    def inverse_hessian(self, point: _Point) -> Callable[[Tensor], Tensor]:
        """Multiplies ``(D + 1,)`` by the inverse Hessian of the binary cross entropy, or of its diagonal."""
        spreads = _root(point.turned @ point.weight)
        nodes, z, mass = _quadrature(self.means @ point.weight + point.bias, spreads)
        bend = nodes.sigmoid() * (-nodes).sigmoid() * self.shares[:, None]
        plain, tilted, squared = bend @ mass, bend @ (z * mass), bend @ (z**2 * mass)
        if self.matrices is None:
            return self._inverse_diagonal(plain)
        # Second derivatives by mean and spread of a logit; the spread's gradient is Σw/s.
        spread_gradients = torch.where(spreads[:, None] > 0, point.turned / spreads[:, None], 0.0)
        factors = torch.cat([self.means, spread_gradients])
        corners = torch.stack([torch.stack([plain, tilted]), torch.stack([tilted, squared - plain])])
        inner = corners.diag_embed().transpose(1, 2).reshape(4, 4)
        border, corner = inner[:2].sum(dim=0), plain.sum().clamp(min=torch.finfo(plain.dtype).eps)
        hessian = self.matrices[0] * plain[0]
        hessian.add_(self.matrices[1], alpha=plain[1].item())
        hessian.addmm_(factors.T @ (inner - torch.outer(border, border) / corner), factors)
        factor = _cholesky(hessian, self.l2)
        edge = border @ factors

        def solve(vector: Tensor) -> Tensor:  # the bias is eliminated first
            weight = torch.cholesky_solve((vector[:-1] - edge * (vector[-1] / corner))[:, None], factor)[:, 0]
            return torch.cat([weight, ((vector[-1] - edge @ weight) / corner)[None]])

        return solve

    def _inverse_diagonal(self, bends: Tensor) -> Callable[[Tensor], Tensor]:
        squares = torch.stack([_variances(gaussian) for gaussian in self.pair]) + self.means**2
        diagonal = torch.cat([bends @ squares + self.l2, bends.sum()[None]])
        positive = diagonal.clamp(min=torch.finfo(diagonal.dtype).eps * float(diagonal.max()))
        return lambda vector: vector / positive

    def sizes(self) -> tuple[float, float]:
        """What the gradient by the weight and by the bias is small against."""
        variance = sum(float(_variances(gaussian).sum()) for gaussian in self.pair)
        chance = float(self.shares.prod())
        return chance * math.sqrt(variance + float((self.means[1] - self.means[0]).square().sum())), chance

    def _expect(self, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each label's share of the loss and its first and second derivatives by the mean, ``(2,)`` each."""
        spreads = _root(variances)
        nodes, z, mass = _quadrature(means, spreads)
        values, slopes = _differentiate(nodes, self.loss)
        bends = torch.where(spreads > 0, slopes @ (z * mass) / spreads, 0.0)
        return values @ mass * self.shares, slopes @ mass * self.shares, bends * self.shares


def _root(variances: Tensor) -> Tensor:
    return variances.clamp(min=0).sqrt()


def _quadrature(means: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``(2, K)`` of the nodes, the nodes as standard normal numbers ``(K,)``, and their mass ``(K,)``."""
    wanted = 1 + math.ceil(min(2 * REACH * float(spreads.max()) / SPACING, MOST_NODES))
    z = torch.linspace(-REACH, REACH, max(NODES, wanted), dtype=means.dtype, device=means.device)
    mass = (-(z**2) / 2).exp()
    return means[:, None] + spreads[:, None] * z, z, mass / mass.sum()


def _differentiate(nodes: Tensor, loss: ElementwiseLoss | None) -> tuple[Tensor, Tensor]:
    """Loss ``(2, K)`` of logits with label 0 and 1, and its derivative."""
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


def _check_penalty(l2: float) -> None:
    if not l2 >= 0:
        raise ValueError(f"Expected l2 ≥ 0 but got {l2}.")


def _check_class(c: int, pair: TwoSided, chance: float, l2: float) -> None:
    if not 0 < chance < 1:
        raise ValueError(
            f"Expected a probability between 0 and 1 for class {c}, which has both Gaussians, but got {chance}: "
            "its bias would run to infinity."
        )
    if l2 == 0 and _leaves_range(pair):
        raise ValueError(
            f"Expected l2 > 0 but got 0: in class {c} the difference of the means leaves the range of both "
            "covariances, so no finite weight is best. Set a penalty such as l2=1e-4, or shrink the covariances."
        )


def _leaves_range(pair: TwoSided) -> bool:
    """Whether the difference of the means has a part that neither covariance gives any variance."""
    free = torch.ones_like(pair[0].mean, dtype=torch.bool)
    for gaussian in pair:
        if gaussian.diagonal is not None:
            free &= gaussian.diagonal == 0
    difference = (pair[1].mean - pair[0].mean)[free]
    basis = _range(pair, free)
    outside = difference - (basis @ difference) @ basis
    return bool(outside.norm() > 1e-8 * difference.norm())


def _range(pair: TwoSided, free: Tensor) -> Tensor:
    """Orthonormal rows that span what dense parts and rows reach within some of the features."""
    if any(gaussian.dense is not None for gaussian in pair):
        values, columns = torch.linalg.eigh((pair[0].covariance() + pair[1].covariance())[free][:, free])
        vectors: Tensor = columns.T
    else:
        rows = [gaussian.rows for gaussian in pair if gaussian.rows is not None]
        stacked = torch.cat([torch.zeros_like(pair[0].mean)[None], *rows])[:, free]
        _, values, vectors = torch.linalg.svd(stacked, full_matrices=False)
    return vectors[values > len(free) * torch.finfo(values.dtype).eps * values.sum()]


def _unfitted(classes: int, mean: Tensor) -> ExpectedFit:
    nan = mean.new_full((classes,), torch.nan)
    no = torch.zeros_like(nan, dtype=torch.bool)
    weight = mean.new_full((classes, len(mean)), torch.nan)
    return ExpectedFit(weight, nan, nan.clone(), nan.clone(), torch.zeros_like(nan, dtype=torch.int64), no, no.clone())


def _warn(fit: ExpectedFit, tolerance: float) -> None:
    failed = (fit.fitted & ~fit.converged).nonzero()[:, 0].tolist()
    if failed:
        log.warning(
            "The expected solver did not reach tolerance %g for class(es) %s after %s iterations.",
            tolerance,
            ", ".join(map(str, failed)),
            ", ".join(str(fit.iterations[c].item()) for c in failed),
        )


def _fit_class(
    pair: TwoSided,
    chance: float,
    l2: float,
    loss: ElementwiseLoss | None,
    start: tuple[Tensor, Tensor] | None,
    tolerance: float,
    max_iterations: int,
) -> tuple[Tensor, Tensor, int, bool]:
    """Weight ``(D,)``, bias, iterations and whether it converged."""
    basis = _span(pair, None if start is None else start[0])
    if basis is not None:
        pair = (_project(pair[0], basis), _project(pair[1], basis))
    objective, centre = _centred(_Objective.of(pair, chance, l2))
    if loss is None or start is None:
        point = _best_multiple(objective, _first_direction(objective), tolerance)
        point, iterations, converged = _descend(objective, point, tolerance, max_iterations)
    else:
        weight = start[0] if basis is None else basis @ start[0]
        point = objective.point(weight, start[1] + weight @ centre)
    if loss is not None:
        point, iterations, converged = _descend(replace(objective, loss=loss), point, tolerance, max_iterations)
    weight = point.weight if basis is None else point.weight @ basis
    return weight, point.bias - point.weight @ centre, iterations, converged


def _centred(objective: _Objective) -> tuple[_Objective, Tensor]:
    """Means on either side of 0, which parts weight from bias, and where 0 was; matrices where they pay."""
    centre = objective.means.mean(dim=0)
    held = any(part is not None for gaussian in objective.pair for part in (gaussian.dense, gaussian.rows))
    matrices = None
    if held and len(centre) <= EXACT_WIDTH:
        matrices = (objective.pair[0].covariance(), objective.pair[1].covariance())
    return replace(objective, means=objective.means - centre, matrices=matrices), centre


def _span(pair: TwoSided, weight: Tensor | None) -> Tensor | None:
    """Orthonormal rows ``(K, D)`` whose span no descent leaves, where that is less than the whole space.

    The gradient is made of the weight, the difference of the means and the covariances' rows; a multiple of the
    identity changes nothing about that.
    """
    if any(gaussian.dense is not None or not _is_level(gaussian.diagonal) for gaussian in pair):
        return None
    rows = [gaussian.rows for gaussian in pair if gaussian.rows is not None]
    rows.append((pair[1].mean - pair[0].mean)[None])
    if weight is not None:
        rows.append(weight[None])
    spanning = torch.cat(rows)
    return torch.linalg.qr(spanning.T).Q.T if len(spanning) < spanning.shape[1] else None


def _is_level(diagonal: Tensor | None) -> bool:
    return diagonal is None or bool((diagonal == diagonal[0]).all())


def _project(gaussian: Gaussian, basis: Tensor) -> Gaussian:
    """The Gaussian of ``basis @ x``; its diagonal must be level."""
    rows = None if gaussian.rows is None else gaussian.rows @ basis.T
    diagonal = None if gaussian.diagonal is None else gaussian.diagonal[: len(basis)]
    return Gaussian(gaussian.count, basis @ gaussian.mean, rows=rows, diagonal=diagonal)


def _variances(gaussian: Gaussian) -> Tensor:
    """``(D,)``, without forming what is not formed."""
    total = torch.zeros_like(gaussian.mean) if gaussian.dense is None else gaussian.dense.diagonal().clone()
    if gaussian.rows is not None:
        total += gaussian.rows.square().sum(dim=0)
    if gaussian.diagonal is not None:
        total += gaussian.diagonal
    return total


def _first_direction(objective: _Objective) -> Tensor:
    """The linear discriminant; where no matrices are formed, the one that ignores correlations."""
    difference = objective.means[1] - objective.means[0]
    ridge = objective.l2 / float(objective.shares.prod())  # what the penalty weighs while all logits are near 0
    if objective.matrices is not None:
        return _discriminant(objective.matrices[0] + objective.matrices[1], difference, ridge)
    variances = (_variances(objective.pair[0]) + _variances(objective.pair[1])) / 2 + ridge
    return torch.where(variances > 0, difference / variances, 0.0)


def _discriminant(total: Tensor, difference: Tensor, ridge: float) -> Tensor:
    """``(total/2 + ridge·I)⁻¹ difference``; `total` is overwritten."""
    return torch.cholesky_solve(difference[:, None], _cholesky(total.div_(2), ridge))[:, 0]


def _cholesky(matrix: Tensor, ridge: float) -> Tensor:
    """Lower factor of a positive semidefinite matrix plus ``ridge·I``; the matrix is overwritten.

    What is added besides is of the size of its rounding errors, so that a singular one has a factor.
    """
    limits = torch.finfo(matrix.dtype)
    matrix.diagonal().add_(ridge + len(matrix) * limits.eps * matrix.trace() + limits.tiny)
    factor: Tensor = torch.linalg.cholesky(matrix)
    return factor


def _best_multiple(objective: _Objective, direction: Tensor, tolerance: float) -> _Point:
    """The best classifier along a direction: the same problem in one dimension."""
    unit = objective.point(direction, direction.new_zeros(()))
    means, variances = objective.means @ direction, (unit.turned @ direction).clamp(min=0)
    absent, present = (Gaussian(1, means[j : j + 1], diagonal=variances[j : j + 1]) for j in (0, 1))
    line = _Objective(
        (absent, present),
        means[:, None],
        objective.shares,
        objective.l2 * float(direction @ direction),
        None,
        (variances[0].view(1, 1), variances[1].view(1, 1)),
    )
    origin = line.point(direction.new_zeros(1), objective.shares[1].logit())
    best = _descend(line, origin, tolerance, LINE_ITERATIONS)[0]
    return _Point(best.weight * direction, best.bias, best.weight * unit.turned)


def _descend(objective: _Objective, point: _Point, tolerance: float, max_iterations: int) -> tuple[_Point, int, bool]:
    """Newton's method where the Hessian is at hand, otherwise L-BFGS; the point, iterations and whether it is flat."""
    newton = objective.loss is None and objective.matrices is not None
    history: deque[tuple[Tensor, Tensor]] = deque(maxlen=0 if newton else MEMORY)
    limit, bias_limit = (tolerance * size for size in objective.sizes())
    gradient = objective.evaluate(point)[1]
    iteration = 0
    while not (gradient[:-1].norm() <= limit and gradient[-1].abs() <= bias_limit):
        if iteration == max_iterations:
            return point, iteration, False
        if not history:
            solve = objective.inverse_hessian(point)
        step = -_two_loop(gradient, history, solve)
        direction = objective.point(step[:-1], step[-1])
        length = _line_search(objective.along(point, direction))
        if length is None:
            return point, iteration, False
        point, previous = point.moved(direction, length), gradient
        gradient = objective.evaluate(point)[1]
        history.append((length * step, gradient - previous))
        iteration += 1
    return point, iteration, True


def _two_loop(gradient: Tensor, history: deque[tuple[Tensor, Tensor]], solve: Callable[[Tensor], Tensor]) -> Tensor:
    """The gradient times the inverse Hessian that L-BFGS builds on a first one (Nocedal & Wright, algorithm 7.4)."""
    result, along = gradient, []
    for step, change in reversed(history):
        along.append((step @ result) / (step @ change))
        result = result - along[-1] * change
    result = solve(result)
    if history:
        step, change = history[-1]
        result = result * ((step @ change) / (change @ solve(change)))
    for step, change in history:
        result = result + (along.pop() - (change @ result) / (step @ change)) * step
    return result


def _line_search(curve: Callable[[float], tuple[float, float]]) -> float | None:
    """A length that meets the weak Wolfe conditions, by bisection; None if rounding errors leave none.

    Near the minimum values differ by less than their rounding errors: there the slope decides (Hager & Zhang, SIAM J.
    Optimization, 2005, eq. 4.1).
    """
    start, slope_start = curve(0.0)
    low, high, length = 0.0, math.inf, 1.0
    for _ in range(LINE_ITERATIONS):
        value, slope = curve(length)
        lower = value <= start + SUFFICIENT * length * slope_start
        level = value <= start + 1e-10 * abs(start) and slope <= (2 * SUFFICIENT - 1) * slope_start
        if not (lower or level):
            high = length
        elif slope < CURVATURE * slope_start:
            low = length
        else:
            return length
        length = 2 * low if math.isinf(high) else (low + high) / 2
    return None
