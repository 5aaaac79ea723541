"""Score saved predictions, those of a run or of any origin."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ltml.checksums import (
    AGAIN,
    check_file,
    check_if_recorded,
    write_recorded,
)
from ltml.class_counts import TrainCounts
from ltml.csv_table import read_csv_table
from ltml.data.dataset import Dataset
from ltml.errors import InputError
from ltml.metrics.groups import describe_rule, make_groups
from ltml.metrics.patient_inputs import NO_PATIENTS
from ltml.metrics.predictions import Predictions
from ltml.metrics.ranking import auroc
from ltml.metrics.table import MetricTable, SavedChanges, SavedMetrics, changes, score
from ltml.recipe.schema import MetricsSection, Recipe
from ltml.stages.run_directory import WRITTEN_AGAIN, RunDirectory, read_run, read_train_counts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """Folder and scores of a run, as `ltml.run`, `ltml.stage1` and `ltml.stage2` return them.

    Attributes:
        run_dir: folder of the run.
        stage1: content of the ``metrics.json`` of split ``test`` after stage 1; None if that split was not scored.
        stage2: the same after stage 2; None if the run has no finished stage 2.
        splits: ``{split: {"stage1": …, "stage2": …}}`` for every scored split.
    """

    run_dir: Path
    stage1: dict[str, Any] | None
    stage2: dict[str, Any] | None
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return ``{"run_dir", "stage1", "stage2"}``, ready for `json.dumps`."""
        return {"run_dir": str(self.run_dir), "stage1": self.stage1, "stage2": self.stage2}


