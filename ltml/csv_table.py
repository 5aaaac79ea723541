"""CSV files read as text, strictly: nothing is guessed, shifted or cut off."""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ltml.errors import InputError, first_few

TEXT: Any = {"encoding": "utf-8-sig", "newline": ""}


def read_csv_table(path: Path, what: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a comma-separated UTF-8 file, plain or ``.gz``; every cell stays text, blanks around it aside.

    Args:
        path: the file.
        what: what the file is to the user, for messages.
        columns: those that it must have.

    Returns:
        A frame of text whose index is the line each row ends on.

    Raises:
        InputError: the file cannot be read, has no rows, lacks or repeats column names, or a row's number of cells
            differs from the header's.
    """
    if not path.is_file():
        raise InputError(f"cannot read {what} {path}: there is no such file")
    try:
        rows = _read_rows(path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise InputError(f"cannot read {what} {path}: {error}. It must be a comma-separated UTF-8 file.") from error
    if len(rows) < 2:
        raise InputError(f"{path} has {'a header but no rows' if rows else 'no content'}")
    (_, header), *body = rows
    repeated = sorted({name for name in header if header.count(name) > 1 and name})
    if repeated:
        raise InputError(f"{path}: the column(s) {first_few(repeated)} appear more than once")
    if "" in header and not columns:
        raise InputError(f"{path}: column {header.index('') + 1} has no name; name it or take it out")
    for line, row in body:
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: {len(row)} cells under a header of {len(header)}")
    table = pd.DataFrame([row for _, row in body], columns=header, index=[line for line, _ in body], dtype=object)
    need_columns(table, columns, path)
    return table


def need_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Check the header.

    Raises:
        InputError: names the columns that are not there.
    """
    if absent := [name for name in columns if name not in table]:
        there = first_few(table.columns, most=12)
        raise InputError(f"{path} has no column {first_few(absent)}; its columns are {there}")


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line and cells of each row; equal texts are one object, for of millions of cells few differ."""
    with gzip.open(path, "rt", **TEXT) if path.suffix == ".gz" else path.open(**TEXT) as file:
        reader = csv.reader(file, strict=True)
        return [(reader.line_num, [sys.intern(cell.strip()) for cell in row]) for row in reader if row]
