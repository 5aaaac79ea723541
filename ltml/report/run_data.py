"""What a run has saved, as far as a report needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ltml.errors import InputError
from ltml.metrics.bootstrap import number_groups
from ltml.recipe.schema import Recipe
from ltml.report.run_figures import STAGE_NAMES
from ltml.stages.calibrate import read_calibration
from ltml.stages.evaluate import collect, find_intervals
from ltml.stages.run_directory import RunDirectory, read_run, read_train_counts
from ltml.types import Predictions

Metrics = Mapping[str, Any]
RESAMPLES = 1000
"""Of the patients, for intervals."""


@dataclass(frozen=True)
class Run:
    """What a run has saved.

    Attributes:
        directory: its folders.
        recipe: resolved.
        splits: ``{split: {"stage1": …, "stage2": …}}``, the scores.
        positives: known training positives by label.
    """

    directory: RunDirectory
    recipe: Recipe
    splits: Mapping[str, Mapping[str, Metrics]]
    positives: Mapping[str, int]

    @property
    def split(self) -> str:
        """The split that is looked at closely."""
        return "test" if "test" in self.splits else min(self.splits)

    @property
    def stages(self) -> Mapping[str, Metrics]:
        """Scores of that split by stage, in order."""
        return {stage: self.splits[self.split][stage] for stage in STAGE_NAMES if stage in self.splits[self.split]}

    @property
    def last(self) -> Metrics:
        """Scores of that split after the last stage."""
        return list(self.stages.values())[-1]

    @property
    def tests(self) -> list[str]:
        """The test splits, the main one first; validation where there is none."""
        return sorted((s for s in self.splits if s.startswith("test")), key=lambda s: (s != self.split, s)) or [
            self.split
        ]

    @cached_property
    def labels(self) -> list[str]:
        """Every label, the most frequent in training first."""
        names = [row["label"] for row in next(iter(self.stages.values()))["per_class"]]
        return sorted(names, key=lambda name: -self.positives.get(name, 0))

    @cached_property
    def answers(self) -> dict[str, Predictions]:
        """Predictions of the split by stage, as far as they are there."""
        paths = {stage: self.directory.predictions(int(stage[-1]), self.split) for stage in self.stages}
        return {stage: Predictions.read(path) for stage, path in paths.items() if path.is_file()}

    @cached_property
    def calibrations(self) -> dict[str, Mapping[str, Any]]:
        """What was fitted to the predictions by stage, as far as it has been and they are there."""
        found = {stage: read_calibration(self.directory, self.recipe, int(stage[-1])) for stage in self.answers}
        return {stage: fitted for stage, fitted in found.items() if fitted is not None}

    @cached_property
    def intervals(self) -> Mapping[str, Any] | None:
        """Of AUC and AP after the last stage, over patients; None without predictions or with one patient alone."""
        answers = self.answers.get(list(self.stages)[-1])
        if answers is None or number_groups(answers.groups)[1] < 2:
            return None
        return find_intervals(answers, RESAMPLES, seed=0)

    @property
    def no_stage2(self) -> str:
        """Why there is no stage 2, for a sentence."""
        method = self.recipe.stage2.method
        return "the method has no stage 2" if method == "none" else "stage 2 is not finished"


def read_run_results(folder: Path) -> Run:
    """Everything that a report on a run needs, figures aside.

    Raises:
        InputError: not a run, or one without scores.
    """
    directory, recipe = read_run(folder)
    splits = collect(directory).splits
    if not splits:
        raise InputError(f"the run {folder} has no scores yet; finish it with `ltml run`")
    return Run(directory, recipe, splits, read_train_counts(directory).positives)
