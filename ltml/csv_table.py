"""CSV files read as text, strictly: nothing is guessed, shifted or cut off."""

from __future__ import annotations

import csv
import gzip
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.errors import InputError, brief, first_few, shown
from ltml.file_kinds import foreign_kind
from ltml.near_names import near_misses

TEXT: Any = {"encoding": "utf-8-sig", "newline": ""}
CHUNK = 1 << 14
"""Number of rows read at a time, because rows as Python lists take several times the memory of columns."""
SHARED = 1 << 12
"""Number of distinct texts per column that are shared; columns of ids or paths have more, which rarely repeat."""

NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?( ?± ?[\d.]+)?")


def without_formula(text: str) -> str:
    """Return a name as one line of a cell for people, with an apostrophe before what a spreadsheet would compute."""
    line = re.sub(r"[\t\r\n]+", " ", text).strip(" ") if re.search(r"[\t\r\n]", text) else text
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) and not NUMBER.fullmatch(line) else line


TRUTHS: Mapping[str, int] = MappingProxyType(
    {"1": 1, "0": 0, "1.0": 1, "0.0": 0}
    | {
        spelling: int(value)
        for value in (True, False)
        for spelling in (f"{value}", f"{value}".upper(), f"{value}".lower())
    }
)
"""1 or 0 by every accepted spelling of a label, in all kinds of tables."""

LONGEST_CELL = 10_000_000
"""Maximum number of characters in a cell."""

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""Cell separators of other programs."""

PLAIN_CSV = "It must be a comma-separated UTF-8 file."


def read_csv_table(path: Path, what: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a comma-separated UTF-8 file, plain or ``.gz``; every cell stays text, without surrounding blanks.

    Args:
        path: the file.
        what: description of the file for messages.
        columns: required columns.

    Returns:
        A frame of text whose index is the line each row ends on.

    Raises:
        InputError: the file cannot be read, has no rows, lacks or repeats column names, or a row's number of cells
            differs from the header's.
    """
    table = _read_columns(path, what, allow_unnamed=bool(columns))
    need_columns(table, columns, path)
    return table


