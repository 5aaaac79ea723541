"""Tables of uncertainty beyond the seeds: intervals over patients, and ranks over several data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.report.comparison.data import LEVEL, Comparison, Row, labels_of
from ltml.report.numbers import UNDEFINED, interval, interval_cells, p_cell, p_value
from ltml.report.page import Column, Table, TableCell, text_column


def patients_table(comparison: Comparison, data: str) -> Table | None:
    """Return intervals over patients and the paired bootstrap; None for a measure without them."""
    about = comparison.result["patients"].get(data)
    if about is None:
        return None
    lines = []
    for row in comparison.rows(data):
        versus = (row["versus"] or {"patients": None})["patients"]
        difference = interval_cells(None if versus is None else versus["interval"], sign="+")
        tests = [p_cell(versus, kind) for kind in ("p", "p_holm")]
        lines.append([TableCell(row["row"]), *interval_cells(row["interval"]), *difference, *tests])
    note = (
        f"{about['resamples']} resamples of {about['groups']} groups ({about['rows']} rows, seed {about['seed']}), the "
        f"same for every row, in points. Δ: from {comparison.result['reference']} on the same resamples, over the "
        "classes and seeds that both have (paired bootstrap; Holm: adjusted over the rows). The models are as trained: "
        "this is the uncertainty of the test set, not that of training."
    )
    note += interval_classes_in_words(comparison.rows(data))
    if comparison.result["measure"] == "ap":
        note += " Resampled AP lies above AP itself where positives are few, and so does its interval."
    columns = [text_column("row"), *map(Column, ("from", "to", "Δ from", "Δ to", "p", "p Holm"))]
    caption = f"{comparison.prefix(data)}95 % intervals over patients of the mean over seeds"
    return Table(caption, columns, lines, note=note, sortable=True)


def interval_classes_in_words(rows: Sequence[Row]) -> str:
    """Return a blank and the sentence on the classes that intervals over patients leave out; empty if none."""
    left_out = dict.fromkeys(
        label
        for row in rows
        for label in (row["per_label"] if row.get("interval_labels") is not None else ())
        if label not in row["interval_labels"]
    )
    if not left_out:
        return ""
    return (
        f" Intervals are over the learned classes with at least {MIN_KNOWN} known positives and negatives, so without "
        f"{first_few(left_out, most=12)}, in the resamples that define them all."
    )


def patients_by_class(comparison: Comparison, data: str) -> Table | None:
    """Return classes × rows: interval over patients and p of DeLong's test; None for a measure without them."""
    if data not in comparison.result["patients"]:
        return None
    rows = comparison.rows(data)
    lines = [
        [TableCell(comparison.title_of(data, label)), *(cell for row in rows for cell in _patient_cells(row, label))]
        for label in labels_of(comparison, data)
    ]
    names = [
        name for row in rows for name in (f"{row['row']} 95 %", *([] if row["versus"] is None else [f"{row['row']} p"]))
    ]
    note = (
        f"Intervals of the mean over seeds, in points; none under {MIN_KNOWN} known positives or negatives. p (for AUC "
        f"alone): DeLong's test against {comparison.result['reference']}, of the mean areas over the seeds that both "
        "have, adjusted over all rows and classes (Holm). It takes rows of the data as independent: if patients have "
        "several, read the intervals first."
    )
    caption = f"{comparison.prefix(data)}Every class over patients"
    return Table(caption, [text_column("class"), *map(Column, names)], lines, note=note, sortable=True)


def _patient_cells(row: Row, label: str) -> list[TableCell]:
    entry = row["per_label"].get(label, {"interval": None, "versus": None})
    ends = entry["interval"]
    cell = TableCell(UNDEFINED) if ends is None else TableCell(interval(ends), 100 * ends[0])
    if row["versus"] is None:
        return [cell]
    return [cell, p_cell((entry["versus"] or {"delong": None})["delong"], "p_holm")]


def ranks_table(ranks: Mapping[str, Any]) -> Table:
    """Return mean ranks over several data, the best first, with Nemenyi's p of every pair."""
    order = sorted(range(len(ranks["rows"])), key=lambda index: ranks["ranks"][index])
    pairs = ranks["pairs"]
    lines = [
        [TableCell(ranks["rows"][i]), TableCell(f"{ranks['ranks'][i]:.2f}", ranks["ranks"][i])]
        + ([] if pairs is None else [_pair_cell(pairs, i, j) for j in order])
        for i in order
    ]
    against = [] if pairs is None else [Column(f"p against {ranks['rows'][j]}", pages_only=True) for j in order]
    columns = [text_column("row"), Column("mean rank"), *against]
    return Table(f"Rank over {len(ranks['data'])} data, 1 is best", columns, lines, note=ranks_in_words(ranks))


def _pair_cell(pairs: Sequence[Sequence[float]], i: int, j: int) -> TableCell:
    return TableCell(UNDEFINED) if i == j else p_cell({"p": pairs[i][j]}, "p")


def ranks_in_words(ranks: Mapping[str, Any]) -> str:
    """Return the result of the test over several data as a sentence."""
    if ranks["test"] is None:
        return f"Not tested: too few data ({len(ranks['data'])})."
    if ranks["test"] == "wilcoxon":
        return f"Wilcoxon's signed-rank test over the data: p {p_value(ranks, 'p')}."
    return (
        f"Friedman's test that all are alike: p {p_value(ranks, 'p')}. Mean ranks that differ by "
        f"{ranks['critical_difference']:.2f} or more differ significantly (Nemenyi, level {LEVEL}, all pairs)."
    )
