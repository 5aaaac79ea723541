"""Convert the cells of a label file to codes: 1, 0, or -1 where unknown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.arrays import IntArray
from ltml.data.faults import Fault, Faults
from ltml.errors import brief, shown

UNKNOWN = -1
"""Code of an unknown label."""


def label_codes(
    table: pd.DataFrame, names: Sequence[str], values: Mapping[str, int], where: str, faults: Faults, advice: str = ""
) -> npt.NDArray[np.int8]:
    """Return codes ``(N, C)`` of label columns; wrong cells are reported by column and become unknown.

    Args:
        table: text cells; its index is the line of each row.
        names: the label columns.
        values: code by cell.
        where: name of the file in messages.
        faults: collector of faults.
        advice: how to fix a wrong cell.

    Raises:
        InputError: a cell is not allowed, unless faults are collected.
    """
    codes = np.full((len(table), len(names)), UNKNOWN, dtype=np.int8)
    found: list[Fault] = []
    allowed = ", ".join(f"'{value}'" if value else "empty" for value in values)
    for c, name in enumerate(names):
        column = table[name].map(values)
        wrong = column.isna()
        if wrong.any():
            place = f"{where}, line {table.index[wrong][0]}, column {shown(name)}"
            found.append(value_fault(place, table[name][wrong].tolist(), allowed))
        codes[:, c] = column.fillna(UNKNOWN).astype(np.int8)
    faults.report(found, advice)
    return codes


def value_fault(place: str, values: Sequence[object], allowed: str, what: str = "label value") -> Fault:
    """Return one fault for all wrong values of a label.

    Args:
        place: place of the first of them.
        values: one per wrong cell.
        allowed: what a cell may hold, in words.
        what: what a single cell holds, in words.
    """
    counts = Counter(shown(value) if isinstance(value, str) else brief(value) for value in values)
    kinds = "/".join(kind for kind, _ in counts.most_common(3))
    kinds += f" and {len(counts) - 3} other values" if len(counts) > 3 else ""
    message = f"{what} {kinds}" if len(values) == 1 else f"{len(values):,} × {kinds}"
    if any(re.fullmatch(r"'\d+,\d*'", kind) for kind in counts):
        allowed += " (a decimal comma is not read: write a point)"
    return Fault("unknown label value", place, f"{message}; allowed: {allowed}")


def report_wrong(
    targets: npt.NDArray[Any],
    wrong: npt.NDArray[np.bool_],
    names: Sequence[str],
    where: str,
    allowed: str,
    faults: Faults,
    *,
    what: str = "label value",
    first_row: int = 0,
) -> None:
    """Report the wrong targets of arrays, one fault per label.

    Args:
        targets: ``(N, C)``.
        wrong: which of them are wrong, ``(N, C)``.
        names: the ``C`` labels.
        where: name of the array in messages.
        allowed: what a target may be, in words.
        faults: collector of faults.
        what: name of a target in messages.
        first_row: number of the first row, in messages.

    Raises:
        InputError: a target is wrong, unless faults are collected.
    """
    first = {c: np.flatnonzero(wrong[:, c])[0] for c in np.flatnonzero(wrong.any(axis=0)).tolist()}
    faults.report(
        [
            value_fault(
                f"{where}, row {first[c] + first_row}, label {shown(names[c])}",
                targets[wrong[:, c], c].tolist(),
                allowed,
                what,
            )
            for c in sorted(first, key=first.__getitem__)
        ]
    )


def one_hot(classes: IntArray, count: int) -> npt.NDArray[np.int8]:
    """Return codes ``(N, C)`` of single-label data: 1 for a row's class, 0 for the others."""
    codes: npt.NDArray[np.int8] = np.eye(count, dtype=np.int8)[classes]
    return codes
