"""`mimic`: MIMIC-CXR-JPG in its official layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.csv_table import need_columns, read_csv_table
from ltml.data.context import DataContext
from ltml.data.faults import Fault, Faults
from ltml.data.label_columns import (
    NO_FINDING,
    Blank,
    NoFinding,
    Uncertain,
    counted,
    find_file,
    keep,
    observation_codes,
    without_points,
)
from ltml.data.table import LabelTable, LabelVersion, report_doubled
from ltml.errors import InputError, shown
from ltml.registry import DATASETS

LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    NO_FINDING,
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
SPLIT_NAMES = {"train": "train", "validate": "val", "test": "test"}
"""Split names by those of the split file."""

VIEWS = {"frontal": ("PA", "AP"), "lateral": ("LATERAL", "LL")}
RADIOLOGIST_FILE = "mimic-cxr-2.1.0-test-set-labeled.csv"
RADIOLOGIST_NAMES = {"Airspace Opacity": "Lung Opacity", "No Findings": NO_FINDING}
VERSIONS = (
    LabelVersion("2.0.0 validate", 2991, 500, splits=("val",)),
    LabelVersion("2.0.0 test", 5159, 293, splits=("test",)),
)


@DATASETS.register("mimic")
def load(
    context: DataContext,
    *,
    labeler: Annotated[Literal["chexpert", "negbio"], Field(description="whose labels of the reports")] = "chexpert",
    uncertain: Uncertain = "ones",
    blank: Blank = "zero",
    no_finding: NoFinding = True,
    films: Annotated[
        Literal["all", "frontal", "lateral"],
        Field(description="films to keep by ViewPosition; frontal: PA and AP, lateral: LATERAL and LL"),
    ] = "all",
    test_labels: Annotated[
        Literal["labeler", "radiologist"], Field(description=f"labels of the test set; radiologist: {RADIOLOGIST_FILE}")
    ] = "labeler",
) -> LabelTable:
    """MIMIC-CXR-JPG: 377,110 films of 65,379 patients, 14 observations read from the reports.

    Labels are those of a study and hold for each of its films. The split is the official one.

    Raises:
        InputError: a file is missing, or something in it is not as published.
    """
    root = context.need_root("mimic")
    names = LABELS if no_finding else tuple(name for name in LABELS if name != NO_FINDING)
    where = find_file(root, "mimic-cxr-2.0.0-split.csv")
    listed = _listed_films(where, context.faults)
    metadata = _metadata(root, context.faults)
    view = listed["dicom_id"].map(metadata)

    def read(file: Path) -> _Studies:
        return _read_studies(file, names, uncertain, blank, context.faults)

    studies = read(find_file(root, f"mimic-cxr-2.0.0-{labeler}.csv"))
    codes, labelled = studies.of(listed["study_id"])
    if not labelled.any():
        raise InputError(
            f"no study of {where} has labels of {labeler}: its first study is {shown(listed['study_id'].iloc[0])}, "
            f"that of the label file {shown(studies.numbers[0])}; use files of one release as they are published"
        )
    by_reader = (listed["split"] == "test").to_numpy() & (test_labels == "radiologist")
    if test_labels == "radiologist":
        read_codes, read_labelled = read(find_file(root, RADIOLOGIST_FILE)).of(listed["study_id"])
        codes = np.where(by_reader[:, None], read_codes, codes)
        labelled = np.where(by_reader, read_labelled, labelled)
    reasons = {
        "no row in the metadata": view.isna().to_numpy(),
        f"study without labels of {labeler}": ~labelled & ~by_reader,
        "test study without a radiologist's labels": ~labelled & by_reader,
    }
    if films != "all":
        reasons[f"other views than {films}"] = ~view.isin(VIEWS[films]).to_numpy()
    chosen, left_out = keep(reasons)
    rows = listed[chosen].reset_index(names="line")
    image = _paths(rows)
    return LabelTable(
        name="mimic",
        label_names=names,
        codes=codes[chosen],
        rows=pd.DataFrame(
            {
                "id": rows["dicom_id"],
                "group": rows["subject_id"],
                "source": "mimic",
                "image": image,
                "line": rows["line"],
                "view": view[chosen].to_numpy(),
            }
        ),
        paths=[root / name for name in image],
        root=root,
        where=str(where),
        splits={ours: np.flatnonzero(rows["split"] == theirs) for theirs, ours in SPLIT_NAMES.items()},
        left_out={**_unlisted(metadata, listed), **left_out},
        versions=VERSIONS if films == "all" and test_labels == "labeler" else (),
        image_modes=("L",),
    )


@dataclass(frozen=True)
class _Studies:
    """Codes ``(studies, C)`` by study."""

    numbers: pd.Index
    codes: npt.NDArray[np.int8]

    def of(self, wanted: pd.Series) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
        """Return codes ``(N, C)`` of the study of each film, and whether the study has codes, ``(N,)``."""
        places = self.numbers.get_indexer(pd.Index(wanted))
        return self.codes[places], places >= 0


def _listed_films(file: Path, faults: Faults) -> pd.DataFrame:
    """Read the rows of the split file, each film once, of known splits; the index is the line."""
    table = read_csv_table(file, "the split file", ("dicom_id", "study_id", "subject_id", "split"))
    table = without_points(table, ("study_id", "subject_id"))
    report_doubled(table["dicom_id"], str(file), faults)
    table = table[~table["dicom_id"].duplicated()]
    wrong = table["split"][~table["split"].isin(list(SPLIT_NAMES))]
    faults.report(
        [Fault("unknown split", f"{file}, line {line}", f"split is {shown(value)}") for line, value in wrong.items()],
        f"Allowed: {', '.join(SPLIT_NAMES)}.",
    )
    return table.drop(index=wrong.index)


def _metadata(root: Path, faults: Faults) -> pd.Series:
    """Read ViewPosition by dicom_id."""
    file = find_file(root, "mimic-cxr-2.0.0-metadata.csv")
    table = read_csv_table(file, "the metadata", ("dicom_id", "ViewPosition"))
    report_doubled(table["dicom_id"], str(file), faults)
    return table[~table["dicom_id"].duplicated()].set_index("dicom_id")["ViewPosition"]


def _unlisted(metadata: pd.Series, listed: pd.DataFrame) -> dict[str, int]:
    return counted({"in no list of the split": (~metadata.index.isin(listed["dicom_id"])).sum()})


def _read_studies(file: Path, names: tuple[str, ...], uncertain: Uncertain, blank: Blank, faults: Faults) -> _Studies:
    """Read each study once, with the observation names of the labelers."""
    table = read_csv_table(file, "the label file", ("study_id",)).rename(columns=RADIOLOGIST_NAMES)
    need_columns(table, names, file)
    table = without_points(table, ("study_id",))
    report_doubled(table["study_id"], str(file), faults)
    table = table[~table["study_id"].duplicated()]
    codes = observation_codes(table, names, uncertain, blank, str(file), faults)
    return _Studies(pd.Index(table["study_id"]), codes)


def _paths(films: pd.DataFrame) -> pd.Series:
    patient, study = films["subject_id"], films["study_id"]
    return "files/p" + patient.str[:2] + "/p" + patient + "/s" + study + "/" + films["dicom_id"] + ".jpg"
