"""Turn a dataset's label files into a `Dataset`: the common form of every loader, before images are decoded."""

from __future__ import annotations

import logging
import os
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.arrays import IntArray, UInt8Array
from ltml.data.cache import open_cached
from ltml.data.context import DataContext
from ltml.data.dataset import Dataset, ImageReader, Published, Units
from ltml.data.faults import Fault, Faults
from ltml.data.images import ArrayImages, FileImages, StackedImages
from ltml.data.inspection import inspect_images
from ltml.data.label_codes import UNKNOWN
from ltml.data.near_files import LONGEST_NAME, NearFiles, impossible_path
from ltml.data.splits import (
    SPLITS,
    check_groups_alike,
    check_groups_apart,
    split_by_file,
    split_by_group,
    take_validation,
)
from ltml.errors import InputError, brief, first_few, shown
from ltml.files import hash_file
from ltml.near_names import is_missing
from ltml.registry import DATASETS

log = logging.getLogger(__name__)

PATHS_ARE = "Paths are relative to data.root, or to the label file's folder where the dataset says so."


@dataclass(frozen=True)
class LabelVersion:
    """A published version of a dataset's labels.

    Attributes:
        name: its usual name.
        images: number of rows, or None if that is not published.
        patients: number of distinct groups, or None.
        positives: numbers of positives of some labels.
        splits: splits of the data that the counts refer to; empty for all rows of the label file.
    """

    name: str
    images: int | None = None
    patients: int | None = None
    positives: Mapping[str, int] = field(default_factory=dict)
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelTable:
    """Rows of a dataset as read from its label files.

    Attributes:
        name: name of the dataset.
        label_names: the ``C`` labels.
        codes: int8 ``(N, C)``: 1, 0, or -1 where unknown.
        rows: ``id`` (unique), ``group`` (patient), ``source``, ``image`` (path as listed) where images are files,
            ``line`` in the label file, and ``view``, ``age``, ``sex`` where the dataset has them.
        where: name of the label file in messages.
        label_files: every file that labels or splits were read from; empty for `where` alone.
        paths: the image files, `images_per_row` for each row; empty where `pixels` are given.
        pixels: uint8 ``(N, H, W[, channels])`` of data that come as arrays, in the same order.
        root: folder that must contain all images.
        images_per_row: number of images that form one row, e.g. both eyes.
        splits: row numbers by split of the data; None for a split by group. A missing ``val`` is taken out of ``train``
            by group.
        units: units that predictions are made for, if they are not single rows.
        left_out: number of rows that each rule left out.
        versions: published counts to compare with.
        all_positives: numbers of positives by label over all rows of the label file, for that comparison; None for
            those of `codes`.
        image_size: width and height of the published images, px.
        image_modes: Pillow modes of the published images.
    """

    name: str
    label_names: tuple[str, ...]
    codes: npt.NDArray[np.int8]
    rows: pd.DataFrame
    where: str
    label_files: Sequence[Path] = ()
    paths: Sequence[Path] = ()
    pixels: UInt8Array | None = None
    root: Path | None = None
    images_per_row: int = 1
    splits: Mapping[str, IntArray] | None = None
    units: Units | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    versions: Sequence[LabelVersion] = ()
    all_positives: Mapping[str, int] | None = None
    image_size: tuple[int, int] | None = None
    image_modes: Sequence[str] = ()

    def choose(self, rows: IntArray, rule: str | None = None) -> LabelTable:
        """Return the table with some rows only, in the given order; `rule` names why the others are left out."""
        place = np.full(len(self.rows), -1)
        place[rows] = np.arange(len(rows))
        kept = None
        if self.splits is not None:
            kept = {split: np.sort(place[numbers][place[numbers] >= 0]) for split, numbers in self.splits.items()}
        images = (rows[:, None] * self.images_per_row + np.arange(self.images_per_row)).ravel()
        changed = {
            "codes": self.codes[rows],
            "rows": self.rows.iloc[rows].reset_index(drop=True),
            "paths": [self.paths[i] for i in images.tolist()] if self.paths else (),
            "pixels": None if self.pixels is None else self.pixels[images],
            "splits": kept,
            "units": None if self.units is None else self.units.choose(rows),
            "left_out": {**self.left_out, **({rule: len(self.rows) - len(rows)} if rule else {})},
        }
        return LabelTable(**{**self.__dict__, **changed})


