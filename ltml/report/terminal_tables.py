"""Tables of saved metrics as text: one stage, or what changed between two. They fit a terminal of 80 columns."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

MEASURES = {
    "auroc": "AUC",
    "ap": "mAP",
    "macc": "mACC",
    "balanced_accuracy": "balanced ACC",
    "kappa": "kappa",
    "f1": "F1",
}
"""Measures in print order with the names of their macro means."""

PER_CLASS = {"auroc": "AUC", "ap": "AP", "f1": "F1"}
"""Measures shown for every class."""

Row = tuple[str, str, Mapping[str, Any]]


def score_table(metrics: Mapping[str, Any]) -> str:
    """Per class, per group and macro scores of one ``metrics.json``."""
    return _tables(f"{metrics['split']}", [metrics])


def comparison_table(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Stage 1 → stage 2 per class and group, and the macro means with their change; one stage alone as it is."""
    names = {"stage1": "stage 1", "stage2": "stage 2"}
    shown = [stages[stage] for stage in names if stage in stages]
    title = " → ".join(name for stage, name in names.items() if stage in stages)
    return _tables(f"{shown[0]['split']}: {title}", shown)


def gaussians_table(described: Mapping[str, Any]) -> str:
    """Two rows per class, label absent and present, of what `ltml.describe_gaussians` gave."""
    borrow = "" if described["borrow"] is None else f", borrow {described['borrow']}"
    title = f"covariance {described['covariance']}{borrow}, prior {described['prior']}, {described['width']} features"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True)
    table.add_column("class", min_width=8)
    for name in ("label", "n", "rank", "cond.", "shrink", "P", "dist.", "AUC", "best"):
        table.add_column(name, justify="left" if name == "label" else "right", no_wrap=True)
    for entry in described["labels"]:
        chance, both = entry["probability"], entry["absent"] is not None and entry["present"] is not None
        distance = "∞" if both and entry["distance"] is None else number(entry["distance"])
        aucs = [number(entry[name]) for name in ("auc", "auc_best")]
        rest = {"absent": ["", number(None if chance is None else 1 - chance), "", "", ""]}
        rest["present"] = [entry["label"], number(chance), distance, *aucs]
        for label, (name, *ends) in rest.items():
            table.add_row(Text(name), label, *_shape(entry[label]), *ends)
    legend = (
        "cond.: largest over smallest eigenvalue. P: of the label among virtual samples.\n"
        "dist.: Mahalanobis distance of the means. AUC: of the refitted classifier\n"
        "between the two Gaussians; best: of the best linear one."
    )
    return f"{render(table)}\n{legend}"


def _shape(group: Mapping[str, Any] | None) -> list[str]:
    if group is None:
        return ["0", "–", "–", "–"]
    condition = "∞" if group["condition"] is None else f"{group['condition']:.0e}"
    return [str(group["n"]), str(group["rank"]), condition, number(group["shrinkage"])]


def _tables(title: str, stages: list[Mapping[str, Any]]) -> str:
    apart = stages[0].get("not_learned", [])
    detail = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    detail.add_column("class", min_width=10)
    for name in ("train+", "here+", *PER_CLASS.values()):
        detail.add_column(name, justify="right", no_wrap=True)
    for kind in (_learned_rows, _group_rows, _other_rows):
        for rows in zip(*(kind(metrics) for metrics in stages), strict=True):
            name, positives, _ = rows[0]
            cells = (" → ".join(number(scores[measure]) for *_, scores in rows) for measure in PER_CLASS)
            detail.add_row(Text(name), *positives.split("|"), *cells)
        detail.add_section()
    notes = [fill(note, 80) for note in (_about_groups(stages[0]), _about_learned(apart)) if note]
    return "\n".join([render(detail), *notes, render(_macro_table(stages))])


def _about_groups(metrics: Mapping[str, Any]) -> str:
    by = metrics.get("groups_by")
    return f"{', '.join(metrics['groups'])}: {by}." if by and metrics["groups"] else ""


def _about_learned(apart: Sequence[str]) -> str:
    return f"Not learned (no positive or no negative in train), outside all means: {', '.join(apart)}." if apart else ""


def _macro_table(stages: list[Mapping[str, Any]]) -> Table:
    threshold = stages[0]["threshold"]
    limit = "a threshold per class" if isinstance(threshold, list) else f"threshold {threshold:g}"
    table = Table(title=f"mean over classes ({limit})", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("measure")
    for name in ("stage 1", "stage 2", "change, points")[: 3 if len(stages) == 2 else 0] or ("value",):
        table.add_column(name, justify="right")
    table.add_column("classes", justify="right")
    for measure, name in MEASURES.items():
        values = [metrics["macro"][measure] for metrics in stages]
        change = [points(*values)] if len(values) == 2 else []
        table.add_row(name, *map(number, values), *change, str(stages[0]["n_classes"][measure]))
    return table


def _learned_rows(metrics: Mapping[str, Any]) -> Iterator[Row]:
    return _class_rows(metrics, learned=True)


def _other_rows(metrics: Mapping[str, Any]) -> Iterator[Row]:
    return _class_rows(metrics, learned=False)


def _class_rows(metrics: Mapping[str, Any], *, learned: bool) -> Iterator[Row]:
    apart = metrics.get("not_learned", [])
    for row in (row for row in metrics["per_class"] if (row["label"] not in apart) == learned):
        train = "?" if row["train_pos"] is None else str(row["train_pos"])
        yield row["label"], f"{train}|{row['n_pos']}", row


def _group_rows(metrics: Mapping[str, Any]) -> Iterator[Row]:
    for name, group in metrics["groups"].items():
        cut = "–".join(str(count) for count in group["train_pos"] or ())
        yield f"{name} ({len(group['labels'])})", f"{cut}|", group


def number(value: float | None) -> str:
    """Three digits after the point; a dash where undefined."""
    return "–" if value is None else f"{value:.3f}"


def points(old: float | None, new: float | None) -> str:
    """Change between two scores in points, ``+1.2``; a dash where one is undefined."""
    return "–" if old is None or new is None else f"{100 * (new - old):+.1f}"


def render(table: Table) -> str:
    """A table as text of at most 80 columns."""
    file = io.StringIO()
    Console(file=file, width=80, color_system=None).print(table)
    return file.getvalue().rstrip()
