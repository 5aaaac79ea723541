"""`csv`: anyone's images, listed in a CSV with one column per label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.csv_table import read_csv_table
from ltml.data.context import DataContext
from ltml.data.splits import split_by_column
from ltml.data.table import LabelTable, need_root
from ltml.errors import InputError, first_few, suggest
from ltml.registry import DATASETS, FilePath

RESERVED = ("image", "id", "group", "split", "source")
VALUES = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "": -1}


@DATASETS.register("csv")
def load(
    context: DataContext,
    *,
    file: Annotated[
        FilePath | None, Field(description="CSV: image, optional id, group, split, source; other columns are labels")
    ] = None,
    labels: Annotated[tuple[str, ...] | None, Field(description="label columns; null: all others")] = None,
) -> LabelTable:
    """Your own images: a CSV with an image column and one column per label (1, 0 or empty).

    Paths are relative to the folder of the CSV unless ``data.root`` is given. Without a ``split`` column the split is
    by group with the split seed.

    Raises:
        InputError: the file, a column, a label value, an id, a group or an image path is wrong.
    """
    if file is None:
        raise InputError("the dataset 'csv' needs data.file: add data.file=labels.csv")
    table = read_csv_table(file, "data.file")
    if "image" not in table:
        raise InputError(f"{file} has no column 'image'; its columns are {first_few(table.columns, most=12)}")
    names = _label_columns(table, labels, file)
    root = file.parent if context.root is None else need_root(context, "csv")
    return LabelTable(
        name=file.stem,
        label_names=tuple(names),
        codes=np.stack([_label_values(table[name], file) for name in names], axis=1),
        rows=_meta_columns(table, file),
        paths=[root / name for name in table["image"]],
        where=str(file),
        splits=split_by_column(table["split"], str(file)) if "split" in table else None,
    )


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


def _label_values(column: pd.Series, file: Path) -> npt.NDArray[np.int8]:
    codes = column.map(VALUES)
    if codes.isna().any():
        row = int(np.flatnonzero(codes.isna())[0])
        raise InputError(
            f"{file}, line {column.index[row]}, column '{column.name}': label value '{column.iloc[row]}'; "
            "allowed: 1, 0 or empty (unknown). If the column is not a label, list the labels with data.labels=[…]."
        )
    return np.asarray(codes, dtype=np.int8)


def _meta_columns(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    ids = table["id"] if "id" in table else table["image"]
    doubled = ids[ids.duplicated()]
    if len(doubled):
        column = "id" if "id" in table else "image (used as id)"
        raise InputError(
            f"{file}: duplicate {column} {first_few(repr(value) for value in doubled.unique())}, "
            f"line {doubled.index[0]}; every row needs its own"
        )
    for name in ("image", "id", "group"):
        if name in table and (table[name] == "").any():
            raise InputError(f"{file}, line {table.index[table[name] == ''][0]}: the column '{name}' is empty")
    group = table.get("group", ids)
    source = table.get("source", file.stem)
    return pd.DataFrame({"id": ids, "group": group, "source": source, "image": table["image"]})