def load_dataset(name: str, context: DataContext, **options: object) -> Dataset:
    """Load a registered dataset and check that each split can be used.

    Raises:
        InputError: an unknown dataset, or data that break a rule of their loader.
    """
    dataset = load_rows(name, context, **options)
    empty = [split for split in SPLITS if len(dataset.splits.get(split, ())) == 0]
    if empty:
        raise InputError(f"dataset '{dataset.name}' has no images for {', '.join(empty)}; every split needs some")
    return dataset


def load_rows(name: str, context: DataContext, **options: object) -> Dataset:
    """Load a registered dataset, whether or not every split has rows; see `load_dataset`."""
    if context.roots and name != "union":
        raise InputError(f"data.roots is for data.type=union; the folder of '{name}' is data.root")
    loaded = DATASETS.get(name)(context, **options)
    if not isinstance(loaded, LabelTable | Dataset):
        raise InputError(f"the loader of '{name}' must return a LabelTable, not {type(loaded).__name__}")
    return to_dataset(loaded, context) if isinstance(loaded, LabelTable) else loaded


def check_form(table: LabelTable) -> None:
    """Check that a table has the documented form, which a new loader may violate.

    Raises:
        InputError: names the attribute, what it is and what it should be.
    """
    count, classes = len(table.rows), len(table.label_names)
    absent = [column for column in ("id", "group", "source") if column not in table.rows]
    images = len(table.paths) if table.pixels is None else len(table.pixels)
    shape = getattr(table.codes, "shape", type(table.codes).__name__)
    problem = ""
    if count == 0:
        problem = "no row is left to use"
    elif absent:
        problem = f"rows has no column {', '.join(absent)}; it needs id, group and source"
    elif "split" in table.rows:
        problem = "rows has a column split, which is not read: give row numbers by split as `splits`"
    elif shape != (count, classes):
        problem = f"codes has the shape {shape} where {count} rows and {classes} label_names need {(count, classes)}"
    elif not np.isin(table.codes, (0, 1, UNKNOWN)).all():
        strange = table.codes[~np.isin(table.codes, (0, 1, UNKNOWN))].flat[0]
        problem = f"codes holds {strange}; allowed: 1, 0, or {UNKNOWN} where unknown"
    elif len(set(table.label_names)) < classes:
        problem = f"label_names holds a name twice: {first_few(table.label_names)}"
    elif images != count * table.images_per_row:
        problem = f"{images} images (paths or pixels) where {count} rows need {count * table.images_per_row}"
    if problem:
        raise InputError(f"dataset '{table.name}' ({table.where}): {problem}")


def to_dataset(table: LabelTable, context: DataContext) -> Dataset:
    """Split the rows and make the images readable.

    Raises:
        InputError: images are missing or lie outside of the root, an id is not unique, or a group is in two splits.
    """
    check_form(table)
    published = tuple(_compare(table, version) for version in table.versions)
    label_files = {path.name: hash_file(path) for path in table.label_files or (Path(table.where),) if path.is_file()}
    if not context.labels_only:
        table = _with_readable_images(_with_possible_paths(table, context), context)
    check_ids(table, context.faults)
    if (table.rows["group"] == table.rows["id"]).all():
        log.info("%s: no patients are known: every image is a group of its own, in splits and in tests", table.where)
    else:
        check_groups_alike(_by_line(table, "group"), table.where, context.faults)
    splits = make_splits(table, context)
    listed = np.sort(np.concatenate(list(splits.values())))
    if len(listed) < len(table.rows):
        table = table.choose(listed, "in no list of the split")
        splits = {name: np.searchsorted(listed, rows) for name, rows in splits.items()}
    for rule, count in table.left_out.items():
        log.info("%s: %d row(s) left out: %s", table.where, count, rule)
    check_groups_apart(table.rows["group"], splits, table.where, context.faults)
    return Dataset(
        name=table.name,
        label_names=table.label_names,
        table=table.rows,
        targets=(table.codes == 1).astype(np.uint8),
        known=table.codes >= 0,
        splits=splits,
        images=_reader(table, context),
        units=table.units,
        images_per_row=table.images_per_row,
        left_out=table.left_out,
        published=published,
        label_files=label_files,
    )


