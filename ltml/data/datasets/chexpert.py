"""`chexpert`: CheXpert in its official layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.csv_table import need_columns, read_csv_table
from ltml.data.context import DataContext
from ltml.data.faults import Fault, Faults
from ltml.data.label_columns import NO_FINDING, Blank, NoFinding, Uncertain, keep, observation_codes
from ltml.data.table import LabelTable, LabelVersion, report_doubled
from ltml.errors import InputError, first_few, shown
from ltml.registry import DATASETS

LABELS = (
    NO_FINDING,
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
PREFIXES = ("CheXpert-v1.0-small", "CheXpert-v1.0")
"""Folders that copies have, and that every path begins with whether they have them or not."""

BATCHES = "CheXpert-v1.0 batch *"
"""Folders that the full-size release is packed in: ``batch 1 (validate & csv)``, ``batch 2 (train 1)`` and so on."""

TEST_FILES = ("test_labels.csv", "test.csv")
META = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
"""Columns that the test labels lack."""


@DATASETS.register("chexpert")
def load(
    context: DataContext,
    *,
    uncertain: Uncertain = "ones",
    blank: Blank = "zero",
    no_finding: NoFinding = True,
    films: Annotated[Literal["all", "frontal", "lateral"], Field(description="films to keep")] = "all",
) -> LabelTable:
    """CheXpert: 223,414 training films of 64,540 patients, 14 observations.

    ``train.csv`` is the training set, with validation taken out of it by patient, and ``valid.csv`` the test set. Where
    the test labels that came later lie beside them (``test_labels.csv`` or ``test.csv``), ``valid.csv`` is the
    validation set and they are the test set.

    Raises:
        InputError: a file is missing, or something in it is not as published.
    """
    root = context.need_root("chexpert")
    folder = _label_folder(root)
    test = next((name for name in TEST_FILES if (folder / name).is_file()), None)
    files = {"train": "train.csv", "test": "valid.csv"}
    if test is not None:
        files = {"train": "train.csv", "val": "valid.csv", "test": test}
    names = LABELS if no_finding else LABELS[1:]
    read = {split: _read(folder / name, context.faults) for split, name in files.items()}
    codes = np.concatenate(
        [
            observation_codes(table, names, uncertain, blank, str(folder / files[split]), context.faults)
            for split, table in read.items()
        ]
    )
    rows = pd.concat([_rows(table).assign(split=split) for split, table in read.items()], ignore_index=True)
    first = ~_in_two_files(rows["id"], folder, context.faults)
    rows, codes = rows[first], codes[first]
    chosen, left_out = keep({f"other views than {films}": ~_is_view(rows["view"], films)})
    rows, codes = rows[chosen].reset_index(drop=True), codes[chosen]
    return LabelTable(
        name="chexpert",
        label_names=names,
        codes=codes,
        rows=rows.drop(columns="split"),
        paths=_image_paths(root, folder, rows["id"].tolist()),
        root=root,
        where=str(folder / "train.csv"),
        splits={split: np.flatnonzero(rows["split"] == split) for split in files},
        left_out=left_out,
        versions=_versions(with_test=test is not None) if films == "all" else (),
        image_modes=("L",),
    )


def _versions(*, with_test: bool) -> tuple[LabelVersion, ...]:
    """Return published counts; ``valid.csv`` is the test split unless there is a later one."""
    return (
        LabelVersion("v1.0 train.csv", 223_414, 64_540, splits=("train",)),
        LabelVersion("v1.0 valid.csv", 234, 200, splits=("val" if with_test else "test",)),
    )


def _label_folder(root: Path) -> Path:
    if root.match(BATCHES) and not (root / "train").is_dir():
        raise InputError(f"{root} is one batch of CheXpert; give the folder that holds all batches, {root.parent}")
    if (root / "train.csv").is_file():
        return root
    places = [root / prefix for prefix in PREFIXES] + sorted(root.glob(BATCHES))
    existing = [place for place in places if (place / "train.csv").is_file()]
    if len(existing) == 1:
        return existing[0]
    if existing:
        names = first_few(place.name for place in existing)
        raise InputError(f"{root} holds {names}, each with a train.csv; give one of them as data.root")
    raise InputError(
        f"{root} has no train.csv, and no folder {', '.join(PREFIXES)} or '{BATCHES}' in it has one; give "
        "the folder of CheXpert"
    )


def _image_folder(folder: Path) -> Path:
    """Return the folder that contains ``train/patient…``."""
    places = (folder, *(folder / prefix for prefix in PREFIXES))
    return next((place for place in places if (place / "train").is_dir()), folder)


def _image_paths(root: Path, folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the files of images: below one folder, or each patient's below the batch that has it."""
    batches = sorted(root.glob(BATCHES))
    if not batches:
        images = _image_folder(folder)
        return [images / name for name in names]
    patients = {f"train/{entry}": batch / entry for batch in batches for entry in os.listdir(batch)}
    places = [(split, batch / split) for split in ("train", "valid", "test") for batch in (*batches, root, folder)]
    patients |= {
        f"{split}/{entry}": place / entry for split, place in places if place.is_dir() for entry in os.listdir(place)
    }
    parts = [name.split("/", 2) for name in names]
    return [patients.get(f"{split}/{patient}", folder / split / patient) / rest for split, patient, rest in parts]


def _read(file: Path, faults: Faults) -> pd.DataFrame:
    """Read the rows that name a patient, each path once; the index is the line."""
    table = read_csv_table(file, "the label file")
    needed = ("Path", *LABELS) if file.name in TEST_FILES else ("Path", *META, *LABELS)
    need_columns(table, needed, file)
    strange = table["Path"][~table["Path"].str.contains(r"(?:^|/)patient\d+/")]
    faults.report(
        [
            Fault("path without a patient", f"{file}, line {line}", f"Path {shown(path, 80)}")
            for line, path in strange.items()
        ],
        "Paths read CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg.",
    )
    table = table.drop(index=strange.index)
    report_doubled(_names(table["Path"]), str(file), faults)
    return table[~_names(table["Path"]).duplicated()]


def _names(paths: pd.Series) -> pd.Series:
    """Return paths without the folder that only some copies have."""
    return paths.str.replace(rf"^/?(?:{'|'.join(PREFIXES)})/", "", regex=True)


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    side = table["Path"].str.extract(r"_(frontal|lateral)\.", expand=False).str.capitalize().fillna("")
    side = table.get("Frontal/Lateral", side)
    direction = table.get("AP/PA", pd.Series("", index=table.index))
    return pd.DataFrame(
        {
            "id": _names(table["Path"]),
            "group": table["Path"].str.extract(r"(?:^|/)(patient\d+)/", expand=False),
            "source": "chexpert",
            "image": table["Path"],
            "line": table.index,
            "view": (side + " " + direction).str.strip(),
            "age": table.get("Age", ""),
            "sex": table.get("Sex", ""),
        }
    )


def _is_view(view: pd.Series, films: str) -> npt.NDArray[np.bool_]:
    wanted: npt.NDArray[np.bool_] = view.str.lower().str.startswith("" if films == "all" else films).to_numpy(bool)
    return wanted


def _in_two_files(names: pd.Series, folder: Path, faults: Faults) -> npt.NDArray[np.bool_]:
    """Report and return the rows of images that an earlier file lists."""
    again: npt.NDArray[np.bool_] = names.duplicated().to_numpy()
    message = "another split's label file lists it as well"
    faults.report([Fault("image in two splits", f"{folder}, {name}", message) for name in names[again]])
    return again
