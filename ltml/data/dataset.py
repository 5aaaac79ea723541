"""A dataset: a table of images with labels and splits, and the reader of their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.arrays import BoolArray, Codes, Digests, IntArray, ObjectArray, UInt8Array


class ImageReader(Protocol):
    """Pixels by row number; picklable, so that worker processes can hold one."""

    in_memory: bool

    def read(self, row: int) -> UInt8Array:
        """Pixels of one row, uint8 ``(H, W, channels)``; raises UnreadableImageError."""
        ...

    def files(self, row: int) -> list[Path]:
        """The files of one row; none where images do not come from files."""
        ...

    def stored(self, row: int) -> UInt8Array | None:
        """Pixels of one row as they came in an array; None where images come from files."""
        ...

    def digests(self, rows: IntArray) -> Digests:
        """Hashes of what the images of rows hold, wherever they lie: uint64 ``(n, images per row)``."""
        ...


@dataclass(frozen=True)
class Published:
    """What is published of a dataset's labels, beside what this copy holds.

    Attributes:
        source: name of the dataset.
        version: of its labels.
        splits: the splits, as the data give them, that the counts are of; empty for all rows.
        expected: published counts by what is counted, e.g. ``"images"`` or ``"positives of Hernia"``.
        found: the same in this copy.
    """

    source: str
    version: str
    splits: tuple[str, ...]
    expected: Mapping[str, int]
    found: Mapping[str, int]

    @property
    def differences(self) -> dict[str, tuple[int, int]]:
        """Published and found counts where they differ."""
        pairs = {name: (count, self.found[name]) for name, count in self.expected.items()}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class Units:
    """What predictions are made for where that is not the single row, e.g. the patient for a dataset of eyes.

    Attributes:
        ids: text ``(U,)``, unique.
        codes: int8 ``(U, C)``, labels of the unit: 1, 0, or -1 where unknown.
        of_row: the unit of each row, ``(N,)``; all rows of a unit belong to one group.
        choice: int8 ``(U, C)``, what a unit's probability is of those of its rows: 1 the highest, -1 the lowest, 0 the
            mean; None for the mean everywhere.
    """

    ids: ObjectArray
    codes: Codes
    of_row: IntArray
    choice: Codes | None = None

    def choose(self, rows: IntArray) -> Units:
        """The same units, for some rows only."""
        return replace(self, of_row=self.of_row[rows])

    def keep_labels(self, kept: Any) -> Units:
        """The same units, for some labels only."""
        return replace(self, codes=self.codes[:, kept], choice=None if self.choice is None else self.choice[:, kept])


@dataclass(frozen=True)
class Dataset:
    """A table of images with partial labels and a split.

    Attributes:
        name: dataset name.
        label_names: the ``C`` labels, in column order.
        table: one row per image: ``id`` (unique text), ``group`` (patient), ``source``, and ``image`` (path as listed)
            where images are files.
        targets: uint8 ``(N, C)``, 0 or 1; 0 where unknown.
        known: bool ``(N, C)``.
        splits: row numbers by split name; ``train``, ``val`` and ``test`` at least.
        images: reader of the pixels of a row.
        units: what predictions are made for; None for the row itself.
        images_per_row: images whose channels follow each other in the pixels of a row.
        left_out: how many rows each named rule left out.
        published: what is published of its labels, one entry per known version and source.
        label_files: SHA-256 by name of the files that labels and splits were read from.
        novel: by label that is held out of training, its codes int8 per row (or unit): 1, 0, or -1 where unknown.
    """

    name: str
    label_names: tuple[str, ...]
    table: pd.DataFrame
    targets: UInt8Array
    known: BoolArray
    splits: Mapping[str, IntArray]
    images: ImageReader
    units: Units | None = None
    images_per_row: int = 1
    left_out: Mapping[str, int] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    label_files: Mapping[str, str] = field(default_factory=dict)
    novel: Mapping[str, Codes] = field(default_factory=dict)

    def class_counts(self, split: str = "train") -> IntArray:
        """Known positives per class in a split, int64 ``(C,)``."""
        rows = self.splits[split]
        counts: IntArray = (self.targets[rows] * self.known[rows]).sum(axis=0, dtype=np.int64)
        return counts

    def known_counts(self, split: str = "train") -> IntArray:
        """Known entries per class in a split, int64 ``(C,)``."""
        counts: IntArray = self.known[self.splits[split]].sum(axis=0, dtype=np.int64)
        return counts

    def masked_targets(self, split: str) -> npt.NDArray[np.float64]:
        """Float64 targets of a split ``(n, C)`` with NaN where unknown."""
        rows = self.splits[split]
        return np.where(self.known[rows], self.targets[rows], np.nan).astype(np.float64)

    def ids(self, split: str) -> ObjectArray:
        """Ids of a split, in order."""
        return self.table["id"].to_numpy(dtype=object)[self.splits[split]]

    def split_table(self) -> pd.DataFrame:
        """Columns ``id`` and ``split``, in split order, and ``unit`` where predictions are made for units."""
        parts = [pd.DataFrame({"id": self.ids(split), "split": split}) for split in self.splits]
        table = pd.concat(parts, ignore_index=True)
        if self.units is None:
            return table
        rows = np.concatenate(list(self.splits.values()))
        return table.assign(unit=self.units.ids[self.units.of_row[rows]])

    @cached_property
    def image_digests(self) -> Digests:
        """Hashes of the images of every row, uint64 ``(N, images per row)``: the bytes of files, pixels of arrays."""
        return self.images.digests(np.arange(len(self.table)))

    def fingerprint(self) -> str:
        """SHA-256 over the table and what every image holds; not over where the images lie."""
        return hashlib.sha256(self.table_fingerprint.encode() + self.image_digests.tobytes()).hexdigest()

    @cached_property
    def table_fingerprint(self) -> str:
        """SHA-256 over ids, groups, which rows share a source, labels and splits; not over names of files."""
        digest = hashlib.sha256(repr(self.label_names).encode())
        for column in ("id", "group"):
            digest.update("\x00".join(self.table[column].fillna("").astype(str)).encode())
        digest.update(pd.factorize(self.table["source"])[0].astype(np.int64).tobytes())
        digest.update(np.packbits(self.targets.astype(bool)).tobytes())
        digest.update(np.packbits(self.known).tobytes())
        if self.units is not None:
            digest.update("\x00".join(self.units.ids).encode() + self.units.codes.tobytes())
            digest.update(np.ascontiguousarray(self.units.of_row, dtype=np.int64).tobytes())
            digest.update(b"" if self.units.choice is None else self.units.choice.tobytes())
        for name, codes in self.novel.items():
            digest.update(name.encode() + codes.tobytes())
        for split, rows in self.splits.items():
            digest.update(split.encode() + np.ascontiguousarray(rows, dtype=np.int64).tobytes())
        return digest.hexdigest()
