"""`odir5k`: ODIR-5K, fundus photographs of both eyes, in its official layout."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.arrays import Codes
from ltml.csv_table import need_columns, read_csv_table
from ltml.data.context import DataContext
from ltml.data.dataset import Units
from ltml.data.faults import Fault, Faults
from ltml.data.label_codes import UNKNOWN, label_codes
from ltml.data.table import LabelTable, LabelVersion, report_doubled
from ltml.errors import InputError
from ltml.extras import optional_package
from ltml.registry import DATASETS, FilePath

LABELS = ("N", "D", "G", "C", "A", "H", "M", "O")
LABEL_FILES = (
    "ODIR-5K_Training_Annotations(Updated)_V2.xlsx",
    "ODIR-5K_Training_Annotations(Updated)_V2.csv",
    "data.xlsx",
)
"""Official, the same as CSV, and what a common copy calls it."""

FOLDERS = (
    "ODIR-5K_Training_Dataset",
    "ODIR-5K_Training_Images",
    "ODIR-5K_Training_Images/ODIR-5K_Training_Dataset",
    "Training Images",
    ".",
)
"""Where the images are: official, as the archive unpacks, in a common copy, or beside the annotations."""

ANY_EYE = np.array([-1 if label == "N" else 1 for label in LABELS], dtype=np.int8)
"""How `join_eyes` joins each label, as `Units.choice`: N needs both eyes, any other label one."""
EYES = ("left", "right")
IMAGES = ("Left-Fundus", "Right-Fundus")
KEYWORDS = ("Left-Diagnostic Keywords", "Right-Diagnostic Keywords")
COLUMNS = ("ID", "Patient Age", "Patient Sex", *IMAGES, *KEYWORDS, *LABELS)

RULES = (
    ("normal fundus", "N"),
    ("diabetic retinopathy", "D"),
    ("proliferative retinopathy", "D"),
    ("glaucoma", "G"),
    ("cataract", "C"),
    ("macular degeneration", "A"),
    ("hypertensive retinopathy", "H"),
    ("myopi", "M"),
)
"""Part of a keyword and its label; the first that matches counts, and O where none does."""

NOTES = (
    "lens dust",
    "optic disk photographically invisible",
    "low image quality",
    "image offset",
    "anterior segment image",
    "no fundus image",
)
"""Keywords on the photograph, not on the eye."""

SEPARATORS = re.compile("[，,]")
"""The full-width comma, and the plain one that a few cells have instead."""


VERSION = LabelVersion("Training Annotations (Updated) V2", images=7000, patients=3500)
"""The patients left can only be compared where no eye is left out."""


@dataclass(frozen=True)
class Files:
    """Paths of the dataset's files.

    Attributes:
        root: the dataset's folder.
        labels: the annotations.
        images: image files by name.
    """

    root: Path
    labels: Path
    images: Mapping[str, Path]

    def paths(self, names: Iterable[str]) -> list[Path]:
        """Return the files of images; for a missing one, its expected path."""
        return [self.images.get(name, self.root / FOLDERS[0] / name) for name in names]


@DATASETS.register("odir5k")
def load(
    context: DataContext,
    *,
    labels_file: Annotated[
        FilePath | None,
        Field(description="annotations as .xlsx or .csv; null: ODIR-5K_Training_Annotations(Updated)_V2 in the root"),
    ] = None,
    unit: Annotated[
        Literal["image", "patient"], Field(description="what one prediction is for: an eye, or both together")
    ] = "patient",
    eyes: Annotated[
        Literal["mean", "max", "concat"],
        Field(
            description="unit=patient: mean of both eyes' probabilities; max, the label's own rule: a finding of "
            "either eye, N of both; or concat, both eyes as one input"
        ),
    ] = "mean",
    quality: Annotated[
        Literal["keep", "drop"],
        Field(description="eyes whose keywords are quality notes alone (no finding, not 'normal fundus'): left out?"),
    ] = "drop",
) -> LabelTable:
    """ODIR-5K: 7,000 fundus photographs of 3,500 patients, 8 labels.

    There is no public official split; rows are split by patient. Rows are eyes with the labels of their own keywords;
    with `unit` patient their predictions are joined and scored against the patient's official labels: with `eyes` mean
    by the mean of both, with `eyes` max as the labels themselves are joined, a finding by the higher probability of
    the two eyes and N, which only two normal eyes have, by the lower one. Both stages train on single eyes with the
    labels of their own, so stage 2's features and Gaussians are the same for mean and max. With `eyes` concat rows are
    patients with the official labels, and both photographs make one input.

    A quality note beside a finding, or beside ``normal fundus``, is passed over. An eye with nothing but notes has no
    known label: `quality` says whether it is left out, and with it, if `eyes` is concat, its patient.

    Raises:
        InputError: a file is missing, or something in it is not as published.
    """
    root = context.need_root("odir5k")
    file = labels_file or _label_file(root, context.option("labels_file"))
    table = _read(file)
    report_doubled(table["ID"], str(file), context.faults)
    table = table[~table["ID"].duplicated()]
    official = label_codes(table, LABELS, {"0": 0, "1": 1}, str(file), context.faults)
    _check_keywords(table, file, context.faults)
    per_eye = np.stack([eye_codes(table[column].tolist()) for column in KEYWORDS], axis=1)
    _compare(official, join_eyes(per_eye[:, 0], per_eye[:, 1]), table, file, context.faults)
    used = np.full(per_eye.shape[:2], True) if quality == "keep" else (per_eye != UNKNOWN).any(axis=2)
    files = Files(root, file, _find_images(root))
    if unit == "patient" and eyes == "concat":
        return _both_eyes(table, official, used, files)
    patients = official if unit == "patient" else None
    return _single_eyes(table, per_eye, used, files, units=patients, by_label_rule=eyes == "max")


def split_keywords(text: str) -> list[str]:
    """Return the keywords of an eye's cell without quality notes, in lower case."""
    words = (word.strip().lower() for word in SEPARATORS.split(text))
    return [word for word in words if word and word not in NOTES]


