"""CSV files as text: what comes out, and how much memory that takes."""

from __future__ import annotations

import csv
import gzip
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest

import ltml.csv_table as csv_table
from ltml.csv_table import read_csv_table
from ltml.errors import InputError


def test_a_table_of_several_chunks_is_that_of_the_csv_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "CHUNK", 7)
    monkeypatch.setattr(csv_table, "SHARED", 3)
    path = tmp_path / "x.csv.gz"
    rows = [[f" id{i} ", "" if i % 3 else "a\nb", str(i % 5)] for i in range(40)]
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file).writerows([["id", "text", "n"], *rows])
    table = read_csv_table(path, "the table")
    assert table.to_numpy().tolist() == [[cell.strip() for cell in row] for row in rows]
    assert list(table.columns) == ["id", "text", "n"]
    assert table.index[:3].tolist() == [3, 4, 5]  # the first row's text takes two lines
    assert set(table.dtypes) == {pd.Series([], dtype=object).dtype}


def test_memory_is_that_of_the_columns_not_of_their_rows(tmp_path: Path) -> None:
    """Of 60,000 rows with 20 labels that hold three values, little more than a pointer per cell stays or is needed."""
    path = tmp_path / "x.csv"
    names = ["id", *(f"label{c}" for c in range(20))]
    path.write_text(",".join(names) + "\n" + "".join(f"{i:08d}" + ",0,1," * 6 + ",0,1" + "\n" for i in range(60_000)))
    tracemalloc.start()
    table = read_csv_table(path, "the table")
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pointers = 8 * table.size
    ids = 60_000 * 57
    assert kept < 1.1 * (pointers + ids)
    assert peak < 1.1 * (pointers + ids) + 16384 * 21 * 8 * 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'a,b\n1,2\n3,"4\n5,6\n', r"line 3: a quote \(\"\) is opened on this line and never closed"),
        (b'a,b\n1,2\n3,"5" cm\n', r"line 3: a quote \(\"\) inside a cell"),
        (b'a,b\n1,"2\n3","4" x\n', r"lines 2 to 3: a quote"),
        ("a,b\n1,2\n3,é\n".encode("latin-1"), r"line 3: the byte 0xE9 is not UTF-8; perhaps the file is Latin-1"),
        ("a,b\n1,2\n".encode("utf-16"), r"it is text in UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), r"column 1 holds a NUL byte; the file must be UTF-8, not UTF-16"),
        (b"a;b\n1;2\n", r"has semicolons between its cells; write commas"),
        (b"a\tb\n1\t2\n", r"has tabs between its cells"),
        (b"a,b\n1,2\n3;4\n", r"line 3: 1 cells under a header of 2; the line has semicolons"),
        (b"a,b\n1,2,3\n", r"line 2: 3 cells under a header of 2; a cell with a comma in it must stand in quotes"),
        (b"\xe2\x80\x8ba,b\n1,2\n", r"the name of column 1 is '\\u200ba'; take the invisible letter out"),
        (b"PAR1....", r"it is a Parquet file; give it a name that ends in .parquet"),
        (b"PK\x03\x04..", r"it is a ZIP archive, as Excel sheets"),
        (b"\x1f\x8b..", r"it is packed with gzip; give it a name that ends in .gz"),
        (b"\x89PNG....", r"it is an image \(PNG\)"),
        (b"", r"has no content"),
        (b"a,b\n\n\n", r"a header but no rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_csv_table(path, "the table")
    assert len(str(caught.value)) <= 600 + len(str(path))


def test_a_folder_and_a_cut_archive_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a folder"):
        read_csv_table(tmp_path, "the table")
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)[:40])
    with pytest.raises(InputError, match=r"cannot read the table .*x.csv.gz"):
        read_csv_table(path, "the table")


def test_long_cells_are_read_and_the_limit_of_the_csv_module_stays(tmp_path: Path) -> None:
    path, before = tmp_path / "x.csv", csv.field_size_limit()
    path.write_text(f"a,b\n1,{'x' * 140_000}\n")
    assert len(read_csv_table(path, "the table")["b"].iloc[0]) == 140_000
    assert csv.field_size_limit() == before
    path.write_text(f"a,b\n1,2\n1,{'x' * (csv_table.LONGEST_CELL + 1)}\n")
    with pytest.raises(InputError, match="line 3: a cell has more than 10,000,000 characters"):
        read_csv_table(path, "the table")


def test_a_byte_order_mark_line_ends_of_windows_and_empty_lines_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4\r\n\r\n")
    table = read_csv_table(path, "the table")
    assert table.to_numpy().tolist() == [["1", "2"], ["3", "4"]]
    assert table.index.tolist() == [2, 4]


def test_a_missing_column_names_the_one_that_was_probably_meant(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("ID,Fold\n1,2\n")
    with pytest.raises(InputError, match=r"has no column id, split \('ID' must be called 'id'; 'Fold' must be called"):
        read_csv_table(path, "the table", ("id", "split"))
