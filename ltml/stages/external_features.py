"""Read a user's own embeddings from ``.npz`` files; features are memory-mapped rather than read."""

from __future__ import annotations

import errno
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib import format as npy

from ltml.arrays import Digests, FloatArray, IntArray, UInt8Array
from ltml.data.dataset import Dataset
from ltml.errors import InputError, brief, first_few, shown
from ltml.files import hash_file
from ltml.near_names import fold_id, fold_name, is_missing, near_misses
from ltml.types import FeatureSet

DAMAGED = (zipfile.BadZipFile, zlib.error, tokenize.TokenError, UnicodeDecodeError, NotImplementedError)
"""Exceptions of numpy and zipfile for a damaged archive, besides OSError and ValueError."""
MAX_FEATURE = 1e15
"""Largest absolute value of a feature; sums of squares then stay far within float32."""
NEEDED = ("features", "targets", "label_names")
"""Names of the arrays that every file must have."""
OPTIONAL = ("known", "ids", "groups")
"""Names of the arrays that a file may have."""
SINGULAR = {"groups": "group", "ids": "id", "known": "known"}
"""Name of each optional array in `near_misses`."""
OTHER_NAMES = {
    "features": ("features", "x", "feature", "feats", "embedding", "embeddings", "vectors", "representations"),
    "targets": ("targets", "y", "target", "label", "labels", "truth"),
    "label_names": ("labelnames", "labelname", "names", "classes", "classnames", "labels", "columns"),
}
"""Other usual names of the needed arrays, without case, blanks and underscores."""
PART_BYTES = 1 << 25
"""Number of bytes of features that are read, checked or unpacked at a time."""


@dataclass(frozen=True)
class FeatureFile:
    """Content of the file of one split.

    Attributes:
        path: path of the file.
        label_names: the ``C`` labels.
        store: features, targets, known, ids.
        groups: patient of each row, text ``(N,)``; the ids if the file has no groups.
        has_groups: whether the file has groups.
    """

    path: Path
    label_names: tuple[str, ...]
    store: FeatureSet
    groups: npt.NDArray[np.object_]
    has_groups: bool


class NoImages:
    """Image reader of a dataset without images, of which stage 2 needs the features only.

    Args:
        files: hash of the feature file of every row, uint64 ``(N,)``.
    """

    in_memory = True

    def __init__(self, files: Digests) -> None:
        self._files = files

    def read(self, row: int) -> UInt8Array:
        """Raise: nothing that runs on feature files reads images."""
        raise NotImplementedError(f"row {row} is a feature, not an image")

    def files(self, row: int) -> list[Path]:  # noqa: ARG002
        """Return no files."""
        return []

    def stored(self, row: int) -> UInt8Array | None:  # noqa: ARG002
        """Return None: no pixels are stored."""
        return None

    def digests(self, rows: IntArray) -> Digests:
        """Return the hashes of the feature files of rows, uint64 ``(n, 1)``."""
        return self._files[rows, None]


def read_feature_file(path: Path, split: str) -> FeatureFile:
    """Read an ``.npz`` with ``features`` ``(N, C, D)`` or ``(N, D)``, ``targets`` ``(N, C)`` and ``label_names``.

    Targets are 0, 1 or NaN (unknown), or ``known`` ``(N, C)`` says which count. Optional are ``ids`` and ``groups``,
    text or numbers ``(N,)``.

    Raises:
        InputError: the file cannot be read, or an array is missing, not allowed, or has almost the name of one that is
            read.
    """

    def refuse(problem: str) -> NoReturn:
        raise InputError(f"the feature file {path}: {problem}")

    arrays = _read_arrays(path, refuse)
    features, names = arrays["features"], tuple(_names(arrays["label_names"], "label_names", refuse).tolist())
    if features.ndim not in (2, 3) or features.dtype.kind not in "fiu" or features.shape[-1] == 0:
        refuse(f"features must be numbers (N, C, D) or (N, D), not {features.dtype} of shape {features.shape}")
    if odd := [name for name in names if name != " ".join(name.split()) or not name]:
        refuse(f"label_names must be plain text without line breaks or blanks around it, not {shown(odd[0])}")
    count, classes = len(features), len(names)
    targets = _read_targets(arrays, refuse)
    if targets.shape != (count, classes) or (features.ndim == 3 and features.shape[1] != classes):
        refuse(f"{classes} label_names, features {features.shape} and targets {targets.shape} do not fit together")
    if len(set(names)) < classes or count == 0:
        refuse("label_names holds a name twice" if count else "it has no rows")
    known = ~np.isnan(targets)
    ids = _names(arrays.get("ids", np.array([f"{split}-{row}" for row in range(count)])), "ids", refuse)
    groups = _names(arrays["groups"], "groups", refuse) if "groups" in arrays else ids
    if len(ids) != count or len(groups) != count:
        refuse(f"it has {count} rows but {len(ids)} ids and {len(groups)} groups")
    if (row := _first_odd_row(features, known if split == "train" else np.ones_like(known))) is not None:
        refuse(
            f"features hold NaN, infinity, or numbers too large for float32 to square (beyond {MAX_FEATURE:.0e}), "
            f"first in row {row + 1}, id '{ids[row]}'"
        )
    values = np.nan_to_num(targets).astype(np.uint8)
    return FeatureFile(path, names, FeatureSet(features, values, known, ids), groups, "groups" in arrays)