def label_of(keyword: str) -> str:
    """Return the label of a keyword: that of the first rule that matches, else O."""
    return next((label for part, label in RULES if part in keyword), "O")


def eye_codes(texts: Sequence[str]) -> Codes:
    """Return the labels of eyes by their keywords.

    Args:
        texts: the cells, ``(n,)``.

    Returns:
        int8 ``(n, 8)``: all labels of all keywords, N only if there is no other; -1 where an eye has quality notes
        alone.
    """
    codes = np.full((len(texts), len(LABELS)), UNKNOWN, dtype=np.int8)
    for row, text in enumerate(texts):
        labels = {label_of(keyword) for keyword in split_keywords(text)}
        if labels:
            found = labels - {"N"} or labels
            codes[row] = [label in found for label in LABELS]
    return codes


def join_eyes(left: Codes, right: Codes) -> Codes:
    """Return the labels of patients by those of their eyes: N if both are N, every other label if one eye has it.

    Args:
        left: int8 ``(n, 8)``, 1, 0 or -1 where unknown.
        right: the same of the other eyes.

    Returns:
        int8 ``(n, 8)``, -1 where the label depends on an eye that is unknown.
    """
    either, both = np.maximum(left, right), np.minimum(left, right)
    joined = np.where((either < 1) & (both < 0), UNKNOWN, either)
    # N is true if no eye is otherwise: one 0 settles it
    normal = np.where((left[:, 0] == 0) | (right[:, 0] == 0), 0, both[:, 0])
    return np.column_stack([normal, joined[:, 1:]]).astype(np.int8)


def _single_eyes(
    table: pd.DataFrame,
    codes: Codes,
    used: npt.NDArray[np.bool_],
    files: Files,
    units: Codes | None,
    *,
    by_label_rule: bool,
) -> LabelTable:
    patients, sides = np.nonzero(used)
    ids = table["ID"].to_numpy(dtype=object)
    images = table[list(IMAGES)].to_numpy(dtype=object)[patients, sides]
    rows = _meta(table, patients).assign(
        id=ids[patients] + np.array([f"_{eye}" for eye in EYES], dtype=object)[sides], image=images
    )
    lost = used.size - len(rows)
    seen, of_row = np.unique(patients, return_inverse=True)
    choice = np.tile(ANY_EYE, (len(seen), 1)) if by_label_rule else None
    return LabelTable(
        name="odir5k",
        label_names=LABELS,
        codes=codes[patients, sides],
        rows=rows,
        where=str(files.labels),
        paths=files.paths(images),
        root=files.root,
        units=None if units is None else Units(ids[seen], units[seen], of_row, choice),
        left_out={"eye whose keywords are quality notes alone (quality=drop)": lost} if lost else {},
        versions=(replace(VERSION, patients=None) if lost else VERSION,),
        image_modes=("RGB",),
    )


