"""Describe the Gaussians that a run has saved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from ltml.checksums import check_file
from ltml.errors import InputError, first_line
from ltml.gaussians.describe import describe
from ltml.gaussians.resampler import GaussianResampler
from ltml.models.classifier import BIAS, WEIGHT
from ltml.stages.run_directory import RunDirectory, read_run
from ltml.training.checkpoint import load_weights


def chosen_round(run: RunDirectory) -> int | None:
    """Return the round of stage 2 that was best on val, 0 for the M step alone; None without a checkpoint."""
    if not run.checkpoint2.is_file():
        return None
    _, metadata = load_weights(run.checkpoint2, BIAS)
    return int(metadata.get("round", 0))


def describe_gaussians(run_dir: str | Path) -> dict[str, Any]:
    """Describe the two Gaussians per class that stage 2 drew from, and how well the classifier separates them.

    Args:
        run_dir: folder of the run.

    Returns:
        ``{"covariance", "borrow", "prior", "width", "labels": [{"label", …}]}`` with the entries of
        `ltml.gaussians.describe.describe`; undefined and infinite numbers are None.

    Raises:
        InputError: the folder holds no run, or a run without Gaussians.
    """
    run, recipe = read_run(Path(run_dir))
    if not run.gaussians.is_file():
        raise InputError(
            f"{run_dir} has no Gaussians: run `ltml stage2` with a stage2.method that fits them, see `ltml list "
            f"rebalancing` (here: {recipe.stage2.method}; add --fresh if stage 2 is finished)"
        )
    resampler = load_gaussians(run)
    weights, metadata = load_weights(run.checkpoint2) if run.checkpoint2.is_file() else ({}, {})
    names = metadata.get("label_names") or [str(c) for c in range(len(resampler.counts_))]
    weight = weights.get(WEIGHT)
    entries = describe(resampler, None if weight is None else weight.to(torch.float64))
    labels = [{"label": name} | _finite(entry) for name, entry in zip(names, entries, strict=True)]
    return {
        "covariance": resampler.covariance,
        "borrow": resampler.borrow,
        "prior": resampler.prior,
        "width": resampler.n_features_in_,
        "labels": labels,
    }


def load_gaussians(run: RunDirectory) -> GaussianResampler:
    """Read the Gaussians that a run has saved.

    Raises:
        InputError: they are missing or damaged.
    """
    remedy = "redo stage 2: `ltml stage2` with the same recipe and --fresh"
    check_file(run.gaussians, remedy)
    try:
        return GaussianResampler.load(run.gaussians)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the Gaussians: {first_line(error)}; {remedy}") from error


def _finite(value: Any) -> Any:
    """Return a value with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
