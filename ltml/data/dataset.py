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
    """Reader of pixels by row number; picklable, so that worker processes can receive one."""

    in_memory: bool

    def read(self, row: int) -> UInt8Array:
        """Return the pixels of one row, uint8 ``(H, W, channels)``; raise UnreadableImageError."""
        ...

    def files(self, row: int) -> list[Path]:
        """Return the files of one row; none if images do not come from files."""
        ...

    def stored(self, row: int) -> UInt8Array | None:
        """Return the original pixels of one row of an array; None if images come from files."""
        ...

    def digests(self, rows: IntArray) -> Digests:
        """Return hashes of the content of rows' images, independent of paths, uint64 ``(n, images per row)``."""
        ...


@dataclass(frozen=True)
class Published:
    """Published label counts of a dataset version beside the counts in this copy.

    Attributes:
        source: name of the dataset.
        version: version of its labels.
        splits: splits of the data that the counts refer to; empty for all rows.
        expected: published counts by quantity, e.g. ``"images"`` or ``"positives of Hernia"``.
        found: counts in this copy.
    """

    source: str
    version: str
    splits: tuple[str, ...]
    expected: Mapping[str, int]
    found: Mapping[str, int]

    @property
    def differences(self) -> dict[str, tuple[int, int]]:
        """Return published and found counts where they differ."""
        pairs = {name: (count, self.found[name]) for name, count in self.expected.items()}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class Units:
    """The units that predictions are made for if they are not single rows, e.g. patients for a dataset of eyes.

    Attributes:
        ids: text ``(U,)``, unique.
        codes: int8 ``(U, C)``, labels of the unit: 1, 0, or -1 where unknown.
        of_row: the unit of each row, ``(N,)``; all rows of a unit belong to one group.
        choice: int8 ``(U, C)``, how a unit's probability follows from those of its rows: 1 the highest, -1 the lowest,
            0 the mean; None for the mean everywhere.
    """

    ids: ObjectArray
    codes: Codes
    of_row: IntArray
    choice: Codes | None = None

    def choose(self, rows: IntArray) -> Units:
        """Return the units of some rows only."""
        return replace(self, of_row=self.of_row[rows])

    def keep_labels(self, kept: Any) -> Units:
        """Return the units with some labels only."""
        return replace(self, codes=self.codes[:, kept], choice=None if self.choice is None else self.choice[:, kept])


@dataclass(frozen=True)
class Dataset:
    """A table of images with partial labels and a split.

    Attributes:
        name: dataset name.
        label_names: the ``C`` labels, in column order.
        table: one row per image: ``id`` (unique text), ``group`` (patient), ``source``, and ``image`` (path as listed)
            if images are files.
        targets: uint8 ``(N, C)``, 0 or 1; 0 where unknown.
        known: bool ``(N, C)``.
        splits: row numbers by split name; ``train``, ``val`` and ``test`` at least.
        images: reader of the pixels of a row.
        units: units that predictions are made for; None for single rows.
        images_per_row: number of images whose channels are concatenated in the pixels of a row.
        left_out: number of rows that each rule left out.
        published: published label counts, one entry per known version and source.
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
        """Count known positives per class in a split, int64 ``(C,)``."""
        rows = self.splits[split]
        counts: IntArray = (self.targets[rows] * self.known[rows]).sum(axis=0, dtype=np.int64)
        return counts

    def known_counts(self, split: str = "train") -> IntArray:
        """Count known entries per class in a split, int64 ``(C,)``."""
        counts: IntArray = self.known[self.splits[split]].sum(axis=0, dtype=np.int64)
        return counts

    def masked_targets(self, split: str) -> npt.NDArray[np.float64]:
        """Return float64 targets of a split ``(n, C)`` with NaN where unknown."""
        rows = self.splits[split]
        return np.where(self.known[rows], self.targets[rows], np.nan).astype(np.float64)

    def ids(self, split: str) -> ObjectArray:
        """Return the ids of a split, in order."""
        return self.table["id"].to_numpy(dtype=object)[self.splits[split]]

    def split_table(self) -> pd.DataFrame:
        """Return columns ``id`` and ``split``, in split order, and ``unit`` if predictions are made for units."""
        parts = [pd.DataFrame({"id": self.ids(split), "split": split}) for split in self.splits]
        table = pd.concat(parts, ignore_index=True)
        if self.units is None:
            return table
        rows = np.concatenate(list(self.splits.values()))
        return table.assign(unit=self.units.ids[self.units.of_row[rows]])

    @cached_property
    def image_digests(self) -> Digests:
        """Return hashes of all images, uint64 ``(N, images per row)``: the bytes of files, pixels of arrays."""
        return self.images.digests(np.arange(len(self.table)))

    def fingerprint(self) -> str:
        """Return a SHA-256 over the table and the content of every image, not over the images' paths."""
        return hashlib.sha256(self.table_fingerprint.encode() + self.image_digests.tobytes()).hexdigest()

    @cached_property
    def table_fingerprint(self) -> str:
        """Return a SHA-256 over ids, groups, sources as a partition, labels and splits, not over file names."""
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
