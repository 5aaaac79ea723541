"""Estimate Gaussians from statistics: covariance, shrinkage, and covariance that small groups borrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ltml.gaussians.gaussian import Gaussian, Pair
from ltml.gaussians.shrinkage import ledoit_wolf, oas
from ltml.gaussians.statistics import Group, Statistics

COVARIANCES = ("full", "diagonal", "ledoit_wolf", "oas")


def check_covariance(covariance: str | float) -> None:
    """Raise ValueError if the covariance is unknown."""
    if isinstance(covariance, str) and covariance in COVARIANCES:
        return
    if (
        not isinstance(covariance, float | int | np.floating)
        or isinstance(covariance, bool)
        or not 0 <= covariance <= 1
    ):
        raise ValueError(
            f"Expected covariance as one of {', '.join(COVARIANCES)} or a number in [0, 1] but got {covariance!r}."
        )


def check_borrow(borrow: str | int | None) -> None:
    """Raise ValueError if the source of borrowed covariance is unknown."""
    if borrow is None or borrow == "head":
        return
    if isinstance(borrow, str | bool | float) or borrow < 1:
        raise ValueError(f"Expected borrow as None, 'head' or a number of classes from 1 but got {borrow!r}.")


def estimate(statistics: Statistics, covariance: str | float, borrow: str | int | None) -> list[Pair]:
    """Return the label-0 and label-1 Gaussian of every class; None for a label without samples.

    Args:
        statistics: statistics of all rows.
        covariance: see `GaussianResampler`.
        borrow: see `GaussianResampler`.
    """
    statistics = statistics.settled()
    columns = [
        [estimate_one(pair[label], covariance) if pair[label].count else None for pair in statistics.groups]
        for label in (0, 1)
    ]
    if borrow is not None:
        columns = [_lend(column, borrow) for column in columns]
    return list(zip(*columns, strict=True))


def estimate_one(group: Group, covariance: str | float) -> Gaussian:
    """Estimate mean and covariance of one group (LDRNet, MM 2024, eqs. 9-10); a single row is a point mass."""
    if group.sums is None:
        return _from_rows(group.all_rows().double(), covariance)
    count, mean = group.sums.count, group.sums.mean
    if count == 1:
        return Gaussian(1, mean)
    centred = group.sums.about(mean)
    if covariance == "diagonal":
        return Gaussian(count, mean, diagonal=centred.scatter.clamp(min=0) / (count - 1))
    trace, norm = float(centred.scatter.trace()) / count, float(centred.scatter.norm()) / count
    shrinkage = _shrinkage(covariance, count, len(mean), trace, norm**2, float(centred.fourth))
    scale = (1 - shrinkage) / _divisor(covariance, count)
    dense = centred.scatter.mul_(scale)
    dense.diagonal().add_(shrinkage * trace * count / _divisor(covariance, count) / len(mean))
    return Gaussian(count, mean, dense=dense, shrinkage=shrinkage)


def _from_rows(rows: Tensor, covariance: str | float) -> Gaussian:
    """Estimate the Gaussian of no more rows than dimensions: the centred rows are a factor of the covariance."""
    count, width = rows.shape
    mean = rows.mean(dim=0)
    if count == 1:
        return Gaussian(1, mean)
    centred = rows - mean
    if covariance == "full":
        return Gaussian(count, mean, rows=centred / (count - 1) ** 0.5)
    gram = centred @ centred.T
    trace, norm = float(gram.trace()) / count, float(gram.norm()) / count
    shrinkage = _shrinkage(covariance, count, width, trace, norm**2, float(gram.diagonal().square().sum()))
    divisor = _divisor(covariance, count)
    ridge = shrinkage * trace * count / divisor / width
    return Gaussian(
        count,
        mean,
        rows=centred * ((1 - shrinkage) / divisor) ** 0.5,
        diagonal=torch.full_like(mean, ridge),
        shrinkage=shrinkage,
    )


def _shrinkage(covariance: str | float, count: int, width: int, trace: float, square: float, fourth: float) -> float:
    if covariance == "full":
        return 0.0
    if covariance == "ledoit_wolf":
        return ledoit_wolf(count, width, trace, square, fourth)
    if covariance == "oas":
        return oas(count, width, trace, square)
    return float(covariance)


def _divisor(covariance: str | float, count: int) -> int:
    """Return the divisor of the scatter: n for Ledoit-Wolf and OAS, derived for it; n − 1 as in eq. 10 otherwise."""
    return count if covariance in ("ledoit_wolf", "oas") else count - 1


def _lend(column: Sequence[Gaussian | None], borrow: str | int) -> list[Gaussian | None]:
    """Mix the covariance of other classes into the Gaussians of one label that have few samples."""
    existing = [g for g in column if g is not None]
    by_size = sorted(existing, key=lambda g: -g.count)
    head = by_size[: -(-len(column) // 3)]
    result: list[Gaussian | None] = []
    for gaussian in column:
        if gaussian is None or gaussian.count > len(gaussian.mean):
            result.append(gaussian)
            continue
        larger = [g for g in by_size if g.count > gaussian.count]
        nearest = sorted(larger, key=lambda g: float((g.mean - gaussian.mean).norm()))
        donors = [g for g in head if g is not gaussian] if borrow == "head" else nearest[: int(borrow)]
        in_head = borrow == "head" and any(g is gaussian for g in head)
        result.append(gaussian if in_head else _mixed(gaussian, [g for g in donors if g.count > 1]))
    return result


def _mixed(gaussian: Gaussian, donors: Sequence[Gaussian]) -> Gaussian:
    """Return a Gaussian with ``(n − 1)/(n − 1 + D)`` of its own covariance and the rest pooled from donors.

    That is the posterior mean under an inverse Wishart prior around the pooled covariance, worth D samples.
    """
    if not donors:
        return gaussian
    own, width = gaussian.count - 1, len(gaussian.mean)
    freedom = np.array([donor.count - 1 for donor in donors])
    shares = [own / (own + width), *(width / (own + width) * freedom / freedom.sum())]
    parts = [(share, g) for share, g in zip(shares, [gaussian, *donors], strict=True) if share > 0]
    if sum(width if g.is_dense else 0 if g.rows is None else len(g.rows) for _, g in parts) > width:
        dense = torch.zeros_like(gaussian.mean).diag()
        for share, g in parts:
            dense += share * g.covariance()
        return replace(gaussian, dense=dense, rows=None, diagonal=None)
    rows = [share**0.5 * g.rows for share, g in parts if g.rows is not None]
    variances = [share * g.diagonal for share, g in parts if g.diagonal is not None]
    return replace(
        gaussian,
        rows=torch.cat(rows) if rows else None,
        diagonal=torch.stack(variances).sum(dim=0) if variances else None,
    )
