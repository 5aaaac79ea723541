"""Linear classifiers fitted to infinitely many virtual samples: the exact limit of stage 2.

A linear classifier sees a Gaussian feature only through its logit ``s = w·x + b ~ N(w·μ + b, wᵀΣw)``, so the expected
loss of a class is two one-dimensional integrals, which `expected_objective` takes by quadrature.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltml.gaussians.descent import MAX_LINE_ITERATIONS, descend
from ltml.gaussians.expected_objective import ElementwiseLoss, Objective, Point, TwoSided, factorise, variances_of
from ltml.gaussians.gaussian import Gaussian

log = logging.getLogger(__name__)

EXACT_WIDTH = 4096
"""Largest feature width for which the Hessian is formed; for wider features L-BFGS is usually faster."""


class ExpectedFit(NamedTuple):
    """Linear classifiers of all classes; entries of classes that are not fitted are NaN.

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
    """Return ``π E[f(s₁, 1)] + (1 − π) E[f(s₀, 0)] + l2/2 ‖w‖²`` of one class, and its gradient.

    The logit of label j is ``s_j ~ N(w·μ_j + b, wᵀΣ_j w)``, with standard deviation ``s``.
    With ``g_j = E[f′]`` and ``h_j = E[f″]`` the gradient is ``Σ_j π_j (g_j μ_j + h_j Σ_j w) + l2 w`` by the weight and
    ``Σ_j π_j g_j`` by the bias. ``h_j`` is computed as ``E[f′ z]/s`` (Stein's lemma), which is the derivative of the
    quadrature itself and needs no second derivative of a loss with kinks.

    Args:
        pair: label-0 and label-1 Gaussian.
        probability: P(label 1), π.
        weight: ``(D,)``.
        bias: scalar; not penalised.
        l2: penalty on the weight.
        loss: elementwise loss f; None for the binary cross entropy, in closed form. Others are differentiated by
            autograd, so no part of them may be detached.

    Returns:
        Value, gradient by the weight ``(D,)`` and gradient by the bias; float64, on the device of the means.

    Raises:
        ValueError: if the penalty is negative or the loss is not elementwise.
    """
    _check_penalty(l2)
    objective = Objective.of(pair, probability, l2, loss)
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

    The binary cross entropy is convex and has a unique minimum. It is found by Newton's method with the exact Hessian,
    starting in the direction of the linear discriminant. Features wider than `EXACT_WIDTH` and purely diagonal
    covariances use L-BFGS, which forms no ``(D, D)`` matrix. If neither covariance is stored as a matrix and their
    rows span less than the whole space, the problem is solved exactly in that span. Another loss need not be convex:
    L-BFGS then runs from the minimum of the binary cross entropy, or from `start`, until the gradient vanishes.

    Args:
        gaussians: label-0 and label-1 Gaussian per class; None for a label without samples.
        probabilities: P(label 1) per class, ``(C,)``; NaN for a class without one, which is not fitted.
        l2: penalty on the weights; the bias is not penalised.
        loss: None for the binary cross entropy; see `expected_loss`.
        start: initial weight ``(C, D)`` and bias ``(C,)`` for another loss; ignored for the binary cross entropy.
        tolerance: bound on the gradient relative to ``π (1 − π)`` and, by the weight, to the spread of the features.
        max_iterations: maximum number of iterations per class.

    Raises:
        ValueError: if the numbers of classes differ, a class with both Gaussians has a probability outside (0, 1),
            the penalty is negative, or it is 0 where only a penalty keeps the minimiser finite.
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
    """Return the area under the ROC curve of ``w·x`` on two Gaussians, ``Φ(w·(μ₁ − μ₀) / √(wᵀ(Σ₀ + Σ₁)w))``.

    Args:
        pair: label-0 and label-1 Gaussian.
        weight: ``(D,)``; a weight that separates nothing has an area of 0.5.
    """
    wide = weight.detach().to(pair[0].mean)
    difference = float(wide @ (pair[1].mean - pair[0].mean))
    variance = sum(float(wide @ gaussian.covariance_times(wide)) for gaussian in pair)
    if variance <= 0:
        return 0.5 * (1 + (difference > 0) - (difference < 0))
    return 0.5 * math.erfc(-difference / math.sqrt(2 * variance))


def lda_direction(pair: TwoSided, ridge: float) -> Tensor:
    """Return the direction of the linear discriminant, ``((Σ₀ + Σ₁)/2 + ridge·I)⁻¹ (μ₁ − μ₀)``, float64 ``(D,)``.

    Without a ridge this weight has the highest `expected_auc`.

    Args:
        pair: label-0 and label-1 Gaussian.
        ridge: ≥ 0; must be positive if the covariances are singular.
    """
    return _discriminant(pair[0].covariance() + pair[1].covariance(), pair[1].mean - pair[0].mean, ridge)


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
    """Return whether the difference of the means has a component along which neither covariance has variance."""
    free = torch.ones_like(pair[0].mean, dtype=torch.bool)
    for gaussian in pair:
        if gaussian.diagonal is not None:
            free &= gaussian.diagonal == 0
    difference = (pair[1].mean - pair[0].mean)[free]
    basis = _range(pair, free)
    outside = difference - (basis @ difference) @ basis
    return bool(outside.norm() > 1e-8 * difference.norm())


