"""Describe fitted Gaussians: rank, condition, distance between absent and present."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ltml.gaussians.expected import expected_auc, lda_direction
from ltml.gaussians.gaussian import Gaussian
from ltml.gaussians.resampler import GaussianResampler

RIDGE = 1e-6
"""Variance added for the linear discriminant, so that it exists for singular covariances."""


def describe(resampler: GaussianResampler, weight: Tensor | None = None) -> list[dict[str, Any]]:
    """Describe the two Gaussians of every class.

    Args:
        resampler: fitted resampler.
        weight: weight ``(C, D)`` of a linear classifier; without one the expected AUC is undefined.

    Returns:
        One entry per class:
        ``probability`` of label 1 among virtual samples; for ``absent`` and ``present`` ``n``, ``rank``, ``condition``
        (largest over smallest eigenvalue of the covariance, infinite if singular) and ``shrinkage``, or None for
        a label without samples; ``distance``, the Mahalanobis distance between the two means by the mean of the two
        covariances, infinite if they differ where neither varies; ``auc``, P(a draw of label 1 has a higher logit
        than one of label 0); ``auc_best``, the same in the direction of the linear discriminant, where it is highest.
        What is undefined is NaN.
    """
    entries = []
    for c, ((absent, present), chance) in enumerate(zip(resampler.gaussians_, resampler.probabilities_, strict=True)):
        apart = {"distance": math.nan, "auc": math.nan, "auc_best": math.nan}
        if absent is not None and present is not None:
            apart["distance"] = mahalanobis(absent, present)
            apart["auc_best"] = expected_auc((absent, present), lda_direction((absent, present), RIDGE))
            if weight is not None:
                apart["auc"] = expected_auc((absent, present), weight[c])
        groups = {"absent": _spectrum(absent), "present": _spectrum(present)}
        entries.append({"probability": float(chance), **groups, **apart})
    return entries


def mahalanobis(absent: Gaussian, present: Gaussian) -> float:
    """Return the Mahalanobis distance of two means by the mean covariance; infinite if they differ without variance."""
    difference = present.mean - absent.mean
    values, vectors = torch.linalg.eigh((absent.covariance() + present.covariance()) / 2)
    along = (vectors.T @ difference).square()
    varying = _varying(values)
    outside = float(along[~varying].sum())
    if outside > 1e-6 * float(along.sum()):
        return math.inf
    return float((along[varying] / values[varying]).sum().sqrt())


def _spectrum(gaussian: Gaussian | None) -> dict[str, Any] | None:
    if gaussian is None:
        return None
    values = _eigenvalues(gaussian)
    rank, width = int(_varying(values).sum()), len(gaussian.mean)
    condition = float(values[-1] / values[0]) if rank == width else math.inf
    return {"n": gaussian.count, "rank": rank, "condition": condition, "shrinkage": gaussian.shrinkage}


def _eigenvalues(gaussian: Gaussian) -> Tensor:
    """Return ascending eigenvalues of the covariance, at least all nonzero ones; for few rows from their products."""
    if gaussian.dense is None and gaussian.diagonal is None:
        rows = gaussian.mean.new_zeros(1, 1) if gaussian.rows is None else gaussian.rows
        matrix = rows @ rows.T
    else:
        matrix = gaussian.covariance()
    values: Tensor = torch.linalg.eigvalsh(matrix)
    return values


def _varying(values: Tensor) -> Tensor:
    """Return which eigenvalues exceed the rounding errors of float32 features, boolean ``(D,)``."""
    return values > values[-1].clamp(min=0) * torch.finfo(torch.float32).eps
