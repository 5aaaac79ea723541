"""Read Parquet files as text, like CSV files."""

from __future__ import annotations

import numbers
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from ltml.csv_table import check_header
from ltml.errors import InputError, brief, first_line
from ltml.extras import optional_package
from ltml.file_kinds import foreign_kind

ENDINGS = (".parquet", ".pq")


def is_parquet(path: Path) -> bool:
    """Return whether a file's name says that it is Parquet."""
    return path.suffix.lower() in ENDINGS


def read_parquet_table(path: Path, what: str) -> pd.DataFrame:
    """Read a Parquet file as text, missing cells empty; named levels of its index are columns.

    Args:
        path: the file.
        what: description of the file for messages.

    Returns:
        A frame of text whose index counts rows from 1.

    Raises:
        InputError: the file cannot be read, has no rows, repeats column names, or its index is text without a name.
    """
    table = _read(path, what)
    named = [name for name in table.index.names if name is not None]
    if not named and pd.api.types.is_string_dtype(table.index):
        raise InputError(
            f"{path}: its index is text and has no name, so that it is not clear which column it is; name it "
            "(table.index.name = 'id', say), or write the file without it (to_parquet(…, index=False))"
        )
    if repeated := [name for name in named if name in table.columns]:
        raise InputError(f"{path}: the column {brief(repeated[0])} appears more than once, as index and as column")
    table = table.reset_index() if named else table
    if not len(table):
        raise InputError(f"{path} has a header but no rows")
    names = [str(name).strip() for name in table.columns]
    check_header(names, path)
    columns = {name: [_text(value, name, path) for value in table.iloc[:, number]] for number, name in enumerate(names)}
    return pd.DataFrame(columns, index=pd.RangeIndex(1, len(table) + 1), dtype=object)


def _read(path: Path, what: str) -> pd.DataFrame:
    if not path.exists():
        raise InputError(f"cannot read {what} {path}: there is no such file")
    if foreign_kind(path) == "a folder":
        raise InputError(f"cannot read {what} {path}: it is a folder; give one .parquet file")
    try:
        with optional_package("pyarrow", str(path)):
            table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {what} {path}: {first_line(error)}") from error
    return table


def _text(value: Any, column: str, path: Path) -> str:
    """Return a cell as text: whole numbers without a point, true and false as 1 and 0."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bytes):
        raise InputError(f"{path}: the column {brief(column)} holds bytes; store text or numbers")
    if not pd.api.types.is_scalar(value):
        return str(value)
    if pd.isna(value):
        return ""
    is_whole = isinstance(value, numbers.Real | Decimal) and value == value // 1
    return str(int(value) if is_whole else value)
