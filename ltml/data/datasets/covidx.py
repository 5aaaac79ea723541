"""`covidx`: COVIDx CXR-2 in its official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ltml.data.context import DataContext
from ltml.data.faults import Fault, Faults
from ltml.data.label_codes import label_codes
from ltml.data.table import LabelTable, LabelVersion, report_doubled
from ltml.errors import InputError, shown
from ltml.registry import DATASETS

LABEL = "COVID-19"
VALUES = {"positive": 1, "negative": 0}
LISTS = ("train", "test")
FORM = "patient_id filename class source"


@DATASETS.register("covidx")
def load(context: DataContext) -> LabelTable:
    """COVIDx CXR-2: chest films from several hospitals, with COVID-19 or without.

    ``test.txt`` is the test set; validation is taken out of ``train.txt`` by patient. Several sources number their
    patients alike, so a patient is known by source and number.

    Raises:
        InputError: a list is missing, or something in it is not as published.
    """
    root = context.need_root("covidx")
    lists = [_read(root, split, context.faults) for split in LISTS]
    codes = np.concatenate(
        [
            label_codes(table, ["class"], VALUES, str(root / f"{split}.txt"), context.faults)
            for split, table in zip(LISTS, lists, strict=True)
        ]
    )
    table = pd.concat(lists).reset_index(names="line")
    kept = ~_in_both(table, root, context.faults)
    table, codes = table[kept].reset_index(drop=True), codes[kept]
    image = table["split"] + "/" + table["file"]
    return LabelTable(
        name="covidx",
        label_names=(LABEL,),
        codes=codes,
        rows=pd.DataFrame(
            {
                "id": image,
                "group": table["source"] + "/" + table["patient"],
                "source": "covidx",
                "image": image,
                "line": table["line"],
            }
        ),
        paths=[root / name for name in image],
        root=root,
        where=f"{root / 'train.txt'} and test.txt",
        splits={split: np.flatnonzero(table["split"] == split) for split in LISTS},
        versions=(LabelVersion("CXR-2 test.txt", 400, positives={LABEL: 200}, splits=("test",)),),
    )


def _read(root: Path, split: str, faults: Faults) -> pd.DataFrame:
    """Read the rows of a list, each file once; the index is the line."""
    path = root / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list {path}: {error}. It must lie in data.root.") from error
    body = {number: line for number, line in enumerate(lines, start=1) if line.strip()}
    rows = [_fields(line, f"{path}, line {number}") for number, line in body.items()]
    if not rows:
        raise InputError(f"{path} has no content; every line must read '{FORM}'")
    table = pd.DataFrame(rows, columns=["patient", "file", "class", "source"], index=list(body), dtype=object)
    report_doubled(table["file"], str(path), faults)
    return table[~table["file"].duplicated()].assign(split=split)


def _fields(line: str, place: str) -> tuple[str, str, str, str]:
    parts = line.rsplit(maxsplit=2)  # from the right: file names hold blanks
    names = parts[0].split(maxsplit=1)
    if len(parts) < 3 or len(names) < 2:
        raise InputError(f"{place}: {shown(line, 80)} is not '{FORM}' with blanks between them")
    return names[0], names[1].strip(), parts[1], parts[2]


def _in_both(table: pd.DataFrame, root: Path, faults: Faults) -> pd.Series:
    """Report and return the rows of files that the other list contains; equal names of different sources differ."""
    again = table.duplicated(["source", "file"])
    message = "it is in train.txt as well"
    faults.report(
        [
            Fault("image in two splits", f"{root / 'test.txt'}, line {row.line}, '{row.file}'", message)
            for row in table[again].itertuples()
        ]
    )
    return again
