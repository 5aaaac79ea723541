"""`csv`: anyone's images, listed in a CSV or Parquet file with one column per label."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from ltml.csv_table import TRUTHS, need_columns, read_csv_table
from ltml.data.context import DataContext
from ltml.data.faults import Fault, Faults
from ltml.data.label_codes import UNKNOWN, label_codes
from ltml.data.splits import split_by_column
from ltml.data.table import LabelTable
from ltml.errors import InputError, brief, first_few, shown, suggest
from ltml.near_names import near_misses
from ltml.parquet_table import is_parquet, read_parquet_table
from ltml.registry import DATASETS, FilePath

log = logging.getLogger(__name__)

RESERVED = ("image", "id", "group", "split", "source", "view", "age", "sex")
VALUES = {**TRUTHS, "": UNKNOWN}

MEANINGS = {
    "group": "the patient, who must not be in two splits",
    "split": "train, val or test",
    "id": "the name of a row",
    "source": "where a row comes from",
    "known": "what is known: here an empty cell says that a label is unknown",
}
"""Columns whose near misses would change figures in silence."""

_UNREAD = "it looks like '{}' ({}), but is not called so"


@DATASETS.register("csv")
def load(
    context: DataContext,
    *,
    file: Annotated[
        FilePath | None,
        Field(description="CSV or .parquet: image; optional id, group, split, source, view, age, sex; then labels"),
    ] = None,
    labels: Annotated[tuple[str, ...] | None, Field(description="label columns; null: all others")] = None,
    ignore: Annotated[tuple[str, ...], Field(description="columns that are no labels and mean nothing here")] = (),
) -> LabelTable:
    """Your own images: a CSV or Parquet file with an image column and one column per label (1, 0 or empty).

    Paths are relative to the folder of the file unless ``data.root`` is given. Without a ``split`` column the split is
    by group with the split seed. A column that is almost one of those above, such as ``patient``, is refused unless
    ``labels`` or ``ignore`` names it.

    Raises:
        InputError: the file, a column, a label value, an id, a group or an image path is wrong.
    """
    if file is None:
        key, example = context.option("file"), context.option("file", "labels.csv")
        raise InputError(f"the dataset 'csv' needs {key}: add {example}")
    table = read_parquet_table(file, "data.file") if is_parquet(file) else read_csv_table(file, "data.file")
    need_columns(table, ("image",), file)
    others = _other_columns(table, labels or (), ignore, file)
    near = _near_columns(table, [name for name in others if name not in (labels or ())])
    _report_near(near, file, context)
    names = _label_columns([name for name in others if name not in near], table, labels, file)
    if passed_over := [name for name in others if name not in (*names, *near)]:
        log.info("%s: columns that are not read: %s", file, first_few(map(brief, passed_over), most=12))
    table = _with_images(table, file, context.faults)
    root = file.parent if context.root is None else context.need_root("csv")
    labels_key, ignore_key = context.option("labels", "[…]"), context.option("ignore", "[…]")
    advice = f"If the column is not a label, list the labels with {labels_key}, or the column with {ignore_key}."
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


def _other_columns(table: pd.DataFrame, labels: Sequence[str], ignore: Sequence[str], file: Path) -> list[str]:
    """Return the columns without a meaning of their own that are not ignored."""
    for name in ignore:
        if name not in table or name in RESERVED or name in labels:
            free = [str(column) for column in table if column not in (*RESERVED, *labels)]
            raise InputError(
                f"data.ignore names {shown(name)}, which is no column to ignore of {file}: {suggest(name, free)}"
            )
    return [name for name in table.columns if name not in RESERVED and name not in ignore]


def _near_columns(table: pd.DataFrame, others: Sequence[str]) -> dict[str, str]:
    """Return what is wrong with each column that is almost one with a meaning; a group beside it makes it harmless."""
    near = {name: _UNREAD.format("known", MEANINGS["known"]) for name in others if name == "known"}
    for expected in [name for name in MEANINGS if name not in table or name == "known"]:
        for name in near_misses(others, expected):
            near.setdefault(name, _UNREAD.format(expected, MEANINGS[expected]))
    if "group" in table:
        torn = [name for name in near_misses(others, "group") if _is_torn(table, name)]
        near |= dict.fromkeys(torn, "rows that share one of its values are in several groups: is it the patient?")
    return near


def _is_torn(table: pd.DataFrame, column: str) -> bool:
    """Return whether rows that share a value of a column, such as a patient, are in several groups."""
    filled = table[table[column] != ""]
    return bool((filled.groupby(column)["group"].nunique() > 1).any())


def _report_near(near: Mapping[str, str], file: Path, context: DataContext) -> None:
    context.faults.report(
        [
            Fault("column that is almost another", f"{file}, column {shown(name)}", message)
            for name, message in near.items()
        ],
        f"Rename it, name it in {context.option('labels')} if it is a label, or say that it means nothing here with "
        f"{context.option('ignore', f'[{first_few(map(brief, near))}]')}.",
    )


def _label_columns(others: Sequence[str], table: pd.DataFrame, labels: tuple[str, ...] | None, file: Path) -> list[str]:
    names = list(others) if labels is None else list(labels)
    for name in names:
        if name not in table or name in RESERVED:
            raise InputError(
                f"data.labels names {shown(name)}, which is not a label column of {file}: {suggest(name, others)}"
            )
    if len(set(names)) < len(names):
        raise InputError(f"data.labels names a label more than once: {first_few(map(brief, names))}")
    if not names:
        raise InputError(f"{file} has no label column: every column besides {', '.join(RESERVED)} is a label")
    return names


def _with_images(table: pd.DataFrame, file: Path, faults: Faults) -> pd.DataFrame:
    """Return the rows that name an image; the others are reported."""
    empty = table["image"] == ""
    faults.report(
        [
            Fault("row without an image", f"{file}, line {line}", "the column 'image' is empty")
            for line in table.index[empty]
        ],
        "Fill it in, or take the row out.",
    )
    return table[~empty]


def _meta_columns(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    ids = table["id"] if "id" in table else table["image"]
    columns = {
        "id": ids,
        "group": table.get("group", ids),
        "source": table.get("source", file.stem),
        "image": table["image"],
        "line": table.index,
    } | {name: table[name] for name in ("view", "age", "sex") if name in table}
    return pd.DataFrame(columns).reset_index(drop=True)
