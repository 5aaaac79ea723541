"""CSV files read as text, strictly: nothing is guessed, shifted or cut off."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.errors import InputError, first_few

TEXT: Any = {"encoding": "utf-8-sig", "newline": ""}
CHUNK = 1 << 14
"""Rows at a time: as Python lists they take several times the memory of their columns."""
SHARED = 1 << 12
"""Distinct texts of a column that are looked for again; a column of ids or paths has more, and few of them repeat."""

NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?( ?± ?[\d.]+)?")


def without_formula(text: str) -> str:
    """Return a name as one line of a cell for people, with an apostrophe before what a spreadsheet would compute."""
    line = re.sub(r"[\t\r\n]+", " ", text).strip(" ") if re.search(r"[\t\r\n]", text) else text
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) and not NUMBER.fullmatch(line) else line


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
        table = _read_columns(path, allow_unnamed=bool(columns))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise InputError(f"cannot read {what} {path}: {error}. It must be a comma-separated UTF-8 file.") from error
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


def _read_columns(path: Path, *, allow_unnamed: bool) -> pd.DataFrame:
    """Read column by column; equal texts of a column are one object, for of millions of cells few differ."""
    with gzip.open(path, "rt", **TEXT) if path.suffix == ".gz" else path.open(**TEXT) as file:
        reader = csv.reader(file, strict=True)
        rows = ((reader.line_num, [cell.strip() for cell in row]) for row in reader if row)
        header = next(rows, (0, list[str]()))[1]
        _check_header(header, path, allow_unnamed=allow_unnamed)
        texts: list[dict[str, str]] = [{} for _ in header]
        lines, parts = [], [list[npt.NDArray[np.object_]]() for _ in header]
        for chunk in _chunks(rows):
            for line, row in chunk:
                if len(row) != len(header):
                    raise InputError(f"{path}, line {line}: {len(row)} cells under a header of {len(header)}")
            lines += [np.array([line for line, _ in chunk])]
            cells = zip(*(row for _, row in chunk), strict=True)
            for column, seen, part in zip(cells, texts, parts, strict=True):
                part.append(_share(column, seen))
    if not lines:
        raise InputError(f"{path} has {'a header but no rows' if header else 'no content'}")
    whole: dict[int, npt.NDArray[np.object_]] = {}
    while parts:  # a column's parts go as soon as it is whole
        whole[len(whole)] = np.concatenate(parts.pop(0))
    table = pd.DataFrame(whole, index=np.concatenate(lines), dtype=object, copy=False)
    table.columns = pd.Index(header)
    return table


def _check_header(header: Sequence[str], path: Path, *, allow_unnamed: bool) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1 and name})
    if repeated:
        raise InputError(f"{path}: the column(s) {first_few(repeated)} appear more than once")
    if "" in header and not allow_unnamed:
        raise InputError(f"{path}: column {header.index('') + 1} has no name; name it or take it out")


def _chunks(rows: Iterator[tuple[int, list[str]]]) -> Iterator[list[tuple[int, list[str]]]]:
    for first in rows:
        yield list(chain([first], islice(rows, CHUNK - 1)))


def _share(cells: Sequence[str], seen: dict[str, str]) -> npt.NDArray[np.object_]:
    """Return cells ``(n,)``, each the text that `seen` has of it already; `seen` grows up to `SHARED` texts."""
    column = np.empty(len(cells), dtype=object)
    column[:] = [seen.setdefault(cell, cell) if len(seen) < SHARED else seen.get(cell, cell) for cell in cells]
    return column
