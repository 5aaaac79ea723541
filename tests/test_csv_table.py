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
