"""Tables of saved metrics as text: one stage, or what changed between two."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

MEASURES = {
    "auroc": "AUC",
    "ap": "AP",
    "macc": "ACC",
    "balanced_accuracy": "BACC",
    "kappa": "kappa",
    "f1": "F1",
}
"""Measures in print order with their column names."""

Row = tuple[str, str, str, Mapping[str, Any]]


def score_table(metrics: Mapping[str, Any]) -> str:
    """Per class, per group and macro scores of one ``metrics.json``."""
    table = _table(f"{metrics['split']}, threshold {metrics['threshold']:g}", MEASURES.values())
    sections: dict[str, list[Row]] = {}
    for row in _rows(metrics):
        sections.setdefault(row[0], []).append(row)
    for rows in sections.values():
        for _, name, positives, scores in rows:
            table.add_row(name, positives, *(_number(scores.get(measure)) for measure in MEASURES))
        table.add_section()
    return _render(table)


def comparison_table(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Stage 1, stage 2 and the difference, per class, per group and macro; one stage alone is shown as it is."""
    if len(stages) < 2:
        return score_table(next(iter(stages.values())))
    before, after = stages["stage1"], stages["stage2"]
    title = f"{before['split']}: stage 1 → stage 2 (difference in points of 0.01), threshold {before['threshold']:g}"
    table = _table(title, MEASURES.values())
    section = ""
    for (kind, name, positives, old), (*_, new) in zip(_rows(before), _rows(after), strict=True):
        if section and kind != section:
            table.add_section()
        section = kind
        table.add_row(name, positives, *(_change(old.get(measure), new.get(measure)) for measure in MEASURES))
    return _render(table)


def _rows(metrics: Mapping[str, Any]) -> Iterator[Row]:
    """Kind, name, training positives / scored positives, and scores of every row."""
    for row in metrics["per_class"]:
        train = "?" if row["train_pos"] is None else str(row["train_pos"])
        yield "class", row["label"], f"{train} / {row['n_pos']}", row
    for name, group in metrics["groups"].items():
        cut = "–".join(str(count) for count in group["train_pos"] or ())
        yield "group", f"{name} ({len(group['labels'])})", cut, group
    averaged = metrics["n_classes"]["auroc"]
    yield "macro", f"macro ({averaged} of {len(metrics['per_class'])})", "", metrics["macro"]


def _table(title: str, columns: Sequence[str] | Any) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    table.add_column("positives: train / here", justify="right")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _change(old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return f"{_number(old)} → {_number(new)}"
    return f"{old:.3f} → {new:.3f} ({100 * (new - old):+.1f})"


def _render(table: Table) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(table)
    output: Any = console.file
    return str(output.getvalue()).rstrip()
