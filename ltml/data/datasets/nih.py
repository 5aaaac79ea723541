"""`nih`: NIH ChestX-ray14 in its official layout."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.arrays import IntArray
from ltml.csv_table import csv_rows
from ltml.data.context import DataContext
from ltml.data.faults import Fault, Faults
from ltml.data.label_codes import UNKNOWN
from ltml.data.table import LabelTable, LabelVersion, report_doubled
from ltml.errors import InputError, brief, first_few, shown
from ltml.near_names import fold_id
from ltml.registry import DATASETS, FilePath

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
"""Names of each column in copies of the file."""


VERSIONS = (
    LabelVersion("v2020", 112_120, 30_805, {NO_FINDING: 60_361, "Pneumonia": 1431, "Hernia": 227}),
    LabelVersion("2017", 112_120, 30_805, {"Pneumonia": 1353, "Hernia": 227}),
    LabelVersion(
        "official train_val list, v2020",
        images=86_524,
        positives={
            "Atelectasis": 8280,
            "Cardiomegaly": 1707,
            "Effusion": 8659,
            "Infiltration": 13_782,
            "Mass": 4034,
            "Nodule": 4708,
            "Pneumonia": 876,
            "Pneumothorax": 2637,
            "Consolidation": 2852,
            "Edema": 1378,
            "Emphysema": 1423,
            "Fibrosis": 1251,
            "Pleural_Thickening": 2242,
            "Hernia": 141,
        },
        splits=("train",),
    ),
)


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
    no_finding: Annotated[bool, Field(description="a 15th label for films without any of the 14 findings")] = False,
) -> LabelTable:
    """NIH ChestX-ray14: 112,120 films of 30,805 patients, 14 findings.

    The split is the official one, with validation taken out of its training part by patient, or that of `lists`.

    Raises:
        InputError: a file is missing, or something in it is not as published.
    """
    root = context.need_root("nih")
    file = labels_file or _label_file(root, context.option("labels_file"))
    table = _read(file)
    report_doubled(table["image"], str(file), context.faults)
    table = table[~table["image"].duplicated()]
    codes = _codes(table["findings"], file, context.faults)
    splits, listed = _splits(lists or root, table["image"].tolist(), context, official=lists is None)
    found = _find_images(root, need=not context.labels_only)
    rows = table.iloc[listed].reset_index(names="line")
    names = (*LABELS, NO_FINDING)
    count = len(names) if no_finding else len(LABELS)
    return LabelTable(
        name="nih",
        label_names=names[:count],
        codes=codes[listed, :count],
        rows=pd.DataFrame(
            {
                "id": rows["image"],
                "group": rows["group"],
                "source": "nih",
                "image": rows["image"],
                "line": rows["line"],
                "view": rows["view"],
                "age": rows["age"].str.rstrip("Y").str.replace("^0+(?=.)", "", regex=True),
                "sex": rows["sex"],
            }
        ),
        paths=[found[name] if name in found else root / "images" / name for name in rows["image"]],
        root=root,
        where=str(file),
        splits=splits,
        left_out={"in no list of the split": len(table) - len(listed)} if len(listed) < len(table) else {},
        versions=VERSIONS if lists is None else VERSIONS[:2],
        all_positives=dict(zip(names, (codes == 1).sum(axis=0).tolist(), strict=True)),
        image_size=(1024, 1024),
        image_modes=("L",),
    )


def _label_file(root: Path, key: str) -> Path:
    existing = [root / name for name in LABEL_FILES if (root / name).is_file()]
    if not existing:
        raise InputError(f"{root} has neither {' nor '.join(LABEL_FILES)}; give the folder that has one, or {key}")
    return existing[0]


def _read(file: Path) -> pd.DataFrame:
    """Read the columns as text. Bracketed names in the header contain commas, and older copies end rows with one."""
    rows = list(csv_rows(file, "the label file"))
    if len(rows) < 2:
        raise InputError(f"{file} has {'a header but no rows' if rows else 'no content'}")
    (_, header), *body = rows
    places = {
        ours: next((header.index(name) for name in names if name in header), -1) for ours, names in COLUMNS.items()
    }
    absent = [" or ".join(COLUMNS[ours]) for ours, place in places.items() if place < 0]
    if absent:
        names = first_few(map(brief, header), most=12)
        raise InputError(f"{file} has no column {first_few(absent)}; its columns are {names}")
    for line, row in body:
        if len(row) <= max(places.values()):
            raise InputError(f"{file}, line {line}: {len(row)} cells under a header of {len(header)}")
    columns = {ours: [row[place] for _, row in body] for ours, place in places.items()}
    return pd.DataFrame(columns, index=[line for line, _ in body], dtype=object)


def _codes(findings: pd.Series, file: Path, faults: Faults) -> npt.NDArray[np.int8]:
    """Return codes of the 14 findings and, last, of no finding."""
    codes = np.zeros((len(findings), len(LABELS) + 1), dtype=np.int8)
    places = {label: c for c, label in enumerate((*LABELS, NO_FINDING))}
    wrong: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row, (line, text) in enumerate(zip(findings.index.tolist(), findings.tolist(), strict=True)):
        names = text.split("|")
        if not places.keys() >= set(names) or (NO_FINDING in names and len(names) > 1):
            codes[row] = UNKNOWN
            wrong[next((name for name in names if name not in places), NO_FINDING)].append((line, text))
            continue
        codes[row, [places[name] for name in names]] = 1
    advice = f"Allowed: {NO_FINDING} alone, or names out of {', '.join(LABELS)} with | between them."
    faults.report([_finding_fault(file, name, cells) for name, cells in wrong.items()], advice)
    return codes


def _finding_fault(file: Path, name: str, cells: Sequence[tuple[int, str]]) -> Fault:
    """Return one fault for all rows with a finding that is not known, or that stands beside no finding."""
    line, text = cells[0]
    more = f" ({len(cells):,} rows with {shown(name)})" if len(cells) > 1 else ""
    return Fault("unknown label value", f"{file}, line {line}", f"Finding Labels {shown(text, 60)}{more}")


def _splits(
    folder: Path, names: Sequence[str], context: DataContext, *, official: bool
) -> tuple[dict[str, IntArray], IntArray]:
    """Return row numbers by split among the listed rows, and the listed rows."""
    files = {"train": "train_val_list.txt", "test": "test_list.txt"}
    if not official:
        files = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
    places = {name: row for row, name in enumerate(names)}
    split_of = np.full(len(names), "", dtype=object)
    strange: list[Fault] = []
    twice: list[Fault] = []
    for split, list_name in files.items():
        for name in _read_list(folder / list_name, context.option("lists", "FOLDER")):
            if name not in places:
                strange.append(Fault("unknown id", f"{folder / list_name}", f"{brief(name)} is not in the label file"))
            elif split_of[places[name]] not in ("", split):
                message = f"it is in more than one of the lists {', '.join(files.values())}"
                twice.append(Fault("image in two splits", f"{folder}, {name}", message))
            else:
                split_of[places[name]] = split
    alike = {fold_id(name) for name in names} & {fold_id(fault.message.split()[0]) for fault in strange[:100]}
    hint = " Some differ only by case, blanks or zeros: write names alike in both." if alike else ""
    context.faults.report(strange, f"Use the lists of this label file.{hint}")
    context.faults.report(twice)
    listed = np.flatnonzero(split_of != "")
    return {split: np.flatnonzero(split_of[listed] == split) for split in files}, listed


def _read_list(path: Path, key: str) -> list[str]:
    """Read file names, one per line; the rest of a line (labels, in some lists) is ignored."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the split list {path}: {error}. Another folder of lists: {key}") from error
    return [line.split()[0] for line in lines if line.strip()]


def _find_images(root: Path, *, need: bool) -> Mapping[str, Path]:
    """Find image files by name: flat in ``images/``, or in ``images_001/images/`` … ``images_012/images/``."""
    folders = [root / "images", *sorted(root.glob("images_*/images"))]
    existing = [folder for folder in folders if folder.is_dir()]
    if need and not existing:
        raise InputError(f"{root} has no folder images/ and none like images_001/images/; give the folder that has")
    return {name: folder / name for folder in existing for name in os.listdir(folder)}
