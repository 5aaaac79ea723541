"""Saved results of a comparison, and what follows from them: means over seeds, groups, which rows differ."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ltml.checksums import check_file
from ltml.comparison.result import REMEDY
from ltml.comparison.result import read_comparison as read_result
from ltml.errors import InputError, first_line
from ltml.metrics.measures import measure_title
from ltml.stages.evaluate import read_metrics
from ltml.stages.run_directory import RunDirectory

SCORE_COLUMNS = {"data": str, "row": str, "seed": int, "split": str, "label": str, "measure": str, "value": float}
"""Columns of ``scores.csv`` with their types; a label may be called NA."""
LEVEL = 0.05
"""Significance level of adjusted p values."""
NOT_FOUND = "no difference found"
"""Verdict of a test without a significant result."""

Row = Mapping[str, Any]
RunKey = tuple[str, str, int]
"""Data, row and seed of a run."""
Spread = dict[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """Saved results of a comparison.

    Attributes:
        folder: folder of its tables.
        result: content of ``comparison.json``.
        scores: content of ``scores.csv``.
        runs: folders of the finished runs that still exist.
        metrics: scores of the compared split by run.
    """

    folder: Path
    result: Mapping[str, Any]
    scores: pd.DataFrame
    runs: Mapping[RunKey, Path]
    metrics: Mapping[RunKey, Mapping[str, Any]]

    @property
    def measure(self) -> str:
        """Name of the compared measure in print."""
        name = str(self.result["measure"])
        return "AUC of the novel class" if name == "novel" else measure_title(name)

    @property
    def sign(self) -> int:
        """1 where higher values of the measure are better, -1 where lower ones are."""
        return 1 if self.result.get("higher_is_better", True) else -1

    @property
    def title(self) -> str:
        """Name of the comparison, or of the paper that it repeats."""
        return f"{self.oracle_mark}{self.result['paper'] or self.result['name']}"

    @property
    def subtitle(self) -> str:
        """The measure, the split, and the number of rows and seeds."""
        rows, seeds = len(self.result["rows"]), len(self.result["seeds"])
        return (
            f"{self.measure} on {self.result['split']}; {rows} rows, {seeds} seed{'' if seeds == 1 else 's'}, "
            f"against {self.result['reference']}"
        )

    @property
    def has_choice(self) -> bool:
        """Whether it is a sweep that could choose a row."""
        return self.result["chosen"] is not None and self.result["chosen"]["row"] is not None

    @property
    def is_oracle(self) -> bool:
        """Whether a sweep chose among its rows by their scores on test."""
        return self.result["chosen"] is not None and bool(self.result["chosen"]["oracle"])

    @property
    def oracle_mark(self) -> str:
        """Prefix of titles and captions of a comparison that chose on test; empty for any other."""
        return "ORACLE, chosen on test: " if self.is_oracle else ""

    @property
    def oracle_warning(self) -> str:
        """Warning above a comparison that chose on test; empty for any other."""
        if not self.is_oracle:
            return ""
        return (
            "ORACLE: this sweep chose among its rows by their scores on test. The chosen row will score lower on "
            "images that took no part in the choice, so no figure of this page is a result. Without the option "
            "'oracle' a sweep chooses on val."
        )

    @property
    def data_names(self) -> list[str]:
        """Names of the data that the rows were run on, in order."""
        return list(dict.fromkeys(row["data"] for row in self.result["rows"]))

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """Runs that failed."""
        return [cell for cell in self.result["cells"] if cell["state"] == "failed"]

    def not_learned(self, data: str) -> list[str]:
        """Return the labels that a row has not learned, which are outside all means."""
        labels: list[str] = self.result.get("not_learned", {}).get(data, [])
        return labels

    def rare(self, data: str) -> Mapping[str, int]:
        """Return the learned labels with too few known positives or negatives for a headline, with their counts."""
        counts = self.result.get("rare", {}).get(data, {})
        return {label: count for label, count in counts.items() if label not in self.not_learned(data)}

    def title_of(self, data: str, label: str) -> str:
        """Return a label as tables show it, marked if it is outside the means."""
        return f"{label} (not learned)" if label in self.not_learned(data) else label

    def prefix(self, data: str) -> str:
        """Return the start of captions: the data's name if there are several."""
        return f"{data}: " if len(self.data_names) > 1 else ""

    def rows(self, data: str) -> list[Row]:
        """Return the rows on one of the data, in saved order."""
        return [row for row in self.result["rows"] if row["data"] == data]

    def saved(self, data: str) -> list[Mapping[str, Any]]:
        """Return the scores of the runs on one of the data."""
        return [metrics for (run_data, _, _), metrics in self.metrics.items() if run_data == data]


