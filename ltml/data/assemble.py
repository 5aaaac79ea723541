"""Write the partial labels of a dataset as one table that any code can read, including the dataset `csv`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from ltml.data.dataset import Dataset

META = ("view", "age", "sex")


def assemble_table(dataset: Dataset) -> tuple[pd.DataFrame, Path | None]:
    """Build one table with images, metadata, splits and labels.

    Returns:
        Columns ``image`` (relative to the folder that all images share, empty for a row that comes from an array;
        ``image_2`` … where a row has several), ``id``,
        ``group``, ``source``, ``split``, ``view``, ``age``, ``sex`` as far as they exist, and a column per label
        with 1, 0 or missing (unknown); and that folder, None if images are not files.
    """
    table = dataset.table.reset_index(drop=True)
    split = np.full(len(table), "", dtype=object)
    for name, rows in dataset.splits.items():
        split[rows] = name
    files = [dataset.images.files(row) for row in range(len(table))]
    root = _shared_folder([path for paths in files for path in paths])
    columns: dict[str, object] = {}
    for number in range(dataset.images_per_row if root else 0):
        title = "image" if number == 0 else f"image_{number + 1}"
        columns[title] = [os.path.relpath(paths[number], root) if paths else "" for paths in files]
    columns |= {"id": table["id"], "group": table["group"], "source": table["source"], "split": split}
    columns |= {name: table[name] for name in META if name in table}
    labels = pd.DataFrame(
        np.where(dataset.known, dataset.targets.astype(np.float64), np.nan), columns=list(dataset.label_names)
    ).astype("Int8")
    return pd.concat([pd.DataFrame(columns), labels], axis=1), root


def _shared_folder(paths: list[Path]) -> Path | None:
    return Path(os.path.commonpath([path.absolute().parent for path in paths])) if paths else None
