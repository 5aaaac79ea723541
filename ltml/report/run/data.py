"""Saved results of a run, as far as a report needs them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ltml.errors import InputError, first_line
from ltml.files import read_json
from ltml.metrics.bootstrap import bootstrap_scores, describe_intervals, interval_or_none, number_groups
from ltml.metrics.predictions import Predictions
from ltml.recipe.schema import Recipe
from ltml.report.numbers import STAGE_NAMES
from ltml.report.run.scores import Metrics, StageScores
from ltml.stages.calibrate import read_calibration
from ltml.stages.evaluate import collect, read_predictions
from ltml.stages.run_directory import RunDirectory, read_run, read_train_counts

RESAMPLES = 1000
"""Number of bootstrap resamples of the patients for the intervals."""


class Change(NamedTuple):
    """Change of a mean over classes from stage 1 to stage 2.

    Attributes:
        old: mean after stage 1.
        new: mean after stage 2.
        interval: 95 % interval of the change over patients; None if it cannot be resampled.
    """

    old: float
    new: float
    interval: list[float] | None

    @property
    def is_found(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Run:
    """Saved results of a run.

    Attributes:
        directory: its folders.
        recipe: the resolved recipe.
        splits: ``{split: {"stage1": …, "stage2": …}}``, the scores.
        positives: known training positives by label.
    """

    directory: RunDirectory
    recipe: Recipe
    splits: Mapping[str, Mapping[str, Metrics]]
    positives: Mapping[str, int]

    @property
    def split(self) -> str:
        """The split that is described in detail."""
        return "test" if "test" in self.splits else min(self.splits)

    @cached_property
    def scores(self) -> StageScores:
        """Scores of that split."""
        return self.scores_of(self.split)

    def scores_of(self, split: str) -> StageScores:
        """Return the scores of a split."""
        return StageScores(split, self.splits[split])

    @property
    def stages(self) -> Mapping[str, Metrics]:
        """Scores of the split by stage, in order."""
        return self.scores.stages

    @property
    def labels(self) -> list[str]:
        """All labels, see `StageScores.labels`."""
        return self.scores.labels

    @property
    def tests(self) -> list[str]:
        """The test splits, the main one first; validation if there is none."""
        return sorted((s for s in self.splits if s.startswith("test")), key=lambda s: (s != self.split, s)) or [
            self.split
        ]

    def mean(self, measure: str, labels: Sequence[str], stage: str) -> float:
        """Return the mean of a measure over some supported labels after a stage."""
        values = {row["label"]: row[measure] for row in self.stages[stage]["per_class"]}
        return statistics.fmean(values[name] for name in labels)

    def change(self, measure: str, labels: Sequence[str]) -> Change:
        """Return the change by stage 2 of the mean of AUC or AP over some supported labels."""
        interval = None
        if len(self.resampled) == 2:
            columns = [self.predictions["stage1"].label_names.index(name) for name in labels]
            before, after = (self.resampled[stage][measure][:, columns] for stage in STAGE_NAMES)
            interval = interval_or_none((after - before).mean(axis=1))
        old, new = (self.mean(measure, labels, stage) for stage in STAGE_NAMES)
        return Change(old, new, interval)

    def better_stages(self, split: str) -> dict[str, str]:
        """Return the better stage by measure, where a change was found and every class in the mean is supported."""
        labels = self.scores.supported(self.labels)
        if split != self.split or len(self.stages) < 2 or self.scores.rare or not labels:
            return {}
        changes = {measure: self.change(measure, labels) for measure in ("auroc", "ap")}
        return {
            measure: "stage2" if change.new > change.old else "stage1"
            for measure, change in changes.items()
            if change.is_found
        }

    @cached_property
    def resampled(self) -> dict[str, dict[str, Any]]:
        """AUC and AP of every class on resamples of the patients by stage; empty with a single patient."""
        return {
            stage: bootstrap_scores(saved.probs, saved.targets, saved.groups, resamples=RESAMPLES, seed=0)
            for stage, saved in self.predictions.items()
            if number_groups(saved.groups)[1] > 1
        }

    @cached_property
    def predictions(self) -> dict[str, Predictions]:
        """Predictions of the split by stage; without stages whose file does not exist."""
        paths = {stage: self.directory.predictions(int(stage[-1]), self.split) for stage in self.stages}
        return {
            stage: read_predictions(self.directory, int(stage[-1]), self.split)
            for stage, path in paths.items()
            if path.is_file()
        }

    @cached_property
    def calibrations(self) -> dict[str, Mapping[str, Any]]:
        """Temperature and thresholds by stage; without stages that were not calibrated."""
        saved = {stage: read_calibration(self.directory, self.recipe, int(stage[-1])) for stage in self.predictions}
        return {stage: fitted for stage, fitted in saved.items() if fitted is not None}

    @cached_property
    def intervals(self) -> Mapping[str, Any] | None:
        """Intervals over patients of AUC and AP after the last stage; None without predictions or with one patient."""
        last = list(self.stages)[-1]
        if last not in self.resampled:
            return None
        saved = self.predictions[last]
        return describe_intervals(
            self.resampled[last],
            saved.targets,
            saved.groups,
            saved.label_names,
            probs=saved.probs,
            apart=self.scores.not_learned,
        )

    @property
    def no_stage2(self) -> str:
        """Reason why the run has no stage 2, as part of a sentence."""
        return "stage 2 is not finished" if self.recipe.stage2.enabled else "the method has no stage 2"


def read_run_results(folder: Path) -> Run:
    """Read everything that a report on a run needs, except for figures.

    Raises:
        InputError: not a run, or one without scores.
    """
    directory, recipe = read_run(folder)
    splits = collect(directory).splits
    if not splits:
        raise InputError(f"the run {folder} has no scores yet; finish it with `ltml run`")
    return Run(directory, recipe, splits, read_train_counts(directory).positives)


def read_log(folder: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    """Read the lines of a stage's ``log.jsonl``; empty if the file does not exist.

    Args:
        folder: folder of the stage.
        keys: required keys of each line.

    Raises:
        InputError: a line is damaged.
    """
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    remedy = "remove it, and the report leaves out its contents; or repeat the stage with --fresh"
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}; {remedy}") from error
    if not lines or not all(isinstance(line, dict) and line.keys() >= set(keys) for line in lines):
        raise InputError(f"{path} is not the log of this stage; {remedy}")
    return lines


def describe_environment(folder: Path) -> str:
    """Return a folder's ``environment.json``, a line per entry.

    Raises:
        InputError: the file is missing or damaged.
    """
    remedy = "only reports use it: write {} into it, or repeat the run with --fresh"
    environment = read_json(folder / "environment.json", remedy)
    return "\n".join(f"{name}: {_in_a_line(value)}" for name, value in environment.items())


def _in_a_line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