def _compare(table: LabelTable, version: LabelVersion) -> Published:
    """Return the published counts of a version beside those of this copy."""
    own = table.splits or {}
    whole = not version.splits
    rows = np.arange(len(table.rows)) if whole else np.concatenate([own[split] for split in version.splits])
    positives: Mapping[str, int] = dict(
        zip(table.label_names, (table.codes[rows] == 1).sum(axis=0).tolist(), strict=True)
    )
    if whole and table.all_positives is not None:
        positives = table.all_positives
    found = {
        "images": len(rows) * table.images_per_row + (sum(table.left_out.values()) if whole else 0),
        "patients": int(table.rows["group"].iloc[rows].nunique()),
    } | {f"positives of {name}": count for name, count in positives.items()}
    published = {"images": version.images, "patients": version.patients} | {
        f"positives of {name}": count for name, count in version.positives.items()
    }
    expected = {name: count for name, count in published.items() if count is not None and name in found}
    return Published(table.name, version.name, version.splits, expected, found)


def make_splits(table: LabelTable, context: DataContext) -> dict[str, IntArray]:
    """Return row numbers by split: from ``data.split.file``, from the data, or by group."""
    if context.split_file is not None:
        return split_by_file(context.split_file, table.rows["id"], context.id_prefix)
    groups, codes = table.rows["group"].tolist(), table.codes if context.stratify else None
    if table.splits is None or not context.given_split:
        return split_by_group(groups, context.ratio, context.seed, codes)
    return take_validation(table.splits, groups, context.ratio, context.seed, codes)


def check_ids(table: LabelTable, faults: Faults) -> None:
    """Report ids that are listed more than once, and rows without an id or a group.

    Raises:
        InputError: names them.
    """
    report_doubled(_by_line(table, "id"), table.where, faults)
    for column, kind in (("id", "row without an id"), ("group", "row without a patient")):
        cells = _by_line(table, column)
        empty = cells[cells.isna() | cells.isin([name for name in cells.unique() if is_missing(str(name))])].fillna("")
        found = [
            Fault(kind, f"{table.where}, line {line}", f"the {column} is {shown(name) if name else 'empty'}")
            for line, name in empty.items()
        ]
        faults.report(found, "Rows of nobody would all be one patient; fill it in, or take them out.")
        faults.report(_odd_letters(cells, column, table.where), "Take such letters out of the name.")


def _by_line(table: LabelTable, column: str) -> pd.Series:
    """Return a column whose index is the line of each row."""
    cells = table.rows[column].to_numpy(dtype=object)
    return pd.Series(cells, index=table.rows.get("line", table.rows.index), dtype=object)


def _odd_letters(cells: pd.Series, column: str, where: str) -> list[Fault]:
    """Return a fault for each cell with control characters, such as a NUL byte or a line break."""
    if "".join(map(str, cells)).isprintable():
        return []
    return [
        Fault("name with an odd letter", f"{where}, line {line}", f"the {column} is {shown(name)}")
        for line, name in cells.items()
        if any(unicodedata.category(letter) == "Cc" for letter in str(name))
    ]


def report_doubled(names: pd.Series, where: str, faults: Faults) -> None:
    """Report names that are listed more than once; the index is the line of each.

    Raises:
        InputError: names them.
    """
    again = names.duplicated()
    first = {name: line for line, name in names[~again & names.duplicated(keep=False)].items()}
    faults.report(
        [
            Fault("listed twice", f"{where}, line {line}, {shown(name, 80)}", f"it is on line {first[name]} already")
            for line, name in names[again].items()
        ],
        advice="Every row needs an id of its own (where there is no id, the image's name is one).",
    )


