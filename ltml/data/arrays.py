"""Read data that come as arrays: `.npz` files, torchvision's datasets, and their common table."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.arrays import Codes, IntArray, UInt8Array
from ltml.data.context import DataContext
from ltml.data.faults import Faults
from ltml.data.label_codes import UNKNOWN, one_hot, value_fault
from ltml.data.table import LabelTable, LabelVersion
from ltml.errors import InputError, first_line


def read_npz(file: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an `.npz` file by name; pickles are refused.

    Raises:
        InputError: it cannot be read, is no `.npz` file, or holds objects.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file}; give the .npz file")
    if not zipfile.is_zipfile(file):
        raise InputError(f"{file} is not an .npz file (or is damaged); write it with numpy.savez_compressed")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"cannot read {file}: {error}. It must hold plain arrays of numbers and fixed-length text."
        ) from error


def check_pixels(pixels: npt.NDArray[Any], name: str, file: Path) -> UInt8Array:
    """Return the array if it holds images, uint8 ``(N, H, W)`` or ``(N, H, W, 1 or 3)``.

    Raises:
        InputError: another type or shape, or no image at all.
    """
    shaped = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[-1] in (1, 3))
    if pixels.dtype != np.uint8 or not shaped or pixels.size == 0:
        raise InputError(
            f"{file}: the array '{name}' is {pixels.dtype} of shape {pixels.shape}; images are uint8 of "
            "shape (N, H, W), (N, H, W, 1) or (N, H, W, 3)"
        )
    return pixels


def join_pixels(parts: Mapping[str, UInt8Array], file: Path) -> UInt8Array:
    """Concatenate the images of several arrays.

    Raises:
        InputError: they differ in size or channels.
    """
    shapes = {name: pixels.shape[1:] for name, pixels in parts.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{file}: images differ in shape: {', '.join(f'{n} {s}' for n, s in shapes.items())}")
    return np.concatenate(list(parts.values()))


def class_codes(classes: IntArray, count: int, where: str, faults: Faults) -> Codes:
    """Return codes ``(N, C)`` of single-label data; classes outside 0 to C − 1 are reported and become unknown.

    Raises:
        InputError: a class is not allowed, unless faults are collected.
    """
    wrong = (classes < 0) | (classes >= count)
    if wrong.any():
        place = f"{where}, row {np.flatnonzero(wrong)[0]}"
        faults.report([value_fault(place, classes[wrong].tolist(), f"0 to {count - 1}", "class")])
    codes = one_hot(np.where(wrong, 0, classes), count)
    codes[wrong] = UNKNOWN
    return codes


def array_table(
    name: str,
    label_names: Sequence[str],
    parts: Mapping[str, tuple[UInt8Array, Codes]],
    where: Path,
    versions: Sequence[LabelVersion] = (),
) -> LabelTable:
    """Build a table of in-memory images given by split, without patients: every image is a group of its own.

    Args:
        name: of the dataset.
        label_names: the ``C`` labels.
        parts: images ``(n, H, W[, 1 or 3])`` and codes ``(n, C)`` by split; ids are ``train-000000`` and so on.
        where: the file or folder they come from.
        versions: published counts.

    Raises:
        InputError: images of two splits differ in shape, or a split has more images than labels or fewer.
    """
    for split, (images, codes) in parts.items():
        if len(images) != len(codes):
            raise InputError(f"{where}: {split} has {len(images)} images but labels for {len(codes)}")
    pixels = join_pixels({split: images for split, (images, _) in parts.items()}, where)
    counts = {split: len(codes) for split, (_, codes) in parts.items()}
    ids = [f"{split}-{i:06d}" for split, count in counts.items() for i in range(count)]
    ends = np.cumsum(list(counts.values()))
    return LabelTable(
        name=name,
        label_names=tuple(label_names),
        codes=np.concatenate([codes for _, codes in parts.values()]),
        rows=pd.DataFrame({"id": ids, "group": ids, "source": name}),
        where=str(where),
        pixels=pixels,
        splits={split: np.arange(end - counts[split], end) for split, end in zip(counts, ends, strict=True)},
        versions=versions,
    )


def read_torchvision(
    dataset: Callable[..., Any], name: str, context: DataContext, *, download: bool
) -> dict[str, tuple[UInt8Array, IntArray]]:
    """Read images and classes of the official train and test parts.

    Args:
        dataset: a class of ``torchvision.datasets`` that takes a root, ``train`` and ``download``.
        name: the dataset's name for the user.
        context: context whose root contains, or receives, the files.
        download: whether to download missing files.

    Raises:
        InputError: if the files are missing, damaged or cannot be downloaded.
    """
    root = context.need_root(name)
    try:
        parts = {split: dataset(root, train=split == "train", download=download) for split in ("train", "test")}
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        hint = "Check the network." if download else "Put the official files into it, or add data.download=true."
        raise InputError(
            f"data.root {root} does not hold {name} as torchvision.datasets.{dataset.__name__} has it, or a file is "
            f"damaged ({first_line(error)}). {hint}"
        ) from error
    return {split: (np.asarray(part.data), np.asarray(part.targets)) for split, part in parts.items()}
