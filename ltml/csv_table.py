"""CSV files read as text, strictly: nothing is guessed, shifted or cut off."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from ltml.errors import InputError, first_few


def read_csv_table(path: Path, what: str) -> pd.DataFrame:
    """Read a comma-separated UTF-8 file; every cell stays text, blanks around it aside.

    Args:
        path: the file.
        what: what the file is to the user, for messages.

    Returns:
        A frame of text whose index is the line each row ends on.

    Raises:
        InputError: the file cannot be read, has no rows, repeats or lacks column names, or a row's number of cells
            differs from the header's.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {what} {path}: {error}. It must be a comma-separated UTF-8 file.") from error
    if len(rows) < 2:
        raise InputError(f"{path} has {'a header but no rows' if rows else 'no content'}")
    (_, header), *body = rows
    repeated = sorted({name for name in header if header.count(name) > 1 and name})
    if repeated:
        raise InputError(f"{path}: the column(s) {first_few(repeated)} appear more than once")
    if "" in header:
        raise InputError(f"{path}: column {header.index('') + 1} has no name; name it or take it out")
    for line, row in body:
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: {len(row)} cells under a header of {len(header)}")
    return pd.DataFrame([row for _, row in body], columns=header, index=[line for line, _ in body], dtype=object)