def scored_splits(dataset: Dataset) -> list[str]:
    """Return every split but train."""
    return [split for split in dataset.splits if split != "train"]


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a predictions CSV; numbers read back to the same bits."""
    frame = predictions.to_frame()
    write_recorded(path, lambda temporary: frame.to_csv(temporary, index=False))


def score_predictions(
    predictions: Predictions,
    settings: MetricsSection,
    counts: TrainCounts | None,
    thresholds: Sequence[float] | None = None,
) -> MetricTable:
    """Score predictions with a recipe's ``metrics``.

    Args:
        predictions: the predictions.
        settings: threshold and groups.
        counts: training labels of every class, which groups and the list of classes not learned need; None without.
        thresholds: one per class, in place of the recipe's threshold.
    """
    names = predictions.label_names
    groups, rule = None, settings.groups.model_dump()
    if counts is not None:
        groups = make_groups(names, [counts.positives[name] for name in names], rule)
    return score(
        predictions.probs,
        predictions.targets,
        label_names=names,
        threshold=settings.threshold if thresholds is None else thresholds,
        groups=groups,
        train_positives=None if counts is None else counts.positives,
        train_known=None if counts is None else counts.known,
        groups_by="" if counts is None else describe_rule(rule),
    )


def train_counts(dataset: Dataset) -> TrainCounts:
    """Return the known training labels of every class of a dataset."""
    numbers = (dataset.class_counts().tolist(), dataset.known_counts().tolist())
    return TrainCounts(*(dict(zip(dataset.label_names, column, strict=True)) for column in numbers))


def score_learned(predictions: Predictions, counts: TrainCounts, measure: str) -> float:
    """Return the macro mean over the learned classes, by which epochs and rounds are chosen on val."""
    names, (positives, known) = predictions.label_names, counts
    table = score(
        predictions.probs, predictions.targets, label_names=names, train_positives=positives, train_known=known
    )
    return table.macro[measure]


def score_run(recipe: Recipe, dataset: Dataset, run: RunDirectory, *, stage: int) -> None:
    """Write the metrics of every scored split after a stage, from its saved predictions."""
    counts = train_counts(dataset)
    for split in scored_splits(dataset):
        table = score_predictions(read_predictions(run, stage, split), recipe.metrics, counts)
        SavedMetrics.make(table.to_json(split)).write(run.metrics(stage, split))


def collect(run: RunDirectory) -> RunResult:
    """Read the saved metrics of a run.

    Raises:
        InputError: a file is damaged.
    """
    splits: dict[str, dict[str, Any]] = {}
    for stage in (1, 2):
        for path in sorted((run.path / f"stage{stage}").glob("metrics*.json")):
            content = read_metrics(path)
            splits.setdefault(content["split"], {})[f"stage{stage}"] = content
    test = splits.get("test", {})
    return RunResult(run.path, test.get("stage1"), test.get("stage2"), splits)


def save_changes(run: RunDirectory, result: RunResult) -> None:
    """Write ``changes.json``: the change from stage 1 to stage 2 on every scored split."""
    both = {split: stages for split, stages in result.splits.items() if len(stages) == 2}
    content = {split: changes(both[split]["stage1"], both[split]["stage2"]) for split in sorted(both)}
    SavedChanges.make(content).write(run.path / "changes.json")


def evaluate(
    target: str | Path, *, ci: bool = False, resamples: int = 1000, seed: int = 0
) -> RunResult | dict[str, Any]:
    """Score the saved predictions of a run, or a predictions CSV of any origin.

    Args:
        target: folder of a run, or a CSV with ``id``, optional ``group``, ``prob:<label>`` and ``target:<label>``.
        ci: whether to add 95 % intervals of AUROC and AP, by resampling the groups (patients).
        resamples: number of resamples.
        seed: seed of the resamples; the same for both stages of a run.

    Returns:
        Metrics of the run, or the content of a ``metrics.json`` whose split is the file's name (without groups, which
        need training counts); with intervals each has ``ci``, see `find_intervals`.

    Raises:
        InputError: the target is neither a run nor a predictions file, or all rows belong to one group.
    """

    def content(predictions: Predictions, table: MetricTable, split: str) -> dict[str, Any]:
        intervals = {"ci": find_intervals(predictions, resamples, seed, apart=table.not_learned)} if ci else {}
        return table.to_json(split) | intervals

    def warn(predictions: Predictions) -> None:
        if ci and not predictions.knows_patients:
            log.warning(NO_PATIENTS)

    path = Path(target)
    if path.is_file():
        check_if_recorded(path)
        predictions = Predictions.read(path)
        warn(predictions)
        return content(predictions, score_predictions(predictions, MetricsSection(), None), path.stem)
    if not path.is_dir():
        raise InputError(f"{path} is neither a run's folder nor a predictions CSV")
    run, recipe = read_run(path)
    counts = read_train_counts(run)
    splits: dict[str, dict[str, Any]] = {}
    saved = saved_predictions(run)
    warn(saved[0][2])  # all predictions of a run come from the same table
    for stage, split, predictions in saved:
        table = score_predictions(predictions, recipe.metrics, counts)
        splits.setdefault(split, {})[f"stage{stage}"] = content(predictions, table, split)
    test = splits.get("test", {})
    return RunResult(run.path, test.get("stage1"), test.get("stage2"), splits)


def find_intervals(predictions: Predictions, resamples: int, seed: int, *, apart: Sequence[str] = ()) -> dict[str, Any]:
    """Return intervals of AUROC and AP by resampling groups: ``seed``, and the result of `describe_intervals`.

    The classes in `apart`, which were not learned, have intervals but are left out of those of the macro means.

    Raises:
        InputError: all rows belong to one group.
    """
    from ltml.metrics.bootstrap import bootstrap_scores, describe_intervals  # slow to import: scipy.sparse

    resampled = bootstrap_scores(
        predictions.probs, predictions.targets, predictions.groups, resamples=resamples, seed=seed
    )
    intervals = describe_intervals(
        resampled,
        predictions.targets,
        predictions.groups,
        predictions.label_names,
        probs=predictions.probs,
        apart=apart,
    )

    return {"seed": seed} | intervals


def evaluate_novel(run_dir: str | Path, label: str) -> dict[str, Any]:
    """Score how well a run detects a class held out of training, for which all its probabilities should be low.

    The score of a sample is ``1 - max_c a_c`` over the classes of the run (Data-Assemble, Table 7). Samples that show
    only other held-out labels are left out.

    Args:
        run_dir: folder of a run whose recipe held the label out (``data.novel``).
        label: the label.

    Returns:
        ``label``, and by scored split and stage ``auroc`` (None if undefined), ``n_novel`` and ``n_seen``.

    Raises:
        InputError: the folder holds no run, or the run did not hold that label out.
    """
    run, recipe = read_run(Path(run_dir))
    if label not in recipe.data.novel:
        held = ", ".join(recipe.data.novel) or "none"
        raise InputError(f"the run {run.path} did not hold out '{label}' (held out: {held}); train with data.novel=[…]")
    splits: dict[str, dict[str, Any]] = {}
    for stage, split, predictions in saved_predictions(run):
        if split == "val":
            continue  # it holds no novel samples
        shows_one = np.any([values == 1 for values in predictions.novel.values()], axis=0)
        targets = np.where((predictions.novel[label] == 0) & shows_one, np.nan, predictions.novel[label])
        value = auroc(1 - predictions.probs.max(axis=1), targets)
        splits.setdefault(split, {})[f"stage{stage}"] = {
            "auroc": None if math.isnan(value) else value,
            "n_novel": int((targets == 1).sum()),
            "n_seen": int((targets == 0).sum()),
        }
    return {"label": label, "splits": splits}


def saved_predictions(run: RunDirectory) -> list[tuple[int, str, Predictions]]:
    """Read stage, split and content of every predictions file of a run.

    Raises:
        InputError: the run has none.
    """
    files = [
        (stage, file)
        for stage, folder in ((1, run.shared), (2, run.path / "stage2"))
        for file in sorted(folder.glob("predictions_*.csv"))
    ]
    if not files:
        raise InputError(f"the run {run.path} has no predictions yet; finish it with `ltml run`")
    splits = [(stage, file.stem.removeprefix("predictions_")) for stage, file in files]
    return [(stage, split, read_predictions(run, stage, split)) for stage, split in splits]


def read_predictions(run: RunDirectory, stage: int, split: str) -> Predictions:
    """Read the saved predictions of a split; they must be of exactly the samples in the run's ``split.csv``.

    Raises:
        InputError: the file is missing, has changed, or belongs to other samples.
    """
    path = run.predictions(stage, split)
    check_file(path)
    predictions = Predictions.read(path)
    expected = read_split(run, split)
    if list(predictions.ids) != expected:
        lacking, foreign = len(set(expected) - set(predictions.ids)), len(set(predictions.ids) - set(expected))
        fault = f"lacks {lacking} and has {foreign} others" if lacking or foreign else "has them in another order"
        raise InputError(
            f"{path} is not of the {len(expected)} samples of '{split}' in {run.path / 'split.csv'}: it {fault}; "
            f"{AGAIN}"
        )
    return predictions


def read_split(run: RunDirectory, split: str) -> list[str]:
    """Read the ids of what a split of a run is predicted for, in order: its rows, or the units they belong to.

    Raises:
        InputError: ``split.csv`` is missing or damaged.
    """
    table = read_split_table(run)
    rows = table[table["split"] == split]
    return list(dict.fromkeys(rows["unit" if "unit" in table else "id"]))


def read_split_table(run: RunDirectory) -> pd.DataFrame:
    """Read ``id``, ``split`` and, if the run has units, ``unit`` of every row of a run, as text.

    Raises:
        InputError: ``split.csv`` is missing or damaged.
    """
    path = run.path / "split.csv"
    check_file(path, WRITTEN_AGAIN)
    return read_csv_table(path, f"the splits of the run ({WRITTEN_AGAIN})", ("id", "split"))


def read_metrics(path: Path) -> dict[str, Any]:
    """Read a ``metrics.json``.

    Raises:
        InputError: it is missing, damaged, or something else.
    """
    return SavedMetrics.read(path, WRITTEN_AGAIN).to_json()
