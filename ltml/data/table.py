"""What a dataset's label files say, before images are decoded: the common form of every loader of image files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.data.context import DataContext
from ltml.data.images import FileImages
from ltml.data.splits import check_groups_apart, split_by_group, take_validation
from ltml.errors import InputError, first_few
from ltml.registry import DATASETS
from ltml.types import Dataset, IntArray

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelTable:
    """Rows of a dataset in files.

    Attributes:
        name: of the dataset.
        label_names: the ``C`` labels.
        codes: int8 ``(N, C)``: 1, 0, or -1 where unknown.
        rows: ``id`` (unique), ``group`` (patient), ``source``, ``image`` (path as listed), and ``view``, ``age``,
            ``sex`` where the dataset has them.
        paths: the image file of each row.
        where: what messages call the label file.
        splits: row numbers by split as the data give them; None for a split by group. Without ``val`` it is taken out
            of ``train`` by group.
        left_out: how many rows each named rule left out.
    """

    name: str
    label_names: tuple[str, ...]
    codes: npt.NDArray[np.int8]
    rows: pd.DataFrame
    paths: Sequence[Path]
    where: str
    splits: Mapping[str, IntArray] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)


def load_dataset(name: str, context: DataContext, **options: object) -> Dataset:
    """Load a registered dataset and check that each split can be used.

    Raises:
        InputError: an unknown dataset, or data that break a rule of their loader.
    """
    loaded = DATASETS.get(name)(context, **options)
    dataset: Dataset = to_dataset(loaded, context) if isinstance(loaded, LabelTable) else loaded
    empty = [split for split in ("train", "val", "test") if len(dataset.splits.get(split, ())) == 0]
    if empty:
        raise InputError(f"dataset '{dataset.name}' has no images for {', '.join(empty)}; every split needs some")
    return dataset


def to_dataset(table: LabelTable, context: DataContext) -> Dataset:
    """Split the rows and make the images readable.

    Raises:
        InputError: images are missing, or a group is in two splits.
    """
    for rule, count in table.left_out.items():
        log.info("%s: %d row(s) left out: %s", table.where, count, rule)
    check_images(table.paths, table.where)
    groups = table.rows["group"]
    if table.splits is None:
        splits = split_by_group(groups.tolist(), context.ratio, context.seed)
    else:
        splits = take_validation(table.splits, groups.tolist(), context.ratio, context.seed)
    check_groups_apart(groups, splits, table.where)
    return Dataset(
        name=table.name,
        label_names=table.label_names,
        table=table.rows,
        targets=(table.codes == 1).astype(np.uint8),
        known=table.codes >= 0,
        splits=splits,
        images=FileImages(table.paths, context.size, context.channels),
    )


def check_images(paths: Sequence[Path], where: str) -> None:
    """Refuse images that are missing or empty.

    Raises:
        InputError: says how many, and names some.
    """
    missing = [path for path in paths if not path.is_file() or path.stat().st_size == 0]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(paths)} images listed in {where} are missing or empty files: "
            f"{first_few(missing, most=3)}. Paths are relative to the label file's folder unless data.root is given."
        )


def need_root(context: DataContext, dataset: str) -> Path:
    """The folder of the dataset.

    Raises:
        InputError: none was given, or it is no folder.
    """
    if context.root is None:
        raise InputError(f"the dataset '{dataset}' needs the folder of its files: add data.root=FOLDER")
    if not context.root.is_dir():
        raise InputError(f"data.root {context.root} is not a folder; give the folder of the dataset's files")
    return context.root
