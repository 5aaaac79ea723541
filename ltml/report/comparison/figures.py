"""Figures of a comparison: every seed, the groups, the gain per class, the weights."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from ltml.errors import InputError, first_few
from ltml.report.comparison.data import Comparison, Row, judge, labels_of, positives_of
from ltml.report.figures import Key, Points, RowChart, row_ends
from ltml.report.numbers import change, spread
from ltml.report.page import Block, Figure, Panel, Prose, choose_classes
from ltml.report.run.figures import class_norms
from ltml.report.scales import fit_limits
from ltml.stages.run_directory import last_stage, read_run


def seeds_figure(comparison: Comparison, data: str) -> Figure:
    """Describe the measure of every run, one mark per seed and row; a line joins the runs of one seed."""
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
        entries.append(Key("dots", number, f"seed {seed}"))
    title = f"{comparison.measure} of every seed, in points"
    description = "; ".join(f"{row['row']}: {spread(row)}" for row in rows)
    chart = RowChart(title, description, [row["row"] for row in rows], groups, title, join="series")
    caption = "A mark per seed and row; a line joins the runs of one seed, which share split and seed."
    return Figure("seeds", [Panel(chart)], caption, entries)


def groups_figure(comparison: Comparison, data: str) -> Figure:
    """Describe the means of the groups, one mark per row with its standard deviation over seeds."""
    rows, names = comparison.rows(data), list(comparison.result["groups"][data])
    groups = []
    for number, row in enumerate(rows):
        own = [row["groups"].get(name, {"mean": None, "sd": None}) for name in names]
        means = [None if entry["mean"] is None else 100 * entry["mean"] for entry in own]
        spreads = [None if entry["sd"] is None else 100 * entry["sd"] for entry in own]
        titles = [f"{row['row']}, {name}: {spread(entry)}" for name, entry in zip(names, own, strict=True)]
        groups.append(Points(row["row"], means, number, titles, spread=spreads))
    title = f"Mean {comparison.measure} of head, medium and tail, in points"
    description = "; ".join(title for group in groups for title in group.titles)
    by = comparison.result.get("groups_by", {}).get(data, "")
    caption = "Mean over the classes of a group and over seeds; whiskers of one standard deviation over seeds."
    caption += f" Groups: {by}." if by else ""
    entries = [Key("dots", number, row["row"]) for number, row in enumerate(rows)]
    return Figure("groups", [Panel(RowChart(title, description, names, groups, title))], caption, entries)


def gain_figure(comparison: Comparison, data: str) -> list[Block]:
    """Describe the gain of each row over the reference per class, or say why there is none."""
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
        description, axis = "; ".join(points.titles), "gain in points"
        chart = RowChart(title, description, labels_of_row, [points], axis, width=width, limits=limits, zero=True)
        panels.append(Panel(chart, title))
    caption = (
        f"Gain of each row over {reference} per class, the most frequent in training at the top: mean over seeds, "
        "whiskers of one standard deviation. Filled: significant by the paired t-test over seeds, adjusted over all "
        "rows and classes (Holm); hollow: no difference found."
    )
    if len(shown) < len(labels):
        caption += f" {len(shown)} of {len(labels)} classes, evenly by frequency; the table has all."
    entries = [Key("dots", 0, "significant"), Key("hollow", 0, "no difference found")]
    return [Figure("gain", panels, caption, entries, wide=True)]


def _gains(row: Row, labels: Sequence[str]) -> tuple[list[str], Points]:
    """Return the classes of a row that can be compared with the reference, and the gain of each."""
    versus_of = {label: row["per_label"][label]["versus"] for label in labels if label in row["per_label"]}
    pairs = [
        (label, versus) for label, versus in versus_of.items() if versus is not None and versus["mean"] is not None
    ]
    points = Points(
        row["row"],
        [100 * versus["mean"] for _, versus in pairs],
        0,
        [f"{label}: {change(versus)} points, {judge(versus)}" for label, versus in pairs],
        spread=[None if versus["sd"] is None else 100 * versus["sd"] for _, versus in pairs],
        hollow=[judge(versus) not in ("better", "worse") for _, versus in pairs],
    )
    return [label for label, _ in pairs], points


def norms_figure(comparison: Comparison, data: str) -> list[Block]:
    """Describe the length of every class's weight vector per row (LDRNet, fig. 5), or say why a row has none."""
    norms, reasons = dict[str, dict[str, float]](), dict[str, list[str]]()
    for row in comparison.rows(data):
        found = _norms(comparison, data, row["row"])
        if isinstance(found, str):
            reasons.setdefault(found, []).append(row["row"])
        else:
            norms[row["row"]] = found
    if not norms:
        return [Prose("; ".join(reasons), "missing")]
    without = [Prose(f"No line for {first_few(rows, most=12)}: {why}.", "note") for why, rows in reasons.items()]
    return [_norms_chart(comparison, data, norms), *without]


def _norms(comparison: Comparison, data: str, row: str) -> dict[str, float] | str:
    """Return the mean over seeds of a row's lengths by class after the last stage, or why there are none."""
    runs = [run for (of_data, of_row, _), run in comparison.runs.items() if (of_data, of_row) == (data, row)]
    if not runs:
        return "no run exists any longer"
    by_seed = []
    for run in runs:
        directory, recipe = read_run(run)
        checkpoint = directory.checkpoint1 if last_stage(recipe) == 1 else directory.checkpoint2
        if not checkpoint.is_file():
            return "a checkpoint no longer exists"
        try:
            found = class_norms(checkpoint)
        except InputError as error:
            return str(error)
        if found is None:
            return f"the classifier of head {recipe.head.type} has no weight vector per class of its own"
        by_seed.append(found)
    return {label: statistics.fmean(found[label] for found in by_seed) for label in by_seed[0]}


def _norms_chart(comparison: Comparison, data: str, norms: Mapping[str, Mapping[str, float]]) -> Figure:
    counts = positives_of(comparison, data)
    labels = list(dict.fromkeys(label for found in norms.values() for label in found))
    labels.sort(key=lambda label: -(counts.get(label, (None, 0))[0] or 0))
    shown, groups = choose_classes(labels), []
    for number, (row, found) in enumerate(norms.items()):
        values = [found.get(label) for label in shown]
        titles = [f"{label}, {row}: {'–' if v is None else f'{v:.3g}'}" for label, v in zip(shown, values, strict=True)]
        groups.append(Points(row, values, number, titles))
    title = "Length of every class's weight vector in the last stage's classifier"
    spans = "; ".join(f"{row}: {min(found.values()):.3g} to {max(found.values()):.3g}" for row, found in norms.items())
    chart = RowChart(title, spans, shown, groups, "‖w‖", join="series")
    caption = (
        f"{title}, mean over seeds, the most frequent class in training at the top (LDRNet, fig. 5). How even a line "
        "is can be compared between rows; how far right it lies depends on the scale of their features."
    )
    if len(shown) < len(labels):
        caption += f" {len(shown)} of {len(labels)} classes, evenly by frequency."
    legend = [Key("line", n, row) for n, row in enumerate(norms)]
    return Figure("classifier-weights", [Panel(chart)], caption, legend)
