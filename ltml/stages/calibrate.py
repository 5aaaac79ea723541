"""Fit temperature and thresholds of a finished run on validation alone, and score the test splits with them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from ltml.class_counts import TrainCounts
from ltml.errors import InputError, first_few
from ltml.files import lock_folder
from ltml.metrics.calibration import (
    TEMPERATURES,
    adaptive_ece,
    apply_temperature,
    best_f1_threshold,
    brier,
    fit_temperature,
)
from ltml.metrics.predictions import Predictions
from ltml.metrics.table import SavedMetrics
from ltml.recipe.schema import Recipe
from ltml.saved import Saved
from ltml.stages.evaluate import saved_predictions, score_predictions
from ltml.stages.run_directory import RunDirectory, read_run, read_train_counts

log = logging.getLogger(__name__)

CALIBRATION = {"brier": brier, "adaptive_ece": adaptive_ece}
"""Measures of single classes in addition to those of `ltml.score`; lower is better."""
KEPT = 0.5
"""Threshold of a class without both labels in val."""


class FittedLabel(BaseModel):
    """Temperature and threshold of one class, with its counts in val."""

    label: str
    n_pos: int
    n_known: int
    temperature: float
    threshold: float


class SavedCalibration(Saved):
    """Content of ``calibration.json``."""

    format: int = 1
    stage: int
    per_class: bool
    temperature: float
    labels: list[FittedLabel]
    kept: list[str]


def calibrate(run_dir: str | Path, stage: int | None = None, *, per_class: bool = False) -> dict[str, Any]:
    """Fit a temperature and a threshold per class to a run's predictions of val, and score its test splits with them.

    The temperature minimises BCE over known entries, see `fit_temperature`; the thresholds, on probabilities with that
    temperature, maximise each class's F1, see `best_f1_threshold`. Both are fitted on val alone. The ranking within a
    class does not change, and so neither do AUC and AP.

    Writes ``calibration.json`` and, for each split but val, ``calibrated.json`` (``calibrated_<split>.json``) beside
    the ``metrics.json`` of the stage, which does not change.

    Args:
        run_dir: folder of the run.
        stage: stage of the predictions, 1 or 2; None for the run's last.
        per_class: whether each class with both labels in val has its own temperature; the others use the run's.

    Returns:
        ``run_dir``, ``format``, ``stage``, ``per_class``, ``temperature``, ``labels``, ``kept`` and ``splits``: the
        temperature of the run;
        per class ``label``, ``n_pos`` and ``n_known`` in val, ``temperature`` and ``threshold``; the labels without
        both outcomes in val, which keep 0.5; and by split ``before`` and ``after``, two contents of a ``metrics.json``
        with ``brier`` and ``adaptive_ece``.

    Raises:
        InputError: the folder holds no run, or the run has no predictions of val after that stage.
    """
    run, recipe = read_run(Path(run_dir))
    stage, predictions = _predictions_of(run, stage)
    fitted = fit_calibration(predictions["val"], per_class=per_class)
    calibration = SavedCalibration.make({"stage": stage, "per_class": per_class} | fitted)
    splits = _before_and_after(run, recipe, predictions, fitted["labels"])
    with lock_folder(run.path):
        calibration.write(run.calibration(stage))
        for split, scores in splits.items():
            SavedMetrics.make(scores["after"]).write(run.calibrated(stage, split))
    return {"run_dir": str(run.path)} | calibration.to_json() | {"splits": splits}


def read_calibration(run: RunDirectory, recipe: Recipe, stage: int) -> dict[str, Any] | None:
    """Read the calibration that `calibrate` saved after a stage, and score the splits without and with it.

    Returns:
        ``stage``, ``per_class``, ``temperature``, ``labels``, ``kept`` and ``splits`` as from `calibrate`, without
        splits whose predictions are missing; None if the stage was not calibrated.

    Raises:
        InputError: ``calibration.json`` is damaged, or its labels are not those of the predictions.
    """
    path = run.calibration(stage)
    if not path.is_file():
        return None
    remedy = f"run `ltml calibrate {run.path}` again"
    calibration = SavedCalibration.read(path, remedy).to_json()
    by_split = {split: predictions for number, split, predictions in saved_predictions(run) if number == stage}
    names = tuple(entry["label"] for entry in calibration["labels"])
    if any(predictions.label_names != names for predictions in by_split.values()):
        raise InputError(f"the labels in {path} are not those of the predictions; {remedy}")
    return calibration | {"splits": _before_and_after(run, recipe, by_split, calibration["labels"])}


def fit_calibration(predictions: Predictions, *, per_class: bool) -> dict[str, Any]:
    """Return temperature and thresholds fitted to predictions.

    Returns:
        ``temperature``, ``labels`` and ``kept`` as from `calibrate`.
    """
    present, known = predictions.targets == 1, ~np.isnan(predictions.targets)
    both = present.any(axis=0) & (known & ~present).any(axis=0)
    shared = fit_temperature(predictions.probs, predictions.targets)
    columns = list(zip(predictions.probs.T, predictions.targets.T, both, strict=True))
    own = [fit_temperature(*column) if per_class and fits else shared for *column, fits in columns]
    probs = apply_temperature(predictions.probs, own)
    names = predictions.label_names
    limits = [best_f1_threshold(p, y) for p, y in zip(probs.T, predictions.targets.T, strict=True)]
    _warn_of_limits({"the run": shared} | (dict(zip(names, own, strict=True)) if per_class else {}))
    return {
        "temperature": shared,
        "labels": [
            {
                "label": name,
                "n_pos": int(present[:, c].sum()),
                "n_known": int(known[:, c].sum()),
                "temperature": own[c],
                "threshold": limits[c] if both[c] else KEPT,
            }
            for c, name in enumerate(names)
        ],
        "kept": [name for name, fits in zip(names, both, strict=True) if not fits],
    }


def _predictions_of(run: RunDirectory, stage: int | None) -> tuple[int, dict[str, Predictions]]:
    """Return a stage, by default the last, and the predictions after it by split."""
    if stage not in (None, 1, 2):
        raise InputError(f"stage = {stage!r}: a run has the stages 1 and 2")
    saved = saved_predictions(run)
    chosen = stage or max(number for number, *_ in saved)
    by_split = {split: predictions for number, split, predictions in saved if number == chosen}
    if "val" not in by_split:
        raise InputError(f"{run.path} has no predictions of val after stage {chosen}; finish it with `ltml run`")
    return chosen, by_split


def _before_and_after(
    run: RunDirectory, recipe: Recipe, by_split: Mapping[str, Predictions], labels: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Score every split but val before and after calibration."""
    thresholds = [entry["threshold"] for entry in labels]
    score = partial(_scores, recipe=recipe, counts=read_train_counts(run))
    return {
        split: {
            "before": score(split, predictions),
            "after": score(split, scale(predictions, labels), thresholds),
        }
        for split, predictions in by_split.items()
        if split != "val"
    }