def csv_rows(path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the last line of each row and its stripped cells; empty lines are skipped.

    Raises:
        InputError: if the file is missing, not text, or has wrong quotes; the message names the line.
    """
    _check_is_text(path, what)
    start = 1
    try:
        with _open(path) as file, _long_cells():
            reader = csv.reader(file, strict=True)
            for row in reader:
                start = reader.line_num + 1
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise InputError(f"cannot read {what} {path}, {_quote_fault(error, start, reader.line_num)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {what} {path}, {_encoding_fault(path)}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {what} {path}: {error}. {PLAIN_CSV}") from error


def _read_columns(path: Path, what: str, *, allow_unnamed: bool) -> pd.DataFrame:
    """Read column by column; equal texts of a column share one object, because few of millions of cells differ."""
    rows = csv_rows(path, what)
    header = next(rows, (0, list[str]()))[1]
    check_header(header, path, nameless=allow_unnamed)
    texts: list[dict[str, str]] = [{} for _ in header]
    lines, parts = [], [list[npt.NDArray[np.object_]]() for _ in header]
    for chunk in _chunks(rows):
        for line, row in chunk:
            if len(row) != len(header):
                cells = f"{len(row)} cells under a header of {len(header)}"
                raise InputError(f"{path}, line {line}: {cells}{_cells_hint(row, header)}")
        lines += [np.array([line for line, _ in chunk])]
        columns = zip(*(row for _, row in chunk), strict=True)
        for column, seen, part in zip(columns, texts, parts, strict=True):
            part.append(_share(column, seen))
    if not lines:
        raise InputError(f"{path} has {'a header but no rows' if header else 'no content'}")
    whole: dict[int, npt.NDArray[np.object_]] = {}
    while parts:  # frees the parts of a column once it is complete
        whole[len(whole)] = np.concatenate(parts.pop(0))
    table = pd.DataFrame(whole, index=np.concatenate(lines), dtype=object, copy=False)
    table.columns = pd.Index(header)
    return table


def _chunks(rows: Iterator[tuple[int, list[str]]]) -> Iterator[list[tuple[int, list[str]]]]:
    for first in rows:
        yield list(chain([first], islice(rows, CHUNK - 1)))


def _share(cells: Sequence[str], seen: dict[str, str]) -> npt.NDArray[np.object_]:
    """Return cells ``(n,)`` as texts shared through `seen`, which grows up to `SHARED` texts."""
    column = np.empty(len(cells), dtype=object)
    column[:] = [seen.setdefault(cell, cell) if len(seen) < SHARED else seen.get(cell, cell) for cell in cells]
    return column


def need_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Check that a table has the required columns.

    Raises:
        InputError: names missing columns and those that were probably meant.
    """
    absent = [name for name in columns if name not in table]
    if not absent:
        return
    near = {name: near_misses(table.columns, name) for name in absent}
    hints = [f"{shown(found[0])} must be called '{name}'" for name, found in near.items() if found]
    columns_found = first_few((brief(name) for name in table.columns), most=12)
    hint = f" ({'; '.join(hints[:3])})" if hints else ""
    raise InputError(f"{path} has no column {first_few(absent)}{hint}; its columns are {columns_found}")


def check_header(header: Sequence[str], path: Path, *, nameless: bool = False) -> None:
    """Refuse a header that other programs read differently.

    Args:
        header: column names.
        path: path of the table, for messages.
        nameless: whether columns without a name are skipped.

    Raises:
        InputError: cells are not separated by commas, or a name is repeated, empty or holds invisible letters.
    """
    separator = next((sign for sign in SEPARATORS if len(header) == 1 and sign in header[0]), "")
    if separator:
        raise InputError(
            f"{path} has {SEPARATORS[separator]} between its cells; write commas (and points in numbers): pandas reads "
            f"it with read_csv(…, sep={separator!r}) and writes commas with to_csv(…, index=False)"
        )
    repeated = sorted({name for name in header if header.count(name) > 1 and name})
    if repeated:
        raise InputError(f"{path}: the column(s) {first_few(map(brief, repeated))} appear more than once")
    if "" in header and not nameless:
        raise InputError(f"{path}: column {header.index('') + 1} has no name; name it or take it out")
    for number, name in enumerate(header, start=1):
        if "\0" in name:
            raise InputError(
                f"{path}: the name of column {number} holds a NUL byte; the file must be UTF-8, not UTF-16"
            )
        if name and {unicodedata.category(name[0]), unicodedata.category(name[-1])} & {"Cc", "Cf"}:
            raise InputError(
                f"{path}: the name of column {number} is {shown(name)}; take the invisible letter out of the header"
            )


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return cast(IO[str], gzip.open(path, "rt", **TEXT))
    return cast(IO[str], path.open(**TEXT))


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_is_text(path: Path, what: str) -> None:
    if not path.exists():
        raise InputError(f"cannot read {what} {path}: there is no such file")
    try:
        kind = foreign_kind(path)
    except OSError as error:
        raise InputError(f"cannot read {what} {path}: {error}. {PLAIN_CSV}") from error
    if kind == "packed with gzip" and path.suffix != ".gz":
        raise InputError(f"cannot read {what} {path}: it is {kind}; give it a name that ends in .gz")
    if kind == "a Parquet file":
        raise InputError(f"cannot read {what} {path}: it is {kind}; give it a name that ends in .parquet")
    if kind and path.suffix != ".gz":
        raise InputError(f"cannot read {what} {path}: it is {kind}. {PLAIN_CSV} Excel saves one as 'CSV UTF-8'.")


def _quote_fault(error: csv.Error, start: int, line: int) -> str:
    """Describe where a row has wrong quotes, and how to fix it."""
    text = str(error)
    if "field larger" in text:
        return f'line {start}: a cell has more than {LONGEST_CELL:,} characters; is a quote (") not closed?'
    if "end of data" in text:
        return f'line {start}: a quote (") is opened on this line and never closed'
    if "expected after" in text:
        where = f"line {line}" if start == line else f"lines {start} to {line}"
        return f'{where}: a quote (") inside a cell; put the cell in quotes and double those inside: "5"" cm"'
    return f"line {line}: {text}. {PLAIN_CSV}"


def _encoding_fault(path: Path) -> str:
    """Name the line of the first byte that is not UTF-8."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return (
                    f"line {number}: the byte 0x{line[error.start]:02X} is not UTF-8; perhaps the file is Latin-1 or "
                    "Windows-1252. Save it as UTF-8 ('CSV UTF-8' in Excel; iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW)."
                )
    return PLAIN_CSV


def _cells_hint(row: Sequence[str], header: Sequence[str]) -> str:
    if len(row) == 1 and (sign := next((sign for sign in SEPARATORS if sign in row[0]), "")):
        return f"; the line has {SEPARATORS[sign]} in place of commas"
    return "; a cell with a comma in it must stand in quotes" if len(row) > len(header) else ""
