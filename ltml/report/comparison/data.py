"""What a comparison has saved, and what follows from it: means over seeds, groups, which rows differ."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ltml.checksums import Shape, check_file, read_recorded_json
from ltml.errors import InputError, first_line
from ltml.report.saved import find_run, last_metrics
from ltml.report.terminal_tables import MEASURES

COLUMNS = {"data": str, "row": str, "seed": int, "split": str, "label": str, "measure": str, "value": float}
"""Of ``scores.csv``; a label may be called NA."""
SHAPE: Shape = {
    "measure": str,
    "split": str,
    "rows": ("data", "row", "seeds", "mean", "sd", "values", "per_label", "groups", "versus"),
    "cells": ("data", "row", "seed", "run", "state"),
    "reference": str,
    "groups": dict,
    "patients": dict,
    "ranks": object,
    "warnings": list,
}
"""Of a ``comparison.json``."""
LEVEL = 0.05
"""Below it an adjusted p is called significant."""

Row = Mapping[str, Any]
Place = tuple[str, str, int]
Spread = dict[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """What a comparison has saved.

    Attributes:
        folder: of its tables.
        result: the content of ``comparison.json``.
        scores: that of ``scores.csv``.
        runs: folder by data, row and seed of the finished runs that are still there.
        metrics: scores of the compared split by data, row and seed.
    """

    folder: Path
    result: Mapping[str, Any]
    scores: pd.DataFrame
    runs: Mapping[Place, Path]
    metrics: Mapping[Place, Mapping[str, Any]]

    @property
    def measure(self) -> str:
        """The compared measure in print."""
        return "AUC of the novel class" if self.result["measure"] == "novel" else MEASURES[self.result["measure"]]

    def not_learned(self, data: str) -> list[str]:
        """Labels of one data that a row has not learned: they stand outside all means."""
        labels: list[str] = self.result.get("not_learned", {}).get(data, [])
        return labels

    def rare(self, data: str) -> Mapping[str, int]:
        """Learned labels of one data with too few known positives or negatives for a headline, and how many."""
        found = self.result.get("rare", {}).get(data, {})
        return {label: count for label, count in found.items() if label not in self.not_learned(data)}

    def title_of(self, data: str, label: str) -> str:
        """A label as tables show it, with what keeps it out of the means."""
        return f"{label} (not learned)" if label in self.not_learned(data) else label

    @property
    def places(self) -> list[str]:
        """What the rows were run on, in order."""
        return list(dict.fromkeys(row["data"] for row in self.result["rows"]))

    def rows(self, data: str) -> list[Row]:
        """The rows of one data, in the order of the table."""
        return [row for row in self.result["rows"] if row["data"] == data]

    def saved(self, data: str) -> list[Mapping[str, Any]]:
        """Scores of the runs of one data."""
        return [metrics for (of_data, _, _), metrics in self.metrics.items() if of_data == data]


def read_comparison(folder: Path) -> Comparison:
    """Everything that a report on a comparison needs.

    Raises:
        InputError: ``comparison.json`` or ``scores.csv`` is missing or was not written by `ltml.compare`.
    """
    remedy = "run the same comparison again, which writes the file; runs that are done are not redone"
    result = read_recorded_json(folder / "comparison.json", remedy, SHAPE)
    check_file(folder / "scores.csv", remedy)
    try:
        undefined = {"value": [""]}
        scores = pd.read_csv(
            folder / "scores.csv", usecols=list(COLUMNS), dtype=COLUMNS, keep_default_na=False, na_values=undefined
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {folder / 'scores.csv'}: {first_line(error)}; {remedy}") from error
    done = [cell for cell in result["cells"] if cell["state"] == "done"]
    runs = {place_of(cell): run for cell in done if (run := find_run(folder, cell)) is not None}
    found = {place: last_metrics(run, result["split"]) for place, run in runs.items()}
    return Comparison(folder, result, scores, runs, {place: m for place, m in found.items() if m is not None})


def judge(versus: Mapping[str, Any] | None) -> str:
    """``better`` or ``worse`` than the reference, ``not shown``, ``not tested``, or nothing for the reference."""
    if versus is None:
        return ""
    if versus["p_holm"] is None:
        return "not tested"
    if versus["p_holm"] >= LEVEL:
        return "not shown"
    return "better" if versus["mean"] > 0 else "worse"


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Rows by their mean, the highest first, those without one last."""
    return sorted(rows, key=lambda row: (row["mean"] is None, -(row["mean"] or 0.0)))