def _first_odd_row(features: npt.NDArray[Any], used: npt.NDArray[np.bool_]) -> int | None:
    """Return the first row with a used feature that is not finite or larger than `MAX_FEATURE`."""
    step = max(1, PART_BYTES // (8 * max(features[0].size, 1)))
    for start in range(0, len(features), step):
        part = features[start : start + step].astype(np.float64)
        odd = (~(np.abs(part) <= MAX_FEATURE)).any(axis=-1)  # NaN compares as False
        mask = used[start : start + step]
        rows = (odd & mask).any(axis=1) if odd.ndim == 2 else odd & mask.any(axis=1)
        if rows.any():
            return start + int(rows.argmax())
    return None


def join_feature_files(files: Mapping[str, FeatureFile]) -> Dataset:
    """Join the files of all splits into one dataset without images.

    Raises:
        InputError: labels or shapes differ, an id occurs twice, a group is in two splits (however it is written), or
            only some files have groups.
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
    _check_apart(table, "group", files)
    _check_apart(table, "id", files)
    without = [file.path for file in files.values() if not file.has_groups]
    if 0 < len(without) < len(files):
        raise InputError(
            f"{first_few(without)} has no array `groups`, but another split has, so a patient in both would go "
            "unnoticed. Give groups for all splits, or for none"
        )
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


def _check_apart(table: pd.DataFrame, column: str, files: Mapping[str, FeatureFile]) -> None:
    """Raise if an id or a group is in two splits, or is written in two ways (``7`` and ``7.0``).

    Raises:
        InputError: names them.
    """
    distinct = table[[column, "split"]].drop_duplicates()
    distinct = distinct.assign(fold=distinct[column].map(fold_id))
    if column == "id":
        distinct = distinct.drop_duplicates(["fold", "split"])
    repeated = distinct["fold"][distinct["fold"].duplicated()]
    if not len(repeated):
        return
    both = distinct[distinct["fold"] == repeated.iloc[0]]
    (name, other), (split, second) = both[column].iloc[:2], both["split"].iloc[:2]
    if name == other:
        raise InputError(f"{column}s are in more than one split: {brief(name)} is in {split} and {second}")
    where = " and ".join(dict.fromkeys(str(files[part].path) for part in (split, second)))
    raise InputError(
        f"{where}: the {column}s {shown(name)} and {shown(other)} differ only in case, blanks, leading zeros or a "
        "'.0'. Write the same one alike everywhere, and different ones more differently"
    )


def _read_arrays(path: Path, refuse: Any) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a file; features are memory-mapped as native float32, float64 or float16."""
    if path.is_file() and not zipfile.is_zipfile(path):
        raise InputError(f"the feature file {path} is not an .npz (numpy.savez writes them)")
    try:
        with np.load(path) as archive:
            _check_array_names(archive.files, refuse)
            arrays = {name: archive[name] for name in (*NEEDED, *OPTIONAL) if name in archive and name != "features"}
        return arrays | {"features": _map_features(path)}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        hint = ": text must be stored as numpy text, not as objects" if "pickle" in str(error) else ""
        raise InputError(
            f"cannot read the feature file {path} ({error}){hint}; it must be an .npz (numpy.savez writes them)"
        ) from error


def _check_array_names(names: list[str], refuse: Any) -> None:
    """Raise if a file lacks an array, or has one with almost the name of one that is read."""
    others = [name for name in names if name not in (*NEEDED, *OPTIONAL)]
    plain = {name: fold_name(name).replace("_", "").replace("-", "") for name in others}
    if missing := [name for name in NEEDED if name not in names]:
        near = {wanted: [name for name in others if plain[name] in OTHER_NAMES[wanted]] for wanted in missing}
        hints = "".join(f"; is {shown(found[0])} meant as {wanted}?" for wanted, found in near.items() if found)
        refuse(f"it lacks {', '.join(missing)}; needed are {', '.join(NEEDED)}, optional {', '.join(OPTIONAL)}{hints}")
    for name, wanted in SINGULAR.items():
        near_ones = [other for other in _near(others, wanted) if name not in names or fold_name(other) == name]
        if near_ones:
            remedy = f"the file has {name} too, keep one" if name in names else f"rename it to {name}, or remove it"
            refuse(f"the array {shown(near_ones[0])} is not read: {remedy}")
    if splits := _near(others, "split"):
        refuse(f"the array {shown(splits[0])} is not read: give one file per split (--features, --val, --test)")


def _near(names: list[str], wanted: str) -> list[str]:
    return [name for name in names if name == wanted or near_misses([name], wanted)]


def _map_features(path: Path) -> FloatArray:
    """Memory-map features inside the archive; compressed, integer or byte-swapped ones are unpacked to a temporary file
    a part at a time and mapped there.
    """
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("features.npy")
        with archive.open(member) as file:
            version = npy.read_magic(file)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, by_column, dtype = read_header(file)
            if dtype.hasobject:
                raise ValueError("features are objects, which only pickle could read")
            order: Any = "F" if by_column else "C"
            start = file.tell()
            plain = member.compress_type == zipfile.ZIP_STORED and dtype == _own(dtype)
            if 0 in shape or dtype.kind not in "fiu":
                return np.empty(shape, dtype)
            if not plain:
                return _unpack(file, dtype, shape, order)
            while file.read(PART_BYTES):  # to the end, where zipfile compares the archive's checksum
                pass
    with path.open("rb") as whole:
        whole.seek(member.header_offset + 26)
        lengths = np.frombuffer(whole.read(4), dtype="<u2").astype(int)
    offset = member.header_offset + 30 + int(lengths.sum()) + start
    return np.memmap(path, dtype, "r", offset, shape, order)


def _own(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the native float type of features."""
    if dtype.kind != "f":
        return np.dtype(np.float32)
    return dtype.newbyteorder("=") if dtype.itemsize <= 8 else np.dtype(np.float64)


def _unpack(packed: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> FloatArray:
    """Map numbers in a temporary file, which is deleted with the last reference to the map."""
    with tempfile.TemporaryFile(prefix="ltml-features-") as file:
        while part := packed.read(PART_BYTES // dtype.itemsize * dtype.itemsize):
            file.write(np.frombuffer(part, dtype=dtype).astype(_own(dtype)).tobytes())
        file.flush()
        return np.memmap(file, _own(dtype), "r", shape=shape, order=order)


def _read_targets(arrays: Mapping[str, npt.NDArray[Any]], refuse: Any) -> npt.NDArray[np.float64]:
    """Return targets, NaN where they are NaN or `known` is false."""
    targets, known = _numbers(arrays["targets"], "targets", refuse), arrays.get("known")
    if known is not None:
        mask = _numbers(known, "known", refuse)
        if mask.shape != targets.shape or not np.isin(mask, (0, 1)).all():
            refuse(f"known must be true or false {targets.shape} as targets, not {known.dtype} of shape {known.shape}")
        if np.isnan(targets[mask == 1]).any():
            refuse("known is true where targets are NaN; correct one of them")
        targets = np.where(mask == 1, targets, np.nan)
    strange = sorted(set(targets[~np.isnan(targets)]) - {0.0, 1.0})
    if strange:
        hint = " (-1: uncertain or unknown? write NaN, never a negative)" if -1.0 in strange else ""
        refuse(f"targets must be 0, 1 or NaN, not {first_few(strange)}{hint}")
    return targets


def _numbers(values: npt.NDArray[Any], what: str, refuse: Any) -> npt.NDArray[np.float64]:
    if values.dtype.kind not in "fiub":
        refuse(f"{what} must be numbers, not {values.dtype}")
    numbers: npt.NDArray[np.float64] = values.astype(np.float64)
    return numbers


def _names(values: npt.NDArray[Any], what: str, refuse: Any) -> npt.NDArray[np.object_]:
    """Return names as text ``(N,)``, whole numbers without ``.0``; raise if one is empty."""
    if values.ndim != 1:
        refuse(f"{what} must have one dimension, not the shape {values.shape}")
    if values.dtype.kind not in "USTiufb":
        refuse(f"{what} must be text or numbers, not {values.dtype}")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.round(values))
        texts = [str(int(value)) if is_whole else str(value) for value, is_whole in zip(values, whole, strict=True)]
        values = np.array(texts)
    names: npt.NDArray[np.object_] = values.astype(str).astype(object)
    empty = [row for row, name in enumerate(names) if is_missing(name)]
    if empty and what != "label_names":
        refuse(f"{what}[{empty[0]}] is empty ({len(empty)} such); fill it in, or remove the rows")
    return names
