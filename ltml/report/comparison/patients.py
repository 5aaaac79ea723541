"""Tables of what else could have been: other patients, and ranks over several data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.report.comparison.data import Comparison, Row, labels_of
from ltml.report.comparison.tables import p_cell, prefix
from ltml.report.comparison_tables import interval, interval_classes_in_words, p_value, ranks_in_words
from ltml.report.page import Cell, Table, typeset


def patients_table(comparison: Comparison, data: str) -> Table | None:
    """Intervals over patients and the paired bootstrap; None for a measure that has none."""
    about = comparison.result["patients"].get(data)
    if about is None:
        return None
    lines = []
    for row in comparison.rows(data):
        versus = (row["versus"] or {"patients": None})["patients"]
        difference = [Cell("–")] * 2 if versus is None else _ends(versus["interval"], sign="+")
        tests = [p_cell(versus, kind) for kind in ("p", "p_holm")]
        lines.append([Cell(row["row"]), *_ends(row["interval"]), *difference, *tests])
    note = (
        f"{about['resamples']} resamples of {about['groups']} groups ({about['rows']} rows, seed {about['seed']}), the "
        f"same for every row, in points. Δ: from {comparison.result['reference']} on the same resamples, over the "
        "classes and seeds that both have (paired bootstrap; Holm: adjusted over the rows). The models are as trained: "
        "this is the uncertainty of the test set, not that of training."
    )
    note += interval_classes_in_words(comparison.rows(data))
    if comparison.result["measure"] == "ap":
        note += " Resampled AP lies above AP itself where positives are few, and so does its interval."
    columns = ["row", "from", "to", "Δ from", "Δ to", "p", "p Holm"]
    caption = f"{prefix(comparison, data)}95 % intervals over patients of the mean over seeds"
    return Table(caption, columns, lines, note=note, sortable=True)


def patients_by_class(comparison: Comparison, data: str) -> Table | None:
    """Classes × rows: interval over patients and p of DeLong's test; None for a measure that has none."""
    if data not in comparison.result["patients"]:
        return None
    rows = comparison.rows(data)
    lines = [
        [Cell(comparison.title_of(data, label)), *(cell for row in rows for cell in _patient_cells(row, label))]
        for label in labels_of(comparison, data)
    ]
    columns = [
        name for row in rows for name in (f"{row['row']} 95 %", *([] if row["versus"] is None else [f"{row['row']} p"]))
    ]
    note = (
        f"Intervals of the mean over seeds, in points; none under {MIN_KNOWN} known positives or negatives. p (for AUC "
        f"alone): DeLong's test against {comparison.result['reference']}, of the mean areas over the seeds that both "
        "have, adjusted over all rows and classes (Holm). It takes rows of the data as independent: where patients "
        "have several, read the intervals first."
    )
    caption = f"{prefix(comparison, data)}Every class over patients"
    return Table(caption, ["class", *columns], lines, note=note, sortable=True)


def _patient_cells(row: Row, label: str) -> list[Cell]:
    entry = row["per_label"].get(label, {"interval": None, "versus": None})
    ends = entry["interval"]
    cells = [Cell("–") if ends is None else Cell(interval(ends), 100 * ends[0])]
    return (
        cells if row["versus"] is None else [*cells, p_cell((entry["versus"] or {"delong": None})["delong"], "p_holm")]
    )


def _ends(ends: Sequence[float] | None, sign: str = "") -> list[Cell]:
    if ends is None:
        return [Cell("–")] * 2
    return [Cell(typeset(f"{100 * end:{sign}.1f}"), 100 * end) for end in ends]


def ranks_table(ranks: Mapping[str, Any]) -> Table:
    """Mean ranks over several data, the best first, with Nemenyi's p of every pair."""
    order = sorted(range(len(ranks["rows"])), key=lambda place: ranks["ranks"][place])
    pairs = ranks["pairs"]
    lines = [
        [Cell(ranks["rows"][i]), Cell(f"{ranks['ranks'][i]:.2f}", ranks["ranks"][i])]
        + ([] if pairs is None else [_pair_cell(pairs, i, j) for j in order])
        for i in order
    ]
    columns = ["row", "mean rank", *([] if pairs is None else [f"p against {ranks['rows'][j]}" for j in order])]
    return Table(f"Rank over {len(ranks['data'])} data, 1 is best", columns, lines, note=ranks_in_words(ranks))


def _pair_cell(pairs: Sequence[Sequence[float]], i: int, j: int) -> Cell:
    return Cell("–") if i == j else Cell(p_value({"p": pairs[i][j]}, "p"), pairs[i][j])