def leads(entry: Mapping[str, Any] | None, others: Sequence[Mapping[str, Any] | None]) -> bool:
    """Whether no other is higher as printed and that is a difference found: to the reference, or from it to the next.

    Args:
        entry: of a row, with ``mean`` and ``versus`` (None for the reference).
        others: the same of all rows, this one among them.
    """
    there = [other for other in others if other is not None and other["mean"] is not None]
    if entry is None or entry["mean"] is None or len(there) < 2:
        return False
    if _printed(entry) < max(map(_printed, there)):
        return False
    if entry["versus"] is not None:
        return judge(entry["versus"]) == "better"
    rest = [other for other in there if other is not entry]
    following = max(map(_printed, rest))
    return any(judge(other["versus"]) == "worse" for other in rest if _printed(other) == following)


def _printed(entry: Mapping[str, Any]) -> float:
    return round(100 * float(entry["mean"]), 1)


def is_uneven(rows: Sequence[Row]) -> bool:
    """Whether the means of rows are over different classes or seeds, so that none of them is the best."""
    defined = [row for row in rows if row["mean"] is not None]
    classes = {
        frozenset(
            name for name, entry in row["per_label"].items() if entry["mean"] is not None and entry.get("learned", True)
        )
        for row in defined
    }
    return len(classes) > 1 or len({frozenset(row["seeds"]) for row in defined}) > 1


def over_seeds(comparison: Comparison, row: Row, measure: str) -> Spread:
    """Mean and deviation over seeds of the mean over the learned classes that are defined in all of them."""
    table = comparison.scores
    chosen = table[
        (table["data"] == row["data"])
        & (table["row"] == row["row"])
        & (table["split"] == comparison.result["split"])
        & (table["measure"] == measure)
        & ~table["label"].isin(comparison.not_learned(row["data"]))
    ]
    by_seed = chosen.pivot(index="seed", columns="label", values="value").dropna(axis="columns")
    return _mean_sd(by_seed.mean(axis=1).tolist() if by_seed.shape[1] else [])


def _mean_sd(values: Sequence[float | None]) -> Spread:
    there = [value for value in values if value is not None]
    if not there or len(there) < len(values):
        return {"mean": None, "sd": None}
    return {"mean": statistics.fmean(there), "sd": statistics.stdev(there) if len(there) > 1 else None}


def labels_of(comparison: Comparison, data: str) -> list[str]:
    """All labels of the rows, the most frequent in training first, those that were not learned last."""
    names = list(dict.fromkeys(label for row in comparison.rows(data) for label in row["per_label"]))
    positives, apart = positives_of(comparison, data), comparison.not_learned(data)
    return sorted(names, key=lambda name: (name in apart, -(positives.get(name, (None, None))[0] or 0)))


def positives_of(comparison: Comparison, data: str) -> dict[str, tuple[int | None, int]]:
    """Training positives and positives in the compared split by label, from the first run that knows it."""
    found: dict[str, tuple[int | None, int]] = {}
    for metrics in comparison.saved(data):
        for entry in metrics["per_class"]:
            found.setdefault(entry["label"], (entry["train_pos"], entry["n_pos"]))
    return found


def place_of(cell: Mapping[str, Any]) -> Place:
    """Data, row and seed of a cell of the grid."""
    return cell["data"], cell["row"], cell["seed"]
