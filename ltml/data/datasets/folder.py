"""`folder`: anyone's images, one folder per class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ltml.data.context import DataContext
from ltml.data.image_files import is_image
from ltml.data.label_codes import one_hot
from ltml.data.splits import SPLITS
from ltml.data.table import LabelTable
from ltml.errors import InputError, first_few
from ltml.registry import DATASETS


@DATASETS.register("folder")
def load(context: DataContext) -> LabelTable:
    """Your own images in one folder per class, or in train/, val/ and test/ with one folder per class.

    The root's folders are splits if ``train`` is one of them and all are named train, val or test; else they are
    classes. Folders whose names begin with a dot are neither. Only images directly in a class's folder count. Every
    image is a group of its own: with several images of a patient, use the dataset csv, which has a column for it.

    Raises:
        InputError: fewer than two classes, or a class without images.
    """
    root = context.need_root("folder")
    places = _folders(root)
    split_names = [split for split in SPLITS if split in places]
    given = "train" in places and len(split_names) == len(places)
    found = {split: _images_by_class(root / split) for split in split_names} if given else {"": _images_by_class(root)}
    names = sorted({name for classes in found.values() for name in classes})
    _check_classes(names, found, root)
    listed = [
        (split, name, file) for split, classes in found.items() for name in names for file in classes.get(name, ())
    ]
    images = [Path(split, name, file).as_posix() for split, name, file in listed]
    others = _count_files(root) - len(images)
    numbers = {name: number for number, name in enumerate(names)}
    split_of = np.array([split for split, _, _ in listed])
    return LabelTable(
        name=root.name,
        label_names=tuple(names),
        codes=one_hot(np.array([numbers[name] for _, name, _ in listed]), len(names)),
        rows=pd.DataFrame(
            {"id": images, "group": images, "source": root.name, "image": images, "line": range(1, len(images) + 1)}
        ),
        where=str(root),
        paths=[root / image for image in images],
        root=root,
        splits={split: np.flatnonzero(split_of == split) for split in split_names} if given else None,
        left_out={"file that is no image in a class's folder": others} if others else {},
    )


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _images_by_class(folder: Path) -> dict[str, list[str]]:
    found = {}
    for name in _folders(folder):
        files = [file for file in sorted(os.listdir(folder / name)) if not file.startswith(".")]
        found[name] = [file for file in files if (folder / name / file).is_file() and is_image(folder / name / file)]
    return found


def _check_classes(names: Sequence[str], found: Mapping[str, Mapping[str, Sequence[str]]], root: Path) -> None:
    if len(names) < 2:
        raise InputError(
            f"{root} has {len(names)} class folder(s) ({first_few(names) or 'none'}); it needs two or more, each with "
            "its images: CLASS/image.png, or train/CLASS/image.png, val/… and test/…"
        )
    empty = [name for name in names if not any(classes.get(name) for classes in found.values())]
    if empty:
        raise InputError(
            f"{root}: the class folder(s) {first_few(empty)} hold no image directly; classes are {first_few(names)}. "
            "Take out folders that are no class. Folders are splits only if all are named train, val or test."
        )


def _count_files(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))