def _both_eyes(table: pd.DataFrame, codes: Codes, used: npt.NDArray[np.bool_], files: Files) -> LabelTable:
    patients = np.flatnonzero(used.all(axis=1))
    images = table[list(IMAGES)].to_numpy(dtype=object)[patients]
    ids = table["ID"].to_numpy(dtype=object)[patients]
    lost = len(table) - len(patients)
    return LabelTable(
        name="odir5k",
        label_names=LABELS,
        codes=codes[patients],
        rows=_meta(table, patients).assign(id=ids, image=[" ".join(pair) for pair in images]),
        where=str(files.labels),
        paths=files.paths(images.ravel()),
        root=files.root,
        images_per_row=2,
        left_out={"patient with an eye whose keywords are quality notes alone (quality=drop)": lost} if lost else {},
        versions=() if lost else (VERSION,),
        image_modes=("RGB",),
    )


def _meta(table: pd.DataFrame, patients: npt.NDArray[np.intp]) -> pd.DataFrame:
    chosen = table.iloc[patients]
    return pd.DataFrame(
        {
            "group": chosen["ID"].to_numpy(),
            "source": "odir5k",
            "line": chosen.index,
            "age": chosen["Patient Age"].to_numpy(),
            "sex": chosen["Patient Sex"].to_numpy(),
        }
    )


def _label_file(root: Path, key: str) -> Path:
    existing = [root / name for name in LABEL_FILES if (root / name).is_file()]
    if not existing:
        raise InputError(f"{root} has none of {', '.join(LABEL_FILES)}; give the folder that has one, or {key}")
    return existing[0]


def _read(file: Path) -> pd.DataFrame:
    """Read all cells as stripped text; the index is the line of each row, 1 being the header."""
    table = _read_sheet(file) if file.suffix.lower() == ".xlsx" else read_csv_table(file, "the annotations")
    need_columns(table, COLUMNS, file)
    return table


def _read_sheet(file: Path) -> pd.DataFrame:
    try:
        with optional_package("openpyxl", f"{file} is an Excel sheet, which", "Or save it as .csv."):
            table = pd.read_excel(file, dtype=str, keep_default_na=False, na_filter=False, engine="openpyxl")
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"cannot read the annotations {file}: {error}. It must be an Excel sheet (.xlsx).") from error
    if not len(table):
        raise InputError(f"{file} has no rows")
    cells = {str(name).strip(): table[name].str.strip() for name in table}
    return pd.DataFrame(cells, dtype=object).set_index(pd.RangeIndex(2, len(table) + 2))


def _check_keywords(table: pd.DataFrame, file: Path, faults: Faults) -> None:
    faults.report(
        [
            Fault("unknown label value", f"{file}, line {line}, column '{column}'", "it has no keyword")
            for column in KEYWORDS
            for line in table.index[table[column].str.strip("，, ") == ""]
        ],
        "Every eye needs a diagnostic keyword, such as 'normal fundus'.",
    )


def _compare(official: Codes, joined: Codes, table: pd.DataFrame, file: Path, faults: Faults) -> None:
    """Report patients whose official labels differ from those of their eyes as suspicious."""
    differ = ((official != UNKNOWN) & (joined != UNKNOWN) & (official != joined)).any(axis=1)
    faults.doubt(
        [
            Fault(
                "labels of patient and eyes differ",
                f"{file}, line {line}, ID {patient}",
                "the official labels are not those of the eyes' keywords joined; each is used where it stands",
            )
            for line, patient in table["ID"][differ].items()
        ]
    )


def _find_images(root: Path) -> Mapping[str, Path]:
    """Find image files by name in the folders that copies of the data use."""
    existing = [root / folder for folder in FOLDERS if (root / folder).is_dir()]
    return {name: folder / name for folder in reversed(existing) for name in os.listdir(folder)}