def _range(pair: TwoSided, free: Tensor) -> Tensor:
    """Return orthonormal rows that span the range of dense parts and rows within the features that are free."""
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
    """Fit one class; return weight ``(D,)``, bias, number of iterations and whether it converged."""
    basis = _span(pair, None if start is None else start[0])
    if basis is not None:
        pair = (_project(pair[0], basis), _project(pair[1], basis))
    objective, centre = _centred(Objective.of(pair, chance, l2))
    if loss is None or start is None:
        point = _best_multiple(objective, _first_direction(objective), tolerance)
        point, iterations, converged = descend(objective, point, tolerance, max_iterations)
    else:
        weight = start[0] if basis is None else basis @ start[0]
        point = objective.point(weight, start[1] + weight @ centre)
    if loss is not None:
        point, iterations, converged = descend(replace(objective, loss=loss), point, tolerance, max_iterations)
    weight = point.weight if basis is None else point.weight @ basis
    return weight, point.bias - point.weight @ centre, iterations, converged


def _centred(objective: Objective) -> tuple[Objective, Tensor]:
    """Centre the means, which decouples weight and bias, and add the covariances as matrices where that pays.

    Returns:
        The new objective and the point ``(D,)`` that became the origin.
    """
    centre = objective.means.mean(dim=0)
    is_full = any(part is not None for gaussian in objective.pair for part in (gaussian.dense, gaussian.rows))
    matrices = None
    if is_full and len(centre) <= EXACT_WIDTH:
        matrices = (objective.pair[0].covariance(), objective.pair[1].covariance())
    return replace(objective, means=objective.means - centre, matrices=matrices), centre


def _span(pair: TwoSided, weight: Tensor | None) -> Tensor | None:
    """Return orthonormal rows ``(K, D)`` whose span contains every iterate; None if that is the whole space.

    The gradient is a combination of the weight, the difference of the means and the covariances' rows; adding a
    multiple of the identity to a covariance does not change that.
    """
    if any(gaussian.dense is not None or not _is_constant(gaussian.diagonal) for gaussian in pair):
        return None
    rows = [gaussian.rows for gaussian in pair if gaussian.rows is not None]
    rows.append((pair[1].mean - pair[0].mean)[None])
    if weight is not None:
        rows.append(weight[None])
    spanning = torch.cat(rows)
    return torch.linalg.qr(spanning.T).Q.T if len(spanning) < spanning.shape[1] else None


def _is_constant(diagonal: Tensor | None) -> bool:
    return diagonal is None or bool((diagonal == diagonal[0]).all())


def _project(gaussian: Gaussian, basis: Tensor) -> Gaussian:
    """Return the Gaussian of ``basis @ x``; its diagonal must be constant."""
    rows = None if gaussian.rows is None else gaussian.rows @ basis.T
    diagonal = None if gaussian.diagonal is None else gaussian.diagonal[: len(basis)]
    return Gaussian(gaussian.count, basis @ gaussian.mean, rows=rows, diagonal=diagonal)


def _first_direction(objective: Objective) -> Tensor:
    """Return the direction of the linear discriminant; without matrices, of the one that ignores correlations."""
    difference = objective.means[1] - objective.means[0]
    ridge = objective.l2 / float(objective.shares.prod())  # equivalent of the penalty while all logits are near 0
    if objective.matrices is not None:
        return _discriminant(objective.matrices[0] + objective.matrices[1], difference, ridge)
    variances = (variances_of(objective.pair[0]) + variances_of(objective.pair[1])) / 2 + ridge
    return torch.where(variances > 0, difference / variances, 0.0)


def _discriminant(total: Tensor, difference: Tensor, ridge: float) -> Tensor:
    """Return ``(total/2 + ridge·I)⁻¹ difference``; overwrites `total`."""
    return torch.cholesky_solve(difference[:, None], factorise(total.div_(2), ridge))[:, 0]


def _best_multiple(objective: Objective, direction: Tensor, tolerance: float) -> Point:
    """Return the best classifier along a direction, by solving the same problem in one dimension."""
    unit = objective.point(direction, direction.new_zeros(()))
    means, variances = objective.means @ direction, (unit.turned @ direction).clamp(min=0)
    absent, present = (Gaussian(1, means[j : j + 1], diagonal=variances[j : j + 1]) for j in (0, 1))
    line = Objective(
        (absent, present),
        means[:, None],
        objective.shares,
        objective.l2 * float(direction @ direction),
        None,
        (variances[0].view(1, 1), variances[1].view(1, 1)),
    )
    origin = line.point(direction.new_zeros(1), objective.shares[1].logit())
    best = descend(line, origin, tolerance, MAX_LINE_ITERATIONS)[0]
    return Point(best.weight * direction, best.bias, best.weight * unit.turned)
