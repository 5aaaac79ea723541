"""What a run has saved, as far as a report needs it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ltml.errors import InputError
from ltml.metrics.bootstrap import MIN_KNOWN, bootstrap_scores, describe_intervals, interval_or_none, number_groups
from ltml.recipe.schema import Recipe
from ltml.report.run.figures import STAGE_NAMES
from ltml.stages.calibrate import read_calibration
from ltml.stages.evaluate import collect, read_predictions
from ltml.stages.run_directory import RunDirectory, read_run, read_train_counts
from ltml.types import Predictions

Metrics = Mapping[str, Any]
RESAMPLES = 1000
"""Of the patients, for intervals."""


class Change(NamedTuple):
    """What stage 2 changed of a mean over classes.

    Attributes:
        old: after stage 1.
        new: after stage 2.
        interval: 95 % of the change over patients; None where it cannot be resampled.
    """

    old: float
    new: float
    interval: list[float] | None

    @property
    def is_found(self) -> bool:
        """Whether the interval leaves out no change at all."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


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
        """Every label, the most frequent in training first, those that were not learned last."""
        names = [row["label"] for row in next(iter(self.stages.values()))["per_class"]]
        return sorted(names, key=lambda name: (name in self.not_learned, -self.positives.get(name, 0)))

    @property
    def not_learned(self) -> list[str]:
        """Labels without a positive or a negative in train, outside all means."""
        return list(self.last.get("not_learned", []))

    @property
    def rare(self) -> dict[str, int]:
        """Learned labels with fewer known positives or negatives than a headline needs, and how many."""
        counts = {row["label"]: min(row["n_pos"], row["n_known"] - row["n_pos"]) for row in self.last["per_class"]}
        return {name: n for name, n in counts.items() if n < MIN_KNOWN and name not in self.not_learned}

    def supported(self, labels: Sequence[str]) -> list[str]:
        """Those of some labels that were learned and have samples enough for a headline."""
        return [name for name in labels if name not in self.not_learned and name not in self.rare]

    def mean(self, measure: str, labels: Sequence[str], stage: str) -> float:
        """Mean of a measure over some supported labels after a stage."""
        values = {row["label"]: row[measure] for row in self.stages[stage]["per_class"]}
        return statistics.fmean(values[name] for name in labels)

    def change(self, measure: str, labels: Sequence[str]) -> Change:
        """What stage 2 changed of the mean of AUC or AP over some supported labels."""
        interval = None
        if len(self.resampled) == 2:
            places = [self.answers["stage1"].label_names.index(name) for name in labels]
            before, after = (self.resampled[stage][measure][:, places] for stage in STAGE_NAMES)
            interval = interval_or_none((after - before).mean(axis=1))
        old, new = (self.mean(measure, labels, stage) for stage in STAGE_NAMES)
        return Change(old, new, interval)

    @cached_property
    def resampled(self) -> dict[str, dict[str, Any]]:
        """AUC and AP of every class on resamples of the patients by stage; empty with one patient alone."""
        return {
            stage: bootstrap_scores(answers.probs, answers.targets, answers.groups, resamples=RESAMPLES, seed=0)
            for stage, answers in self.answers.items()
            if number_groups(answers.groups)[1] > 1
        }

    @cached_property
    def answers(self) -> dict[str, Predictions]:
        """Predictions of the split by stage, as far as they are there."""
        paths = {stage: self.directory.predictions(int(stage[-1]), self.split) for stage in self.stages}
        return {
            stage: read_predictions(self.directory, int(stage[-1]), self.split)
            for stage, path in paths.items()
            if path.is_file()
        }

    @cached_property
    def calibrations(self) -> dict[str, Mapping[str, Any]]:
        """What was fitted to the predictions by stage, as far as it has been and they are there."""
        found = {stage: read_calibration(self.directory, self.recipe, int(stage[-1])) for stage in self.answers}
        return {stage: fitted for stage, fitted in found.items() if fitted is not None}

    @cached_property
    def intervals(self) -> Mapping[str, Any] | None:
        """Of AUC and AP after the last stage, over patients; None without predictions or with one patient alone."""
        last = list(self.stages)[-1]
        if last not in self.resampled:
            return None
        answers = self.answers[last]
        return describe_intervals(
            self.resampled[last],
            answers.targets,
            answers.groups,
            answers.label_names,
            probs=answers.probs,
            apart=self.not_learned,
        )

    @property
    def no_stage2(self) -> str:
        """Why there is no stage 2, for a sentence."""
        return "stage 2 is not finished" if self.recipe.stage2.enabled else "the method has no stage 2"


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
