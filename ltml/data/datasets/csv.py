"""`csv`: anyone's images, listed in a CSV or Parquet file with one column per label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from ltml.csv_table import read_csv_table
from ltml.data.context import DataContext
from ltml.data.labels import UNKNOWN, label_codes
from ltml.data.splits import split_by_column
from ltml.data.table import LabelTable
from ltml.errors import InputError, first_few, suggest
from ltml.registry import DATASETS, FilePath

RESERVED = ("image", "id", "group", "split", "source", "view", "age", "sex")
VALUES = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "True": 1, "False": 0, "": UNKNOWN}


@DATASETS.register("csv")
def load(
    context: DataContext,
    *,
    file: Annotated[
        FilePath | None,
        Field(description="CSV or .parquet: image; optional id, group, split, source, view, age, sex; then labels"),
    ] = None,
    labels: Annotated[tuple[str, ...] | None, Field(description="label columns; null: all others")] = None,
) -> LabelTable:
    """Your own images: a CSV or Parquet file with an image column and one column per label (1, 0 or empty).

    Paths are relative to the folder of the file unless ``data.root`` is given. Without a ``split`` column the split is
    by group with the split seed.

    Raises:
        InputError: the file, a column, a label value, an id, a group or an image path is wrong.
    """
    if file is None:
        raise InputError("the dataset 'csv' needs data.file: add data.file=labels.csv")
    table = _read_parquet(file) if file.suffix == ".parquet" else read_csv_table(file, "data.file")
    if "image" not in table:
        there = first_few(table.columns, most=12)
        raise InputError(f"{file} has no column 'image'; its columns, separated by commas, are {there}")
    names = _label_columns(table, labels, file)
    root = file.parent if context.root is None else context.need_root("csv")
    advice = "If the column is not a label, list the labels with data.labels=[…]."
    return LabelTable(
        name=file.stem,
        label_names=tuple(names),
        codes=label_codes(table, names, VALUES, str(file), context.faults, advice),
        rows=_meta_columns(table, file),
        paths=[root / name for name in table["image"]],
        root=root,
        where=str(file),
        splits=split_by_column(table["split"], str(file)) if "split" in table else None,
    )


def _read_parquet(file: Path) -> pd.DataFrame:
    """All cells as text, missing ones empty; the index counts rows from 1."""
    try:
        table = pd.read_parquet(file)
    except ImportError as error:
        raise InputError(f"{file} needs a reader of Parquet: pip install 'ltml[parquet]'") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read data.file {file}: {error}") from error
    text = pd.DataFrame({name: [_text(value) for value in table[name]] for name in table}, dtype=object)
    return text.set_index(pd.RangeIndex(1, len(text) + 1))


def _text(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


def _label_columns(table: pd.DataFrame, labels: tuple[str, ...] | None, file: Path) -> list[str]:
    others = [name for name in table.columns if name not in RESERVED]
    names = others if labels is None else list(labels)
    for name in names:
        if name not in others:
            raise InputError(
                f"data.labels names '{name}', which is not a label column of {file}: {suggest(name, others)}"
            )
    if len(set(names)) < len(names):
        raise InputError(f"data.labels names a label more than once: {first_few(names)}")
    if not names:
        raise InputError(f"{file} has no label column: every column besides {', '.join(RESERVED)} is a label")
    return names


def _meta_columns(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    for name in ("image", "id", "group"):
        if name in table and (table[name] == "").any():
            raise InputError(f"{file}, line {table.index[table[name] == ''][0]}: the column '{name}' is empty")
    ids = table["id"] if "id" in table else table["image"]
    columns = {
        "id": ids,
        "group": table.get("group", ids),
        "source": table.get("source", file.stem),
        "image": table["image"],
        "line": table.index,
    } | {name: table[name] for name in ("view", "age", "sex") if name in table}
    return pd.DataFrame(columns).reset_index(drop=True)