def _with_possible_paths(table: LabelTable, context: DataContext) -> LabelTable:
    """Return the rows whose paths a file can have; the others are reported."""
    suspects = [n for n, path in enumerate(table.paths) if len(str(path)) > LONGEST_NAME or "\0" in str(path)]
    wrong = {n: reason for n in suspects if (reason := impossible_path(table.paths[n]))}
    if not wrong:
        return table
    faults = [
        Fault("path that no file can have", _place(table, n), f"{reason}: {shown(table.paths[n].name)}")
        for n, reason in wrong.items()
    ]
    if not context.skip_unreadable:
        context.faults.report(faults, "Look whether the columns of the row are shifted or a quote is missing.")
    rows = np.setdiff1d(np.arange(len(table.rows)), np.array(list(wrong)) // table.images_per_row)
    if not len(rows):
        raise InputError(f"{table.where}: no row is left whose path a file can have")
    return table.choose(rows, "path that no file can have")


def _place(table: LabelTable, image: int) -> str:
    """Return the file and line that list an image."""
    row = image // table.images_per_row
    lines = table.rows.get("line", pd.RangeIndex(1, len(table.rows) + 1))
    return f"{table.where}, line {lines[row]}"


def outside(table: LabelTable) -> list[int]:
    """Return the numbers of the images whose paths lead out of the root."""
    if table.root is None:
        return []
    inside = os.path.join(os.path.abspath(table.root), "")
    texts = [os.fspath(path) for path in table.paths]
    suspects = [n for n, text in enumerate(texts) if ".." in text or not text.startswith(inside)]
    return [n for n in suspects if not os.path.abspath(texts[n]).startswith(inside)]


def find_missing(paths: Sequence[Path]) -> list[Path]:
    """Return the image files that are missing or empty."""
    return [path for path in paths if not _size(path)]


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _with_readable_images(table: LabelTable, context: DataContext) -> LabelTable:
    """Return the table without unreadable images if they may be left out; otherwise report them.

    Raises:
        InputError: names images that lie outside of the root, are missing or empty.
    """
    near = NearFiles(table.root or Path())
    out = set(outside(table))
    context.faults.report(
        [_outside(table.paths[n], table, near) for n in sorted(out)],
        advice="List images by their path below data.root, or set data.root to the folder that holds all images.",
    )
    missing = [n for n, path in enumerate(table.paths) if n not in out and not _size(path)]
    if not context.skip_unreadable:
        context.faults.report(
            [_missing_or_empty(n, table, near) for n in missing],
            advice=f"{len(missing)} of {len(table.paths)} images listed in {table.where} are missing or empty files. "
            f"{PATHS_ARE}",
        )
        return table
    bad = {table.paths[n] for n in missing} | set(inspect_images(table.paths, max_pixels=context.max_pixels).unreadable)
    if not bad:
        return table
    log.warning("data.unreadable=skip: %d image(s) skipped: %s", len(bad), first_few(sorted(bad)))
    broken = np.array([path in bad for path in table.paths]).reshape(-1, table.images_per_row).any(axis=1)
    return table.choose(np.flatnonzero(~broken), "missing or unreadable image (data.unreadable=skip)")


def _outside(path: Path, table: LabelTable, near: NearFiles) -> Fault:
    hint = "" if _size(path) else near.hint(path)
    message = f"the image lies outside of {table.root}"
    return Fault("path outside the root", brief(path, 200), f"{message}; {hint}" if hint else message)


def _missing_or_empty(image: int, table: LabelTable, near: NearFiles) -> Fault:
    path = table.paths[image]
    if path.is_file():
        return Fault("empty image file", str(path), "the file is empty")
    if path.is_dir():
        return Fault("missing image", str(path), "it is a folder")
    hint = near.hint(path)
    line = f" ({_place(table, image).rpartition(', ')[2]})" if "line" in table.rows else ""
    return Fault("missing image", brief(path, 200), f"there is no such file{line}" + (f"; {hint}" if hint else ""))


def _reader(table: LabelTable, context: DataContext) -> ImageReader:
    images: ImageReader
    if context.labels_only and table.pixels is None:
        images = FileImages(table.paths, context.size, context.channels, context.max_pixels)
    elif table.pixels is not None:
        images = ArrayImages(table.pixels, context.size, context.channels)
    else:
        files = FileImages(
            table.paths,
            context.size,
            context.channels,
            context.max_pixels,
            published_size=table.image_size,
            published_modes=table.image_modes,
        )
        images = open_cached(files)
    return StackedImages(images, table.images_per_row) if table.images_per_row > 1 else images
