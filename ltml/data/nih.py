"""`nih`: NIH ChestX-ray14 in its official layout."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.data.context import DataContext
from ltml.data.table import LabelTable, need_root
from ltml.errors import InputError, first_few
from ltml.registry import DATASETS, FilePath
from ltml.types import IntArray

LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"
LABEL_FILES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
COLUMNS = {
    "image": ("Image Index",),
    "findings": ("Finding Labels",),
    "group": ("Patient ID",),
    "age": ("Patient Age",),
    "sex": ("Patient Gender", "Patient Sex"),
    "view": ("View Position",),
}
"""Ours and the names that copies of the file have for them."""


@DATASETS.register("nih")
def load(
    context: DataContext,
    *,
    labels_file: Annotated[
        FilePath | None, Field(description="the label file; null: Data_Entry_2017_v2020.csv, else Data_Entry_2017.csv")
    ] = None,
    lists: Annotated[
        FilePath | None,
        Field(description="folder with train_list.txt, val_list.txt, test_list.txt of another split, e.g. CheXNet's"),
    ] = None,
) -> LabelTable:
    """NIH ChestX-ray14: 112,120 films of 30,805 patients, 14 findings.

    The split is the official one, with validation taken out of its training part by patient, or that of `lists`.

    Raises:
        InputError: a file is missing, or something in it is not as published.
    """
    root = need_root(context, "nih")
    file = labels_file or _label_file(root)
    table = _read(file)
    codes = _codes(table["findings"], file)
    names = table["image"].tolist()
    splits, listed = _splits(lists or root, names, official=lists is None)
    found = _find_images(root)
    rows = table.iloc[listed].reset_index(drop=True)
    return LabelTable(
        name="nih",
        label_names=LABELS,
        codes=codes[listed],
        rows=pd.DataFrame(
            {
                "id": rows["image"],
                "group": rows["group"],
                "source": "nih",
                "image": rows["image"],
                "view": rows["view"],
                "age": rows["age"].str.rstrip("Y").str.lstrip("0"),
                "sex": rows["sex"],
            }
        ),
        paths=[found.get(name, root / "images" / name) for name in rows["image"]],
        where=str(file),
        splits=splits,
        left_out={"in no list of the split": len(names) - len(listed)} if len(listed) < len(names) else {},
    )


def _label_file(root: Path) -> Path:
    there = [root / name for name in LABEL_FILES if (root / name).is_file()]
    if not there:
        raise InputError(f"{root} has neither {' nor '.join(LABEL_FILES)}; give data.root or data.labels_file")
    return there[0]


def _read(file: Path) -> pd.DataFrame:
    """Our columns as text. The header's bracketed names hold commas, and older copies end rows with one."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header, *body = [[cell.strip() for cell in row] for row in csv.reader(lines, strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(f"cannot read the label file {file}: {error}") from error
    places = {
        ours: next((header.index(name) for name in names if name in header), -1) for ours, names in COLUMNS.items()
    }
    absent = [" or ".join(COLUMNS[ours]) for ours, place in places.items() if place < 0]
    if absent:
        raise InputError(f"{file} has no column {first_few(absent)}; its columns are {first_few(header, most=12)}")
    for line, row in enumerate(body, start=2):
        if len(row) <= max(places.values()):
            raise InputError(f"{file}, line {line}: {len(row)} cells under a header of {len(header)}")
    table = pd.DataFrame({ours: [row[place] for row in body] for ours, place in places.items()}, dtype=object)
    doubled = table["image"][table["image"].duplicated()]
    if len(doubled):
        raise InputError(f"{file}: images are listed more than once: {first_few(doubled.unique())}")
    return table


def _codes(findings: pd.Series, file: Path) -> npt.NDArray[np.int8]:
    codes = np.zeros((len(findings), len(LABELS)), dtype=np.int8)
    places = {label: c for c, label in enumerate(LABELS)}
    for row, text in enumerate(findings):
        names = text.split("|")
        unknown = [name for name in names if name not in places and name != NO_FINDING]
        if unknown or (NO_FINDING in names and len(names) > 1):
            raise InputError(
                f"{file}, line {row + 2}: Finding Labels '{text}'; allowed: {NO_FINDING} alone, or names out of "
                f"{', '.join(LABELS)} with | between them"
            )
        codes[row, [places[name] for name in names if name != NO_FINDING]] = 1
    return codes


def _splits(folder: Path, names: Sequence[str], *, official: bool) -> tuple[dict[str, IntArray], IntArray]:
    """Row numbers by split among the listed rows, and which rows are listed."""
    files = {"train": "train_val_list.txt", "test": "test_list.txt"}
    if not official:
        files = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
    places = {name: row for row, name in enumerate(names)}
    split_of = np.full(len(names), "", dtype=object)
    for split, list_name in files.items():
        for name in _read_list(folder / list_name):
            if name not in places:
                raise InputError(f"{folder / list_name} lists {name}, which is not in the label file")
            if split_of[places[name]] not in ("", split):
                raise InputError(f"{name} is in more than one of the lists {', '.join(files.values())} in {folder}")
            split_of[places[name]] = split
    listed = np.flatnonzero(split_of != "")
    return {split: np.flatnonzero(split_of[listed] == split) for split in files}, listed


def _read_list(path: Path) -> list[str]:
    """File names, one per line; what follows a name on its line (labels, in some lists) is not read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the split list {path}: {error}") from error
    return [line.split()[0] for line in lines if line.strip()]


def _find_images(root: Path) -> Mapping[str, Path]:
    """Image files by name: flat in ``images/``, or in ``images_001/images/`` … ``images_012/images/``."""
    folders = [root / "images", *sorted(root.glob("images_*/images"))]
    there = [folder for folder in folders if folder.is_dir()]
    if not there:
        raise InputError(f"{root} has no folder images/ and none like images_001/images/; give the folder that has")
    return {name: folder / name for folder in there for name in os.listdir(folder)}
