"""Embeddings that people have already, as ``.npz`` files."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.errors import InputError, first_few
from ltml.files import hash_file
from ltml.types import Dataset, Digests, FeatureSet, IntArray, UInt8Array

DAMAGED = (zipfile.BadZipFile, zlib.error, tokenize.TokenError, UnicodeDecodeError, NotImplementedError)
"""What numpy and zipfile raise on a damaged archive, besides the usual."""
NEEDED = ("features", "targets", "label_names")
OPTIONAL = ("ids", "groups")


@dataclass(frozen=True)
class FeatureFile:
    """One split.

    Attributes:
        path: the file.
        label_names: the ``C`` labels.
        store: features, targets, known, ids.
        groups: text ``(N,)``, the patients; the ids where the file has none.
    """

    path: Path
    label_names: tuple[str, ...]
    store: FeatureSet
    groups: npt.NDArray[np.object_]


class NoImages:
    """There are none: what stage 2 needs of the images are their features.

    Args:
        files: hash of the feature file of every row, uint64 ``(N,)``.
    """

    in_memory = True

    def __init__(self, files: Digests) -> None:
        self._files = files

    def read(self, row: int) -> UInt8Array:
        """Never called: nothing that reads images runs on feature files."""
        raise NotImplementedError(f"row {row} is a feature, not an image")

    def files(self, row: int) -> list[Path]:  # noqa: ARG002
        """None."""
        return []

    def stored(self, row: int) -> UInt8Array | None:  # noqa: ARG002
        """None."""
        return None

    def digests(self, rows: IntArray) -> Digests:
        """Hashes of the feature files of rows, uint64 ``(n, 1)``."""
        return self._files[rows, None]


def read_feature_file(path: Path, split: str) -> FeatureFile:
    """Read an ``.npz`` with ``features`` ``(N, C, D)`` or ``(N, D)``, ``targets`` ``(N, C)`` and ``label_names``.

    Targets are 0, 1 or NaN (unknown). Optional are ``ids`` and ``groups``, text or numbers ``(N,)``.

    Raises:
        InputError: the file cannot be read, or something in it is missing or not allowed.
    """
    arrays = _read_arrays(path)

    def refuse(problem: str) -> NoReturn:
        raise InputError(f"the feature file {path}: {problem}")

    if missing := [name for name in NEEDED if name not in arrays]:
        refuse(f"it lacks {', '.join(missing)}; it needs {', '.join(NEEDED)}, and may have {', '.join(OPTIONAL)}")
    features, names = arrays["features"], tuple(_names(arrays["label_names"], refuse).tolist())
    if features.ndim not in (2, 3) or features.dtype.kind not in "fiu" or features.shape[-1] == 0:
        refuse(f"features must be numbers (N, C, D) or (N, D), not {features.dtype} of shape {features.shape}")
    if odd := [name for name in names if name != " ".join(name.split()) or not name]:
        refuse(f"label_names must be plain text without line breaks or blanks around it, not {odd[0]!r}")
    count, classes = len(features), len(names)
    targets = _numbers(arrays["targets"], refuse)
    if targets.shape != (count, classes) or (features.ndim == 3 and features.shape[1] != classes):
        refuse(f"{classes} label_names, features {features.shape} and targets {targets.shape} do not fit together")
    if len(set(names)) < classes or count == 0:
        refuse("label_names holds a name twice" if count else "it has no rows")
    known = ~np.isnan(targets)
    if not bool(np.isin(targets[known], (0, 1)).all()):
        refuse(f"targets must be 0, 1 or NaN, not {first_few(sorted(set(targets[known]) - {0.0, 1.0}))}")
    needed = features if split != "train" else features[known if features.ndim == 3 else known.any(axis=1)]
    with np.errstate(over="ignore"):
        finite = bool(np.isfinite(needed.astype(np.float32)).all())
    if not finite:
        refuse("features hold NaN, infinity, or numbers too large for float32")
    ids = _names(arrays.get("ids", np.array([f"{split}-{row}" for row in range(count)])), refuse)
    groups = _names(arrays.get("groups", ids), refuse)
    if len(ids) != count or len(groups) != count:
        refuse(f"it has {count} rows but {len(ids)} ids and {len(groups)} groups")
    values = np.nan_to_num(targets).astype(np.uint8)
    native = features.astype(features.dtype.newbyteorder("=") if features.dtype.kind == "f" else np.float32, copy=False)
    return FeatureFile(path, names, FeatureSet(native, values, known, ids), groups)


def join_feature_files(files: Mapping[str, FeatureFile]) -> Dataset:
    """The files of all splits as one dataset without images.

    Raises:
        InputError: labels or shapes differ, an id is there twice, or a group is in two splits.
    """
    first, *others = files.values()
    for other in others:
        shapes = [file.store.features.shape[1:] for file in (first, other)]
        if first.label_names != other.label_names or shapes[0] != shapes[1]:
            raise InputError(
                f"{first.path} and {other.path} do not fit together: labels {first_few(first.label_names)} and "
                f"{first_few(other.label_names)}, features of shape {shapes[0]} and {shapes[1]}"
            )
    parts = {
        split: pd.DataFrame({"id": file.store.ids, "group": file.groups, "split": split})
        for split, file in files.items()
    }
    table = pd.concat(parts.values(), ignore_index=True).assign(source="features")
    if table["id"].duplicated().any():
        raise InputError(f"ids appear more than once: {first_few(table['id'][table['id'].duplicated()].unique())}")
    crossing = table.groupby("group")["split"].nunique()
    if (crossing > 1).any():
        raise InputError(f"groups are in more than one split: {first_few(crossing[crossing > 1].index)}")
    digests = [hash_file(file.path) for file in files.values()]
    if len(set(digests)) < len(digests):
        raise InputError(
            f"the same features are given for more than one of {', '.join(files)}; every split needs its own"
        )
    hashes = np.array([int(digest[:16], 16) for digest in digests], dtype=np.uint64)
    return Dataset(
        name=f"features:{','.join(digests)}",
        label_names=first.label_names,
        table=table.drop(columns="split"),
        targets=np.concatenate([file.store.targets for file in files.values()]),
        known=np.concatenate([file.store.known for file in files.values()]),
        splits={split: np.flatnonzero(table["split"] == split) for split in files},
        images=NoImages(np.repeat(hashes, [len(file.groups) for file in files.values()])),
    )


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    if path.is_file() and not zipfile.is_zipfile(path):
        raise InputError(f"the feature file {path} is not an .npz (numpy.savez writes them)")
    try:
        with np.load(path) as archive:
            return {name: archive[name] for name in (*NEEDED, *OPTIONAL) if name in archive}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, *DAMAGED) as error:
        hint = ": text must be stored as numpy text, not as objects" if "pickle" in str(error) else ""
        raise InputError(
            f"cannot read the feature file {path} ({error}){hint}; it must be an .npz (numpy.savez writes them)"
        ) from error


def _numbers(targets: npt.NDArray[Any], refuse: Any) -> npt.NDArray[np.float64]:
    if targets.dtype.kind not in "fiub":
        refuse(f"targets must be numbers, not {targets.dtype}")
    numbers: npt.NDArray[np.float64] = targets.astype(np.float64)
    return numbers


def _names(values: npt.NDArray[Any], refuse: Any) -> npt.NDArray[np.object_]:
    """Text ``(N,)``."""
    if values.ndim != 1:
        refuse(f"label_names, ids and groups must have one dimension, not the shape {values.shape}")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    names: npt.NDArray[np.object_] = values.astype(str).astype(object)
    return names
