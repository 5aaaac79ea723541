"""`padchest`: PadChest in its official layout."""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.csv_table import read_csv_table
from ltml.data.context import DataContext
from ltml.data.faults import Fault, Faults
from ltml.data.label_columns import find_file
from ltml.data.table import LabelTable, report_doubled
from ltml.errors import InputError, first_few, shown, suggest
from ltml.registry import DATASETS

LABEL_FILE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
COLUMNS = ("ImageID", "ImageDir", "StudyDate_DICOM", "PatientID", "PatientBirth", "PatientSex_DICOM", "Projection")
FRONTAL = ("PA", "AP", "AP_horizontal")
MISSING = ("", "nan")
NO_LABELS = {
    "exclude": "label 'exclude': set apart by the annotators",
    "suboptimal study": "label 'suboptimal study': not of diagnostic quality",
    "unchanged": "label 'unchanged': the report refers to an earlier one for its findings",
}
"""Lower-case entries that mean unknown findings, with the reason why their films are left out."""

Labels = tuple[str, ...]


@DATASETS.register("padchest")
def load(
    context: DataContext,
    *,
    labels: Annotated[
        tuple[str, ...] | None,
        Field(description="the labels; null: all that min_images films have, frequent ones first"),
    ] = None,
    min_images: Annotated[int, Field(gt=0, description="labels=null: films that a label needs")] = 50,
    films: Annotated[
        Literal["frontal", "all"], Field(description=f"films to keep by Projection; frontal: {', '.join(FRONTAL)}")
    ] = "frontal",
) -> LabelTable:
    """PadChest: about 160,000 films of 67,000 patients, 174 findings and 19 diagnoses in a long tail.

    There is no official split: it is by patient. ``normal`` is a label like any other. Films whose findings are not
    known are left out and counted: no list, an empty one, or one that holds ``exclude``, ``suboptimal study`` or
    ``unchanged`` (in small or capital letters).

    Raises:
        InputError: the file is missing, something in it is not as published, or a label is on no film.
    """
    root = context.need_root("padchest")
    file = find_file(root, LABEL_FILE)
    table = read_csv_table(file, "the label file", (*COLUMNS, "Labels"))
    report_doubled(table["ImageID"], str(file), context.faults)
    table = table[~table["ImageID"].duplicated()]
    lists = _label_lists(table["Labels"], file, context.faults)
    reasons = _reasons(lists, table["Projection"], films)
    left_out = dict(Counter(reason for reason in reasons if reason))
    chosen = (reasons == "").to_numpy()
    table, kept = table[chosen].reset_index(names="line"), list(lists[chosen])
    names = _vocabulary(kept, labels, min_images, file)
    image, paths = _find_images(root, table)
    return LabelTable(
        name="padchest",
        label_names=names,
        codes=_codes(kept, names),
        rows=pd.DataFrame(
            {
                "id": table["ImageID"],
                "group": table["PatientID"],
                "source": "padchest",
                "image": image,
                "line": table["line"],
                "view": table["Projection"],
                "age": _ages(table),
                "sex": table["PatientSex_DICOM"],
            }
        ),
        paths=paths,
        root=root,
        where=str(file),
        left_out=left_out,
        image_modes=("I;16", "I"),
    )


def parse_labels(cell: str) -> Labels | None:
    """Parse a printed list of labels, without blanks around them and empty labels; None if a cell is not a list.

    Examples:
        >>> parse_labels("['normal', ' ', ' pleural effusion']")
        ('normal', 'pleural effusion')
        >>> parse_labels("normal")
    """
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        return None
    return tuple(dict.fromkeys(name.strip() for name in found if name.strip()))


def _label_lists(cells: pd.Series, file: Path, faults: Faults) -> pd.Series:
    """Return the labels of each film; none if they are missing, or wrong and reported."""
    parsed = {cell: () if cell.strip() in MISSING else parse_labels(cell) for cell in cells.unique()}
    wrong = [(line, cell) for line, cell in cells.items() if parsed[cell] is None]
    faults.report(
        [Fault("unknown label value", f"{file}, line {line}", f"Labels {shown(cell, 60)}") for line, cell in wrong],
        "Allowed: a list such as ['normal'], or nothing.",
    )
    return pd.Series([parsed[cell] or () for cell in cells], index=cells.index, dtype=object)


def _reasons(lists: pd.Series, projection: pd.Series, films: str) -> pd.Series:
    """Return why each film is left out, by the first matching reason; empty for kept films."""
    reason_of = {names: _reason(names) for names in set(lists)}
    reasons = pd.Series([reason_of[names] for names in lists], index=lists.index, dtype=object)
    if films == "frontal":
        reasons[(reasons == "") & ~projection.isin(FRONTAL)] = f"Projection other than {', '.join(FRONTAL)}"
    return reasons


def _reason(names: Labels) -> str:
    if not names:
        return "no labels"
    lowered = {name.lower() for name in names}
    return next((reason for name, reason in NO_LABELS.items() if name in lowered), "")


def _vocabulary(lists: Sequence[Labels], labels: Labels | None, min_images: int, file: Path) -> Labels:
    counts = Counter(name for names in lists for name in names)
    if labels is None:
        frequent = sorted(counts, key=lambda name: (-counts[name], name))
        names = tuple(name for name in frequent if counts[name] >= min_images)
        if not names:
            raise InputError(f"no label of {file} has data.min_images={min_images} images or more; lower it")
        return names
    for name in labels:
        if name not in counts:
            raise InputError(f"data.labels names '{name}', which no kept image of {file} has: {suggest(name, counts)}")
    if len(set(labels)) < len(labels) or not labels:
        raise InputError(f"data.labels must name every label once, and at least one: {first_few(labels) or 'none'}")
    return labels


def _codes(lists: Sequence[Labels], names: Labels) -> npt.NDArray[np.int8]:
    codes = np.zeros((len(lists), len(names)), dtype=np.int8)
    places = {name: c for c, name in enumerate(names)}
    for row, found in enumerate(lists):
        codes[row, [places[name] for name in found if name in places]] = 1
    return codes


def _find_images(root: Path, table: pd.DataFrame) -> tuple[list[str], list[Path]]:
    """Return images relative to the root and their paths: flat in the root, else in ``<ImageDir>/``."""
    flat = set(os.listdir(root))
    pairs = zip(table["ImageDir"], table["ImageID"], strict=True)
    images = [name if name in flat else f"{folder}/{name}" for folder, name in pairs]
    return images, [root / image for image in images]


def _ages(table: pd.DataFrame) -> pd.Series:
    """Return the year of the study minus the year of birth as text, empty if one is missing."""
    study = pd.to_numeric(table["StudyDate_DICOM"].str[:4], errors="coerce")
    ages = study - pd.to_numeric(table["PatientBirth"], errors="coerce")
    return ages.map(lambda age: "" if np.isnan(age) else str(int(age)))
