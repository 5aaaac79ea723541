"""Figures of a comparison: every seed, the groups, the gain per class."""

from __future__ import annotations

from collections.abc import Sequence

from ltml.report.comparison_data import Comparison, Row, judge, labels_of
from ltml.report.comparison_tables import change, spread
from ltml.report.page import Block, Figure, Panel, Prose, choose_classes, typeset
from ltml.report.svg import Points, fit_limits, row_chart, row_ends, swatch


def seeds_figure(comparison: Comparison, data: str) -> Figure:
    """A mark per seed and row; a line joins what shares split and seed."""
    rows, result = comparison.rows(data), comparison.result
    groups, entries = [], []
    for number, seed in enumerate(result["seeds"]):
        by_row = [dict(zip(row["seeds"], row["values"], strict=True)).get(seed) for row in rows]
        values = [None if value is None else 100 * value for value in by_row]
        titles = [
            f"{row['row']}, seed {seed}: {'–' if v is None else f'{v:.1f}'}"
            for row, v in zip(rows, values, strict=True)
        ]
        groups.append(Points(f"seed {seed}", values, number, titles))
        entries.append((swatch("dots", number), f"seed {seed}"))
    title = f"{comparison.measure} of every seed, in points"
    description = "; ".join(f"{row['row']}: {typeset(spread(row))}" for row in rows)
    chart = row_chart(title, description, [row["row"] for row in rows], groups, title, join="series")
    caption = "A mark per seed and row; a line joins the runs of one seed, which share split and seed."
    return Figure([Panel(chart)], caption, entries)


def groups_figure(comparison: Comparison, data: str) -> Figure:
    """The means of the groups, a mark per row with the deviation over seeds."""
    rows, names = comparison.rows(data), list(comparison.result["groups"][data])
    groups = []
    for number, row in enumerate(rows):
        own = [row["groups"].get(name, {"mean": None, "sd": None}) for name in names]
        means = [None if entry["mean"] is None else 100 * entry["mean"] for entry in own]
        spreads = [None if entry["sd"] is None else 100 * entry["sd"] for entry in own]
        titles = [f"{row['row']}, {name}: {typeset(spread(entry))}" for name, entry in zip(names, own, strict=True)]
        groups.append(Points(row["row"], means, number, titles, spread=spreads))
    title = f"Mean {comparison.measure} of head, medium and tail, in points"
    description = "; ".join(title for group in groups for title in group.titles)
    caption = "Mean over the classes of a group and over seeds; whiskers of one standard deviation over seeds."
    entries = [(swatch("dots", number), row["row"]) for number, row in enumerate(rows)]
    return Figure([Panel(row_chart(title, description, names, groups, title))], caption, entries)


def gain_figure(comparison: Comparison, data: str) -> list[Block]:
    """The gain of each row over the reference per class, or why there is none."""
    reference = comparison.result["reference"]
    labels = labels_of(comparison, data)
    shown = choose_classes(labels)
    others = [row for row in comparison.rows(data) if row["versus"] is not None]
    gains = {row["row"]: gain for row in others if (gain := _gains(row, shown))[0]}
    if not gains:
        return [Prose(f"No gains are drawn: no row shares a defined class with {reference}.", "note")]
    limits = fit_limits([0.0, *row_ends([points for _, points in gains.values()])])
    panels = []
    for name, (labels_of_row, points) in gains.items():
        title, width = f"{name} against {reference}", 640 if len(gains) == 1 else 430
        told, axis = "; ".join(points.titles), "gain in points"
        chart = row_chart(title, told, labels_of_row, [points], axis, width=width, limits=limits, zero=True)
        panels.append(Panel(chart, title))
    caption = (
        f"Gain of each row over {reference} per class, the most frequent in training at the top: mean over seeds, "
        "whiskers of one standard deviation. Filled: significant after Holm's adjustment over all rows and classes; "
        "hollow: not shown."
    )
    if len(shown) < len(labels):
        caption += f" {len(shown)} of {len(labels)} classes, evenly by frequency; the table has all."
    entries = [(swatch("dots", 0), "significant"), (swatch("hollow", 0), "not shown")]
    return [Figure(panels, caption, entries, wide=True)]


def _gains(row: Row, labels: Sequence[str]) -> tuple[list[str], Points]:
    """The classes of a row that can be compared with the reference, and by how much each is better."""
    versus_of = {label: row["per_label"][label]["versus"] for label in labels if label in row["per_label"]}
    pairs = [(label, versus) for label, versus in versus_of.items() if versus["mean"] is not None]
    points = Points(
        row["row"],
        [100 * versus["mean"] for _, versus in pairs],
        0,
        [f"{label}: {typeset(change(versus))} points, {judge(versus)}" for label, versus in pairs],
        spread=[None if versus["sd"] is None else 100 * versus["sd"] for _, versus in pairs],
        hollow=[judge(versus) not in ("better", "worse") for _, versus in pairs],
    )
    return [label for label, _ in pairs], points