def scale(predictions: Predictions, labels: Sequence[Mapping[str, Any]]) -> Predictions:
    """Apply the temperature of every class, from `calibrate`'s ``labels``, to predictions."""
    return replace(predictions, probs=apply_temperature(predictions.probs, [entry["temperature"] for entry in labels]))


def _scores(
    split: str,
    predictions: Predictions,
    thresholds: Sequence[float] | None = None,
    *,
    recipe: Recipe,
    counts: TrainCounts,
) -> dict[str, Any]:
    """Return the content of a ``metrics.json``, with the measures of calibration added."""
    content = score_predictions(predictions, recipe.metrics, counts, thresholds).to_json(split)
    for name, measure in CALIBRATION.items():
        values = np.array([measure(p, y) for p, y in zip(predictions.probs.T, predictions.targets.T, strict=True)])
        learned = np.array([label not in content["not_learned"] for label in predictions.label_names])
        defined = values[learned & ~np.isnan(values)]
        content["macro"][name] = float(defined.mean()) if len(defined) else None
        content["n_classes"][name] = len(defined)
        content["per_class"] = [
            row | {name: None if math.isnan(value) else value}
            for row, value in zip(content["per_class"], values.tolist(), strict=True)
        ]
    return content


def _warn_of_limits(temperatures: Mapping[str, float]) -> None:
    """Warn of temperatures at an end of the search interval."""
    for limit in TEMPERATURES:
        if at := [name for name, value in temperatures.items() if value == limit]:
            log.warning(
                "the temperature of %s is at its limit %g: the optimum on val lies beyond it", first_few(at), limit
            )
