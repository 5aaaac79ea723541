"""`npz`: anyone's images in one NumPy file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from ltml.arrays import IntArray, UInt8Array
from ltml.data.arrays import check_pixels, join_pixels, read_npz
from ltml.data.context import DataContext
from ltml.data.faults import Faults
from ltml.data.label_codes import UNKNOWN, report_wrong
from ltml.data.splits import SPLITS, split_by_column
from ltml.data.table import LabelTable
from ltml.errors import InputError, first_few, suggest
from ltml.registry import DATASETS, FilePath

Arrays = Mapping[str, npt.NDArray[Any]]

NEEDED = ("images", "targets")
TEXTS = ("ids", "groups", "source")


@dataclass(frozen=True)
class Part:
    """The arrays of one split, or of all rows.

    Attributes:
        pixels: uint8 ``(N, H, W[, 1 or 3])``.
        codes: int8 ``(N, C)``.
        texts: columns ``ids``, ``groups`` and ``source``.
    """

    pixels: UInt8Array
    codes: npt.NDArray[np.int8]
    texts: pd.DataFrame


@DATASETS.register("npz")
def load(
    context: DataContext,
    *,
    file: Annotated[
        FilePath | None,
        Field(
            description="images, targets (1, 0, NaN), label_names, optional ids, groups, split, source; or images and "
            "the like by split: train_images, train_targets, …"
        ),
    ] = None,
) -> LabelTable:
    """Your own images in one .npz file: uint8 images, targets of 1, 0 or NaN, and label names.

    Either all rows together, with an optional array ``split`` of train, val and test, or arrays by split, whose names
    begin with ``train_``, ``val_`` and ``test_``. Without any split the split is by group with the split seed; without
    ``val`` it is taken out of ``train``.

    Raises:
        InputError: the file, an array's name, shape or type, or a target is wrong.
    """
    if file is None:
        key, example = context.option("file"), context.option("file", "images.npz")
        raise InputError(f"the dataset 'npz' needs {key}: add {example}")
    arrays = read_npz(file)
    prefixes = [f"{split}_" for split in SPLITS if f"{split}_images" in arrays] or [""]
    _check_names(arrays, prefixes, file)
    names = _label_names(arrays["label_names"], file)
    parts = {prefix: _part(arrays, prefix, names, file, context.faults) for prefix in prefixes}
    texts = pd.concat([part.texts for part in parts.values()], ignore_index=True)
    return LabelTable(
        name=file.stem,
        label_names=names,
        codes=np.concatenate([part.codes for part in parts.values()]),
        rows=pd.DataFrame(
            {
                "id": texts["ids"],
                "group": texts["groups"],
                "source": texts["source"],
                "line": np.arange(1, len(texts) + 1),
            }
        ),
        where=str(file),
        pixels=join_pixels({f"{prefix}images": part.pixels for prefix, part in parts.items()}, file),
        splits=_splits(arrays, {prefix: len(part.codes) for prefix, part in parts.items()}, file),
    )


def _check_names(arrays: Arrays, prefixes: list[str], file: Path) -> None:
    needed = [f"{prefix}{name}" for prefix in prefixes for name in NEEDED] + ["label_names"]
    absent = [name for name in needed if name not in arrays]
    if absent:
        raise InputError(
            f"{file} has no array {first_few(absent)}; it holds {first_few(arrays, most=12) or 'nothing'}. It needs "
            "label_names, and images and targets or train_images, train_targets and so on."
        )
    grouped = [prefix for prefix in prefixes if f"{prefix}groups" in arrays]
    if 0 < len(grouped) < len(prefixes):
        raise InputError(f"{file} has groups for {first_few(grouped)} only; give them for every split, or for none")
    allowed = [*needed, *(f"{prefix}{name}" for prefix in prefixes for name in TEXTS)]
    allowed += ["split"] if prefixes == [""] else []
    for name in arrays:
        if name not in allowed:  # a misspelt 'groups' would put patients into two splits
            raise InputError(f"{file} holds an array '{name}' that is not known: {suggest(name, allowed)}")


def _label_names(array: npt.NDArray[Any], file: Path) -> tuple[str, ...]:
    if array.dtype.kind != "U" or array.ndim != 1 or array.size == 0:
        raise InputError(f"{file}: label_names is {array.dtype} of shape {array.shape}; it must be text of shape (C,)")
    names: list[str] = array.tolist()
    if len(set(names)) < len(names) or "" in names:
        raise InputError(f"{file}: label_names holds a name twice, or an empty one: {first_few(names, most=12)}")
    return tuple(names)


def _part(arrays: Arrays, prefix: str, names: tuple[str, ...], file: Path, faults: Faults) -> Part:
    pixels = check_pixels(arrays[f"{prefix}images"], f"{prefix}images", file)
    targets = arrays[f"{prefix}targets"]
    if targets.dtype.kind not in "biuf" or targets.shape != (len(pixels), len(names)):
        raise InputError(
            f"{file}: the array '{prefix}targets' is {targets.dtype} of shape {targets.shape}; it must be numbers of "
            f"shape ({len(pixels)}, {len(names)}): a row per image, a column per name in label_names"
        )
    count = len(pixels)
    ids = _text(arrays, f"{prefix}ids", count, file)
    if ids is None:
        ids = [f"{prefix.replace('_', '-')}{row:06d}" for row in range(count)]
    columns = {
        "ids": ids,
        "groups": _text(arrays, f"{prefix}groups", count, file) or ids,
        "source": _text(arrays, f"{prefix}source", count, file) or [file.stem] * count,
    }
    return Part(pixels, _codes(targets, names, f"{file}, {prefix}targets", faults), pd.DataFrame(columns, dtype=object))


def _text(arrays: Arrays, name: str, count: int, file: Path) -> list[str] | None:
    if name not in arrays:
        return None
    array = arrays[name]
    if array.dtype.kind not in "Uiu" or array.shape != (count,):
        raise InputError(
            f"{file}: the array '{name}' is {array.dtype} of shape {array.shape}; it must be text or whole numbers of "
            f"shape ({count},)"
        )
    values: list[str] = array.astype(str).tolist()
    if "" in values:
        raise InputError(f"{file}: the array '{name}' is empty in row {values.index('') + 1}")
    return values


def _codes(targets: npt.NDArray[Any], names: tuple[str, ...], where: str, faults: Faults) -> npt.NDArray[np.int8]:
    known = (targets == 0) | (targets == 1)
    report_wrong(targets, ~known & ~np.isnan(targets), names, where, "0, 1, NaN", faults, what="target", first_row=1)
    return np.where(known, targets, UNKNOWN).astype(np.int8)


def _splits(arrays: Arrays, counts: Mapping[str, int], file: Path) -> dict[str, IntArray] | None:
    if "" not in counts:
        parts = np.repeat([prefix.removesuffix("_") for prefix in counts], list(counts.values()))
        return {split: np.flatnonzero(parts == split) for split in SPLITS if f"{split}_" in counts}
    column = _text(arrays, "split", counts[""], file)
    if column is None:
        return None
    return split_by_column(pd.Series(column, index=range(1, len(column) + 1)), str(file))
