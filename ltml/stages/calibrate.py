"""Temperature and thresholds of a finished run, fitted on validation alone, and what they change on the test splits."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ltml.checksums import Shape, read_recorded_json, write_recorded_json
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
from ltml.recipe.schema import Recipe
from ltml.stages.evaluate import saved_predictions, score_predictions
from ltml.stages.run_directory import RunDirectory, read_run, read_train_counts
from ltml.types import Predictions

log = logging.getLogger(__name__)

CALIBRATION = {"brier": brier, "adaptive_ece": adaptive_ece}
"""Measures of single classes that are scored beside those of `ltml.score`; lower is better."""
FITTED = {"temperature", "threshold"}
"""What is fitted of every class."""
KEPT = 0.5
"""Threshold of a class for which none can be fitted."""


def calibrate(run_dir: str | Path, stage: int | None = None, *, per_class: bool = False) -> dict[str, Any]:
    """Fit a temperature and a threshold per class to a run's predictions of val, and score its test splits with them.

    The temperature minimises BCE over known entries, see `fit_temperature`; the thresholds, on probabilities with that
    temperature, maximise each class's F1, see `best_f1_threshold`. No other split takes part in either. Ranks within a
    class stay as they are, and so do AUC and AP.

    Writes ``calibration.json`` and, for each split but val, ``calibrated.json`` (``calibrated_<split>.json``) beside
    the ``metrics.json`` of the stage, which it leaves alone.

    Args:
        run_dir: the run's folder.
        stage: whose predictions, 1 or 2; None for the run's last.
        per_class: a temperature for each class that has both labels in val; the others keep the one of the run.

    Returns:
        ``{"run_dir", "stage", "per_class", "temperature", "labels", "kept", "splits"}``: the temperature of the run;
        per class ``label``, ``n_pos`` and ``n_known`` in val, ``temperature`` and ``threshold``; the labels without
        both outcomes in val, which keep 0.5; and by split ``before`` and ``after``, two contents of a ``metrics.json``
        with ``brier`` and ``adaptive_ece``.

    Raises:
        InputError: not a run, or one without predictions of val after that stage.
    """
    run, recipe = read_run(Path(run_dir))
    stage, predictions = _predictions_of(run, stage)
    fitted = fit_calibration(predictions["val"], per_class=per_class)
    found = {"stage": stage, "per_class": per_class} | fitted
    splits = _before_and_after(run, recipe, predictions, fitted["labels"])
    with lock_folder(run.path):
        write_recorded_json(run.calibration(stage), found)
        for split, scores in splits.items():
            write_recorded_json(run.calibrated(stage, split), scores["after"])
    return {"run_dir": str(run.path)} | found | {"splits": splits}


def read_calibration(run: RunDirectory, recipe: Recipe, stage: int) -> dict[str, Any] | None:
    """What `calibrate` has fitted after a stage, with the scores before and after; None where it has not.

    Returns:
        ``stage``, ``per_class``, ``temperature``, ``labels``, ``kept`` and ``splits`` as from `calibrate`; splits whose
        predictions are not there any more are left out.

    Raises:
        InputError: ``calibration.json`` is damaged, or of other labels than the predictions.
    """
    path = run.calibration(stage)
    if not path.is_file():
        return None
    remedy = f"run `ltml calibrate {run.path}` again"
    shape: Shape = {"temperature": float, "labels": {"label", "n_pos", "n_known", *FITTED}, "kept": list}
    found = read_recorded_json(path, remedy, shape)
    predictions = {split: answers for number, split, answers in saved_predictions(run) if number == stage}
    names = tuple(entry["label"] for entry in found["labels"])
    if any(answers.label_names != names for answers in predictions.values()):
        raise InputError(f"{path} is of other labels than the predictions; {remedy}")
    return found | {"splits": _before_and_after(run, recipe, predictions, found["labels"])}


def fit_calibration(answers: Predictions, *, per_class: bool) -> dict[str, Any]:
    """Temperature and thresholds of predictions.

    Returns:
        ``temperature``, ``labels`` and ``kept`` as from `calibrate`.
    """
    present, known = answers.targets == 1, ~np.isnan(answers.targets)
    both = present.any(axis=0) & (known & ~present).any(axis=0)
    shared = fit_temperature(answers.probs, answers.targets)
    columns = list(zip(answers.probs.T, answers.targets.T, both, strict=True))
    own = [fit_temperature(*column) if per_class and fits else shared for *column, fits in columns]
    probs = apply_temperature(answers.probs, own)
    names = answers.label_names
    limits = [best_f1_threshold(p, y) for p, y in zip(probs.T, answers.targets.T, strict=True)]
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
    """A stage, the last if none is given, and the predictions after it by split."""
    if stage not in (None, 1, 2):
        raise InputError(f"stage = {stage!r}: a run has the stages 1 and 2")
    saved = saved_predictions(run)
    chosen = stage or max(number for number, *_ in saved)
    predictions = {split: answers for number, split, answers in saved if number == chosen}
    if "val" not in predictions:
        raise InputError(f"{run.path} has no predictions of val after stage {chosen}; finish it with `ltml run`")
    return chosen, predictions


def _before_and_after(
    run: RunDirectory, recipe: Recipe, predictions: Mapping[str, Predictions], labels: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Scores of every split but val, before and after."""
    thresholds = [entry["threshold"] for entry in labels]
    score = partial(_scores, recipe=recipe, counts=read_train_counts(run))
    return {
        split: {
            "before": score(split, answers),
            "after": score(split, scale(answers, labels), thresholds),
        }
        for split, answers in predictions.items()
        if split != "val"
    }


def scale(answers: Predictions, labels: Sequence[Mapping[str, Any]]) -> Predictions:
    """Predictions with the temperature of every class, of `calibrate`'s ``labels``, applied."""
    return replace(answers, probs=apply_temperature(answers.probs, [entry["temperature"] for entry in labels]))


def _scores(
    split: str,
    answers: Predictions,
    thresholds: Sequence[float] | None = None,
    *,
    recipe: Recipe,
    counts: TrainCounts,
) -> dict[str, Any]:
    """The content of a ``metrics.json`` with the measures of calibration."""
    content = score_predictions(answers, recipe.metrics, counts, thresholds).to_json(split)
    for name, measure in CALIBRATION.items():
        values = np.array([measure(p, y) for p, y in zip(answers.probs.T, answers.targets.T, strict=True)])
        learned = np.array([label not in content["not_learned"] for label in answers.label_names])
        defined = values[learned & ~np.isnan(values)]
        content["macro"][name] = float(defined.mean()) if len(defined) else None
        content["n_classes"][name] = len(defined)
        content["per_class"] = [
            row | {name: None if math.isnan(value) else value}
            for row, value in zip(content["per_class"], values.tolist(), strict=True)
        ]
    return content


def _warn_of_limits(temperatures: Mapping[str, float]) -> None:
    for limit in TEMPERATURES:
        if at := [name for name, value in temperatures.items() if value == limit]:
            log.warning("the temperature of %s is at its limit %g: val asks for one beyond it", first_few(at), limit)
