"""What `ltml.calibrate` fitted and what it changed, as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ltml.report.terminal_tables import MEASURES, render

CHANGING = {measure: MEASURES[measure] for measure in ("macc", "balanced_accuracy", "kappa", "f1")} | {
    "brier": "Brier (lower is better)",
    "adaptive_ece": "adaptive ECE (lower is better)",
}
"""Measures that temperature and thresholds can change, with the names of their macro means."""


def calibration_table(found: Mapping[str, Any]) -> str:
    """Temperature and threshold of every class, and the macro means of every test split before and after."""
    parts = [_fitted_table(found)]
    if found["kept"]:
        parts.append(fill(f"only one outcome in val, so 0.5 stays: {', '.join(found['kept'])}", width=80))
    parts += [_change_table(split, scores) for split, scores in found["splits"].items()]
    return "\n".join(parts)


def _fitted_table(found: Mapping[str, Any]) -> str:
    title = f"stage {found['stage']}, fitted on val: temperature {found['temperature']:.3f}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("class", min_width=10)
    for name in ("val+", "val known", "temperature", "threshold"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in found["labels"]:
        numbers = (f"{entry[name]:.3f}" for name in ("temperature", "threshold"))
        table.add_row(Text(entry["label"]), str(entry["n_pos"]), str(entry["n_known"]), *numbers)
    return render(table)


def _change_table(split: str, scores: Mapping[str, Any]) -> str:
    table = Table(title=Text(f"{split}: mean over classes"), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("measure")
    for name in ("before", "after", "change, points", "classes"):
        table.add_column(name, justify="right")
    before, after = scores["before"], scores["after"]
    for measure, name in CHANGING.items():
        old, new = before["macro"][measure], after["macro"][measure]
        cells = ("–", "–", "–") if old is None else (f"{old:.3f}", f"{new:.3f}", f"{100 * (new - old):+.1f}")
        table.add_row(name, *cells, str(after["n_classes"][measure]))
    return render(table)
