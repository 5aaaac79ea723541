"""Read what label files share: compressed files, uncertain or unmentioned observations, rows to leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.data.faults import Faults
from ltml.data.label_codes import UNKNOWN, label_codes
from ltml.errors import InputError

NO_FINDING = "No Finding"

Uncertain = Annotated[
    Literal["ones", "zeros", "ignore", "mixed"],
    Field(description="what -1 means: 1, 0, unknown, or mixed (1 for Edema and Atelectasis, 0 otherwise)"),
]
Blank = Annotated[Literal["zero", "unknown"], Field(description="what an observation that is not mentioned means")]
NoFinding = Annotated[bool, Field(description=f"keep the observation '{NO_FINDING}' as a label")]

MIXED_ONES = ("Edema", "Atelectasis")

DOUBTFUL = 2
"""Temporary code of -1 until the option `uncertain` is applied."""


def find_file(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder, plain or as ``.gz``.

    Raises:
        InputError: if neither exists.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder} has neither {name} nor {name}.gz; give the folder that holds the dataset's files")


def without_points(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table whose numbers in some columns lost the ``.0`` that pandas writes where a column has gaps."""
    return table.assign(**{name: table[name].str.replace(r"^(\d+)\.0$", r"\1", regex=True) for name in columns})


def observation_codes(
    table: pd.DataFrame, names: Sequence[str], uncertain: Uncertain, blank: Blank, where: str, faults: Faults
) -> npt.NDArray[np.int8]:
    """Return codes ``(N, C)`` of observations that are 1, 0, -1 (uncertain) or blank (not mentioned).

    Args:
        table: text cells; its index is the line of each row.
        names: the label columns.
        uncertain: meaning of -1.
        blank: meaning of an empty cell.
        where: name of the file in messages.
        faults: collector of faults.

    Raises:
        InputError: another value, unless faults are collected.
    """
    values = {"1.0": 1, "0.0": 0, "-1.0": DOUBTFUL, "1": 1, "0": 0, "-1": DOUBTFUL}
    values[""] = 0 if blank == "zero" else UNKNOWN
    codes = label_codes(table, names, values, where, faults)
    meaning = np.array([_meaning(uncertain, name) for name in names], dtype=np.int8)
    return np.where(codes == DOUBTFUL, meaning, codes).astype(np.int8)


def keep(
    reasons: Mapping[str, npt.NDArray[np.bool_]],
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Return which rows to keep, ``(N,)``, and how many each rule leaves out; the first matching rule counts.

    Args:
        reasons: rows that each rule leaves out, ``(N,)`` by rule.
    """
    left = np.zeros(len(next(iter(reasons.values()))), dtype=bool)
    counts = {}
    for rule, rows in reasons.items():
        counts[rule] = int((rows & ~left).sum())
        left |= rows
    return ~left, counted(counts)


def counted(rules: Mapping[str, int]) -> dict[str, int]:
    """Return the rules that left rows out."""
    return {rule: int(count) for rule, count in rules.items() if count}


def _meaning(uncertain: Uncertain, name: str) -> int:
    fixed = {"ones": 1, "zeros": 0, "ignore": UNKNOWN}
    return fixed[uncertain] if uncertain != "mixed" else int(name in MIXED_ONES)
