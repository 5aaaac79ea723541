"""Fit logistic regressions to stored features, a part of the rows at a time."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit

from ltml.arrays import Float64Array, FloatArray
from ltml.errors import first_few
from ltml.models.classifier import PerClassLinear
from ltml.types import FeatureSet

log = logging.getLogger(__name__)

PART_BYTES = 1 << 25
"""Number of bytes of rows that are read at a time, as float64."""
TOLERANCE = 1e-8
"""Largest gradient, and largest half Newton decrement, of a converged fit."""
MAX_STEPS, MAX_HALVINGS = 100, 21
"""Maximum number of Newton steps, and of halvings of a step."""
MIN_PENALTY = 1e-12
"""Smallest penalty per sample; with less the minimum need not exist."""


def fit_probe(features: FeatureSet, *, l2: float) -> PerClassLinear:
    """Fit a logistic regression per class to its known samples: mean BCE plus ``l2/2 ‖w‖²``, in place of stage 1.

    A class with only one known label gets weight 0, and as bias its log-odds with half a sample of the other label.

    Args:
        features: training features, ``(N, C, D)`` or ``(N, D)``, with their labels.
        l2: penalty on the weights.
    """
    targets, width = features.masked_targets(), features.features.shape[-1]
    weight, bias, not_converged = torch.zeros(targets.shape[1], width), torch.zeros(targets.shape[1]), []
    for c, column in enumerate(targets.T):
        rows = np.flatnonzero(~np.isnan(column))
        positives = int((column[rows] == 1).sum())
        if positives in (0, len(rows)):
            bias[c] = float(np.log((positives + 0.5) / (len(rows) - positives + 0.5)))
            continue
        inputs = features.features if features.features.ndim == 2 else features.features[:, c]
        solution, converged = _minimise(inputs, rows, column[rows].astype(np.float64), l2)
        not_converged += [] if converged else [c]
        weight[c], bias[c] = torch.from_numpy(solution[:-1]).float(), float(solution[-1])
    if not_converged:
        log.warning("the logistic regression of stage 1 did not converge for class %s", first_few(not_converged))
    return PerClassLinear(weight, bias)


class _Point(NamedTuple):
    """Value, gradient ``(D + 1,)`` and Hessian ``(D + 1, D + 1)`` of the objective at a point; the bias is last."""

    value: float
    gradient: Float64Array
    hessian: Float64Array


def _minimise(
    inputs: FloatArray, rows: npt.NDArray[np.intp], labels: Float64Array, l2: float
) -> tuple[Float64Array, bool]:
    """Return weights and bias ``(D + 1,)``, and whether the fit converged.

    Newton steps, each halved until the objective decreases enough (Armijo): the result does not depend on the scale of
    the features, and each step needs only sums over rows.
    """
    penalty = max(l2, MIN_PENALTY / len(rows))
    weights = np.zeros(inputs.shape[1] + 1)
    point = _evaluate(inputs, rows, labels, weights, penalty)
    for _ in range(MAX_STEPS):
        step = -_solve(point.hessian, point.gradient)
        slope, decrement = float(point.gradient @ step), float(step @ point.hessian @ step)
        for halving in range(MAX_HALVINGS):
            share = 0.5**halving
            next_point = _evaluate(inputs, rows, labels, weights + share * step, penalty)
            decreased = next_point.value - point.value <= share * slope / 2048
            flat = abs(next_point.value - point.value) <= 16 * np.finfo(np.float64).eps * abs(point.value)
            if decreased or (flat and np.abs(next_point.gradient).sum() <= np.abs(point.gradient).sum()):
                break
        else:
            return weights, False
        weights, point = weights + share * step, next_point
        if np.abs(point.gradient).max() <= TOLERANCE and share**2 * decrement / 2 <= TOLERANCE:
            return weights, True
    return weights, False


def _evaluate(
    inputs: FloatArray, rows: npt.NDArray[np.intp], labels: Float64Array, weights: Float64Array, penalty: float
) -> _Point:
    """Sum the objective over parts of the rows."""
    count, width = len(rows), len(weights) - 1
    value, gradient, hessian = 0.0, np.zeros(width + 1), np.zeros((width + 1, width + 1))
    size = max(1, PART_BYTES // (8 * width))
    for start in range(0, count, size):
        part = slice(start, start + size)
        values, truth = inputs[rows[part]].astype(np.float64), labels[part]
        scores = values @ weights[:-1] + weights[-1]
        chances = expit(scores)
        errors, curve = (chances - truth) / count, chances * (1 - chances) / count
        value += float((np.logaddexp(0, scores) - truth * scores).sum()) / count
        gradient[:-1] += values.T @ errors
        gradient[-1] += errors.sum()
        hessian[:-1, :-1] += values.T @ (curve[:, None] * values)
        hessian[-1, :-1] += values.T @ curve
        hessian[-1, -1] += curve.sum()
    hessian[:-1, -1] = hessian[-1, :-1]
    value += penalty / 2 * float(weights[:-1] @ weights[:-1])
    gradient[:-1] += penalty * weights[:-1]
    hessian[range(width), range(width)] += penalty
    return _Point(value, gradient, hessian)


def _solve(hessian: Float64Array, gradient: Float64Array) -> Float64Array:
    """Return ``H⁻¹ g``; the shortest such vector where the Hessian is singular."""
    try:
        solution: Float64Array = cho_solve(cho_factor(hessian), gradient)
    except LinAlgError:
        return np.linalg.lstsq(hessian, gradient)[0].astype(np.float64)
    return solution