def read_comparison(folder: Path) -> Comparison:
    """Read everything that a report on a comparison needs.

    Raises:
        InputError: ``comparison.json`` or ``scores.csv`` is missing or was not written by `ltml.compare`.
    """
    result = read_result(folder)
    check_file(folder / "scores.csv", REMEDY)
    try:
        undefined = {"value": [""]}
        scores = pd.read_csv(
            folder / "scores.csv",
            usecols=list(SCORE_COLUMNS),
            dtype=SCORE_COLUMNS,
            keep_default_na=False,
            na_values=undefined,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {folder / 'scores.csv'}: {first_line(error)}; {REMEDY}") from error
    done = [cell for cell in result["cells"] if cell["state"] == "done"]
    runs = {run_key(cell): run for cell in done if (run := _find_run(folder, cell)) is not None}
    metrics = {key: _last_metrics(run, result["split"]) for key, run in runs.items()}
    return Comparison(folder, result, scores, runs, {key: m for key, m in metrics.items() if m is not None})


def _find_run(folder: Path, cell: Mapping[str, Any]) -> Path | None:
    """Return a run's recorded folder, or the one beside a comparison that was moved together with its runs."""
    recorded = Path(cell["run"])
    beside = folder.resolve().parent.parent.joinpath(*recorded.parts[-3:])
    return next((path for path in (beside, recorded) if (path / "recipe.yaml").is_file()), None)


def _last_metrics(run: Path, split: str) -> dict[str, Any] | None:
    """Return the scores of a split after the last stage of a run; None if there are none."""
    directory = RunDirectory(run, run)
    files = [path for stage in (2, 1) if (path := directory.metrics(stage, split)).is_file()]
    return read_metrics(files[0]) if files else None


def judge(versus: Mapping[str, Any] | None) -> str:
    """Return the verdict on a difference from the reference.

    Returns:
        ``better``, ``worse``, ``no difference found``, ``not tested``, or nothing for the reference itself.
    """
    if versus is None:
        return ""
    if versus["p_holm"] is None:
        return "not tested"
    if versus["p_holm"] >= LEVEL:
        return NOT_FOUND
    return "better" if versus.get("better", versus["mean"] > 0) else "worse"


def ranked(rows: Sequence[Row], sign: int = 1) -> list[Row]:
    """Return rows by their mean, the best first, undefined ones last."""
    return sorted(rows, key=lambda row: (row["mean"] is None, -sign * (row["mean"] or 0.0)))


def leads(entry: Mapping[str, Any] | None, others: Sequence[Mapping[str, Any] | None], sign: int = 1) -> bool:
    """Return whether a row is the best: none is better in print, and a difference was found.

    The difference is the one from the reference or, for the reference, the next row's from it.

    Args:
        entry: a row's ``mean`` and ``versus`` (None for the reference).
        others: the same of all rows, this one included.
        sign: 1 if higher is better, -1 if lower is.
    """
    defined = [other for other in others if other is not None and other["mean"] is not None]
    if entry is None or entry["mean"] is None or len(defined) < 2:
        return False
    printed = [sign * _printed(other) for other in defined]
    if sign * _printed(entry) < max(printed):
        return False
    if entry["versus"] is not None:
        return judge(entry["versus"]) == "better"
    rest = [other for other in defined if other is not entry]
    following = max(sign * _printed(other) for other in rest)
    return any(judge(other["versus"]) == "worse" for other in rest if sign * _printed(other) == following)


def _printed(entry: Mapping[str, Any]) -> float:
    return round(100 * float(entry["mean"]), 1)


def is_uneven(rows: Sequence[Row]) -> bool:
    """Return whether the means of rows are over different classes or seeds, so that none of them is the best."""
    defined = [row for row in rows if row["mean"] is not None]
    classes = {
        frozenset(
            name for name, entry in row["per_label"].items() if entry["mean"] is not None and entry.get("learned", True)
        )
        for row in defined
    }
    return len(classes) > 1 or len({frozenset(row["seeds"]) for row in defined}) > 1


def over_seeds(comparison: Comparison, row: Row, measure: str) -> Spread:
    """Return mean and deviation over seeds of the mean over the learned classes that are defined in all of them."""
    table = comparison.scores
    chosen = table[
        (table["data"] == row["data"])
        & (table["row"] == row["row"])
        & (table["split"] == comparison.result["split"])
        & (table["measure"] == measure)
        & ~table["label"].isin(comparison.not_learned(row["data"]))
    ]
    by_seed = chosen.pivot(index="seed", columns="label", values="value").dropna(axis="columns")
    values = by_seed.mean(axis=1).tolist() if by_seed.shape[1] else []
    if not values:
        return {"mean": None, "sd": None}
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else None}


def labels_of(comparison: Comparison, data: str) -> list[str]:
    """Return all labels of the rows, the most frequent in training first, those that were not learned last."""
    names = list(dict.fromkeys(label for row in comparison.rows(data) for label in row["per_label"]))
    positives, not_learned = positives_of(comparison, data), comparison.not_learned(data)
    return sorted(names, key=lambda name: (name in not_learned, -(positives.get(name, (None, None))[0] or 0)))


def positives_of(comparison: Comparison, data: str) -> dict[str, tuple[int | None, int]]:
    """Return the positives in training and in the compared split by label, from the first run that has the label."""
    positives: dict[str, tuple[int | None, int]] = {}
    for metrics in comparison.saved(data):
        for entry in metrics["per_class"]:
            positives.setdefault(entry["label"], (entry["train_pos"], entry["n_pos"]))
    return positives


def run_key(cell: Mapping[str, Any]) -> RunKey:
    """Return data, row and seed of a run."""
    return cell["data"], cell["row"], cell["seed"]
