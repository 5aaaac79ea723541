"""Table of the Gaussians of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltml.report.numbers import UNDEFINED, count_cell, number_cell
from ltml.report.page import Column, Table, TableCell, text_column


def gaussians_table(described: Mapping[str, Any]) -> Table:
    """Return two lines per class, label absent and present, from the result of `ltml.describe_gaussians`."""
    borrow = "" if described["borrow"] is None else f", borrow {described['borrow']}"
    caption = (
        f"Gaussians: covariance {described['covariance']}{borrow}, prior {described['prior']}, "
        f"{described['width']} features"
    )
    lines = []
    for entry in described["labels"]:
        chance, both = entry["probability"], entry["absent"] is not None and entry["present"] is not None
        absent = [number_cell(None if chance is None else 1 - chance), *[TableCell("")] * 3]
        distance = TableCell("∞") if both and entry["distance"] is None else number_cell(entry["distance"])
        present = [number_cell(chance), distance, number_cell(entry["auc"]), number_cell(entry["auc_best"])]
        for label, cells in {"absent": absent, "present": present}.items():
            lines.append([TableCell(entry["label"]), TableCell(label), *_shape_cells(entry[label]), *cells])
    columns = [
        text_column("class"),
        text_column("label"),
        *map(Column, ("n", "rank")),
        Column("cond.", meaning="largest over smallest eigenvalue"),
        Column("shrink"),
        Column("P", meaning="probability of the label among virtual samples"),
        Column("dist.", meaning="Mahalanobis distance of the means"),
        Column("AUC", meaning="AUC of the refitted classifier between the two Gaussians"),
        Column("best", meaning="AUC of the best linear classifier"),
    ]
    return Table(caption, columns, lines)


def _shape_cells(group: Mapping[str, Any] | None) -> list[TableCell]:
    """Return size, rank, condition number and shrinkage of a Gaussian."""
    if group is None:
        return [count_cell(0), *[TableCell(UNDEFINED)] * 3]
    condition = "∞" if group["condition"] is None else f"{group['condition']:.0e}"
    counts = [count_cell(group["n"]), count_cell(group["rank"])]
    return [*counts, TableCell(condition, group["condition"]), number_cell(group["shrinkage"])]
