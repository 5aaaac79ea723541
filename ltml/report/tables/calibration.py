"""Tables of what `ltml.calibrate` fitted to a run and what that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ltml.errors import first_few
from ltml.report.calibration_tables import CHANGING
from ltml.report.page import Cell, Table, typeset
from ltml.report.terminal_tables import number, points


def changes_table(found: Mapping[str, Any], split: str) -> Table:
    """Measures × before and after, on a split."""
    before, after = (found["splits"][split][key] for key in ("before", "after"))
    lines = []
    for measure, name in CHANGING.items():
        old, new = before["macro"][measure], after["macro"][measure]
        gap = None if old is None or new is None else 100 * (new - old)
        cells = [Cell(name), Cell(number(old), old), Cell(number(new), new), Cell(typeset(points(old, new)), gap)]
        lines.append([*cells, Cell(str(after["n_classes"][measure]), after["n_classes"][measure])])
    temperature = "a temperature per class" if found["per_class"] else f"temperature {found['temperature']:.3f}"
    note = (
        f"Means over the classes that are defined. Before: threshold {before['threshold']:g}. After: {temperature} and "
        "a threshold per class, fitted on val alone. AUC and mAP stay as they are."
    )
    caption = f"Stage {found['stage']} before and after calibration on {split}"
    return Table(caption, ["measure", "before", "after", "change, points", "classes"], lines, note=note)


def fitted_table(found: Mapping[str, Any], labels: Sequence[str]) -> Table:
    """Temperature and threshold of every class, in the order of `labels`."""
    entries = {entry["label"]: entry for entry in found["labels"]}
    lines = []
    for label in labels:
        entry = entries[label]
        counts = (Cell(str(entry[key]), entry[key]) for key in ("n_pos", "n_known"))
        fitted = (Cell(number(entry[key]), entry[key]) for key in ("temperature", "threshold"))
        lines.append([Cell(label), *counts, *fitted])
    note = "Thresholds are of probabilities with that temperature: where F1 on val is highest."
    if found["kept"]:
        note += f" Only one outcome in val, so 0.5 stays: {first_few(found['kept'], most=12)}."
    caption = f"Temperature and threshold of every class after stage {found['stage']}, fitted on val"
    columns = ["class", "val +", "val known", "temperature", "threshold"]
    return Table(caption, columns, lines, note=note, sortable=True)
