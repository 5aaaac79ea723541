"""`cxr_lt`: CXR-LT 2024, whose images are those of MIMIC-CXR-JPG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.csv_table import need_columns, read_csv_table
from ltml.data.context import DataContext
from ltml.data.faults import Fault, Faults
from ltml.data.label_codes import label_codes
from ltml.data.label_columns import find_file, without_points
from ltml.data.table import LabelTable, LabelVersion, report_doubled
from ltml.errors import InputError, first_few
from ltml.registry import DATASETS, FilePath

META = ("dicom_id", "subject_id", "study_id", "ViewPosition", "ViewCodeSequence_CodeMeaning", "fpath")
"""Columns that are not labels."""

VALUES = {"1.0": 1, "0.0": 0, "1": 1, "0": 0}
COUNTS = {1: 40, 2: 26}
"""Number of labels of each task."""

VERSIONS = {
    1: (
        LabelVersion("2024 train_labeled.csv", 258_871, splits=("train",)),
        LabelVersion("2024 development_labeled_task1.csv", 39_293, splits=("val",)),
        LabelVersion("2024 test_labeled_task1.csv", 78_946, splits=("test",)),
    ),
    2: (LabelVersion("2024 train_labeled.csv", 258_871, splits=("train",)),),
}


@DATASETS.register("cxr_lt")
def load(
    context: DataContext,
    *,
    task: Annotated[
        Literal[1, 2],
        Field(description="1: 40 labels, all of them from reports; 2: 26 labels, the test set read by hand"),
    ] = 1,
    labels: Annotated[
        FilePath | None, Field(description="folder of train_labeled.csv and the others; null: data.root")
    ] = None,
) -> LabelTable:
    """CXR-LT 2024: long-tailed labels of the films of MIMIC-CXR-JPG, whose folder is data.root.

    ``train_labeled.csv`` is the training set, the task's development file the validation set and its test file the
    test set. Task 3 (five classes that no training film is labelled for) cannot be trained for and is not offered.

    Raises:
        InputError: a file is missing, or something in it is not as published.
    """
    root = context.need_root("cxr_lt")
    folder = labels or root
    files = {
        "train": find_file(folder, "train_labeled.csv"),
        "val": find_file(folder, f"development_labeled_task{task}.csv"),
        "test": find_file(folder, f"test_labeled_task{task}.csv"),
    }
    read = {split: _read(file, context.faults) for split, file in files.items()}
    names = _label_names(read["test"], files["test"], task)
    for split, table in read.items():
        need_columns(table, names, files[split])
    codes = np.concatenate(
        [label_codes(table, names, VALUES, str(files[split]), context.faults) for split, table in read.items()]
    )
    films = pd.concat([table[list(META)].assign(split=split) for split, table in read.items()])
    kept = ~_in_two_files(films, files, context.faults)
    rows = films[kept].reset_index(names="line")
    return LabelTable(
        name="cxr_lt",
        label_names=names,
        codes=codes[kept],
        rows=pd.DataFrame(
            {
                "id": rows["dicom_id"],
                "group": rows["subject_id"],
                "source": "cxr_lt",
                "image": rows["fpath"],
                "line": rows["line"],
                "view": rows["ViewPosition"],
            }
        ),
        paths=[root / name for name in rows["fpath"]],
        root=root,
        where=str(folder),
        splits={split: np.flatnonzero(rows["split"] == split) for split in files},
        versions=VERSIONS[task],
        image_modes=("L",),
    )


def _read(file: Path, faults: Faults) -> pd.DataFrame:
    """Read the rows of a file, each film once; the index is the line."""
    table = without_points(read_csv_table(file, "the label file", META), ("subject_id", "study_id"))
    report_doubled(table["dicom_id"], str(file), faults)
    return table[~table["dicom_id"].duplicated()]


def _label_names(table: pd.DataFrame, file: Path, task: int) -> tuple[str, ...]:
    names = tuple(name for name in table.columns if name not in META)
    if len(names) != COUNTS[task]:
        raise InputError(
            f"{file} has {len(names)} label columns ({first_few(names)}); task {task} of CXR-LT 2024 has "
            f"{COUNTS[task]}. Give the file as published."
        )
    return names


def _in_two_files(films: pd.DataFrame, files: dict[str, Path], faults: Faults) -> npt.NDArray[np.bool_]:
    """Report and return the rows of films that an earlier file lists."""
    again: npt.NDArray[np.bool_] = films["dicom_id"].duplicated().to_numpy()
    faults.report(
        [
            Fault(
                "image in two splits",
                f"{files[split]}, line {line}, '{name}'",
                "another split's label file lists it as well",
            )
            for line, name, split in films.loc[again, ["dicom_id", "split"]].itertuples()
        ]
    )
    return again
