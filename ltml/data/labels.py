"""From the cells of a label file to codes: 1, 0, or -1 where unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.data.faults import Fault, Faults
from ltml.types import IntArray

UNKNOWN = -1
"""Code of a label that is not known."""


def label_codes(
    table: pd.DataFrame, names: Sequence[str], values: Mapping[str, int], where: str, faults: Faults, advice: str = ""
) -> npt.NDArray[np.int8]:
    """Codes ``(N, C)`` of label columns; a cell that is no allowed value is reported, and unknown.

    Args:
        table: text cells; its index is the line of each row.
        names: the label columns.
        values: code by cell.
        where: what messages call the file.
        faults: where to report.
        advice: what to do about a wrong cell.

    Raises:
        InputError: a cell is not allowed, unless faults are collected.
    """
    codes = np.full((len(table), len(names)), UNKNOWN, dtype=np.int8)
    found: list[Fault] = []
    allowed = ", ".join(f"'{value}'" if value else "empty" for value in values)
    for c, name in enumerate(names):
        column = table[name].map(values)
        wrong: list[int] = np.flatnonzero(column.isna()).tolist()
        for row in wrong:
            place = f"{where}, line {table.index[row]}, column '{name}'"
            message = f"label value '{table[name].iloc[row]}'; allowed: {allowed}"
            found.append(Fault("unknown label value", place, message))
        codes[:, c] = column.fillna(UNKNOWN).astype(np.int8)
    faults.report(found, advice)
    return codes


def one_hot(classes: IntArray, count: int) -> npt.NDArray[np.int8]:
    """Codes ``(N, C)`` of single-label data: its class 1, every other 0."""
    codes: npt.NDArray[np.int8] = np.eye(count, dtype=np.int8)[classes]
    return codes
