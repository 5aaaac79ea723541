"""Tables of the temperature and thresholds of `ltml.calibrate`, and of the scores before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ltml.errors import first_few
from ltml.metrics.measures import measure_title
from ltml.report.numbers import count_cell, number_cell, points_cell
from ltml.report.page import Column, Table, TableCell, text_column

CHANGING = {measure: measure_title(measure) for measure in ("macc", "balanced_accuracy", "kappa", "f1")} | {
    "brier": "Brier (lower is better)",
    "adaptive_ece": "adaptive ECE (lower is better)",
}
"""Measures that temperature and thresholds can change, with the names of their macro means."""


def calibration_tables(calibration: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the temperature and thresholds, and the scores of every test split before and after."""
    yield fitted_table(calibration, [entry["label"] for entry in calibration["labels"]])
    yield from (changes_table(calibration, split) for split in calibration["splits"])


def changes_table(calibration: Mapping[str, Any], split: str) -> Table:
    """Return measures × before and after, on a split."""
    before, after = (calibration["splits"][split][key] for key in ("before", "after"))
    lines = []
    for measure, name in CHANGING.items():
        old, new = before["macro"][measure], after["macro"][measure]
        cells = [number_cell(old), number_cell(new), points_cell(old, new), count_cell(after["n_classes"][measure])]
        lines.append([TableCell(name), *cells])
    per_class, temperature = calibration["per_class"], calibration["temperature"]
    fitted = "a temperature per class" if per_class else f"temperature {temperature:.3f}"
    note = (
        f"Means over the classes that are defined. Before: threshold {before['threshold']:g}. After: {fitted} and "
        "a threshold per class, fitted on val alone. AUC and mAP stay as they are."
    )
    caption = f"Stage {calibration['stage']} before and after calibration on {split}"
    columns = [text_column("measure"), *map(Column, ("before", "after", "change, points", "classes"))]
    return Table(caption, columns, lines, note)


def fitted_table(calibration: Mapping[str, Any], labels: Sequence[str]) -> Table:
    """Return temperature and threshold of every class, in the order of `labels`."""
    entries = {entry["label"]: entry for entry in calibration["labels"]}
    lines = []
    for label in labels:
        entry = entries[label]
        counts = (count_cell(entry[key]) for key in ("n_pos", "n_known"))
        lines.append([TableCell(label), *counts, *(number_cell(entry[key]) for key in ("temperature", "threshold"))])
    note = "Thresholds are of probabilities with that temperature: where F1 on val is highest."
    if calibration["kept"]:
        note += f" Only one outcome in val, so 0.5 stays: {first_few(calibration['kept'], most=12)}."
    caption = f"Temperature and threshold of every class after stage {calibration['stage']}, fitted on val"
    columns = [text_column("class"), *map(Column, ("val +", "val known", "temperature", "threshold"))]
    return Table(caption, columns, lines, note, sortable=True)
