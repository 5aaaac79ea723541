"""Check without training whether a copy of a dataset is complete and plausible."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltml.data.cache import source_files
from ltml.data.dataset import Dataset, Published
from ltml.data.faults import Fault, Faults
from ltml.data.images import FileImages
from ltml.data.inspection import Inspection, Picture, inspect_images, shared_folder
from ltml.data.pixels import count_levels
from ltml.errors import InputError, brief, first_few

FEW_LEVELS = 64
"""Number of grey levels (of 256) below which a picture is reported as suspicious; films and fundi use 96 or more."""


@dataclass(frozen=True)
class CheckReport:
    """Result of `check_dataset`.

    Attributes:
        faults: errors.
        warnings: suspicious findings.
        rows: number of rows by split.
        left_out: number of rows by the rule that left them out.
        label_files: SHA-256 by name of the files that labels and splits were read from.
        versions: version of the labels by source, ``"unknown"`` if the counts match no published version.
        sizes: number of files by width × height.
        modes: number of files by Pillow mode.
    """

    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    rows: Mapping[str, int]
    left_out: Mapping[str, int]
    label_files: Mapping[str, str]
    versions: Mapping[str, str]
    sizes: Mapping[str, int]
    modes: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for `json.dumps`."""
        values = dict(vars(self))
        return values | {kind: [vars(fault) for fault in values[kind]] for kind in ("faults", "warnings")}


def check_dataset(dataset: Dataset, reported: Faults, *, fresh: bool = False, labels_only: bool = False) -> CheckReport:
    """Check labels, splits and every image.

    Args:
        dataset: dataset loaded with faults collected.
        reported: faults that the loader collected.
        fresh: whether to inspect unchanged files again.
        labels_only: whether to skip the image files.
    """
    readers = [] if labels_only else list(source_files(dataset.images))
    inspection = _inspect(readers, fresh=fresh)
    known = {fault.where for fault in reported.found}
    faults = [*reported.found, *(fault for fault in _unreadable(inspection) if fault.where not in known)]
    pictures = [*_odd_pictures(readers, inspection.pictures), *_flat_pictures(dataset, inspection.pictures)]
    warnings = [*reported.doubts, *pictures, *_labels_without_values(dataset)]
    columns, unlabelled = _columns_nobody_labels(dataset, reported.found), _other_versions(dataset)
    across, within = _duplicates(dataset, inspection.pictures)
    return CheckReport(
        faults=_by_kind([*faults, *across, *columns]),
        warnings=_by_kind([*warnings, *within, *unlabelled]),
        rows={split: len(rows) for split, rows in dataset.splits.items()},
        left_out=dict(dataset.left_out),
        label_files=dict(dataset.label_files),
        versions=label_versions(dataset),
        sizes=dict(Counter(f"{p.width}×{p.height}" for p in inspection.pictures.values()).most_common()),
        modes=dict(Counter(p.mode for p in inspection.pictures.values()).most_common()),
    )


def _inspect(readers: Sequence[FileImages], *, fresh: bool) -> Inspection:
    pictures: dict[Path, Picture] = {}
    unreadable: dict[Path, str] = {}
    for reader in readers:
        found = inspect_images(
            reader.paths, max_pixels=reader.max_pixels, fresh=fresh, folder=shared_folder(reader.paths)
        )
        pictures |= found.pictures
        unreadable |= found.unreadable
    return Inspection(pictures, unreadable)


def refuse_unreadable(dataset: Dataset) -> None:
    """Decode every image that a split uses and refuse unreadable ones before training.

    Skips unchanged images that were decoded before, and images in the image cache.

    Raises:
        InputError: if images cannot be read; gives their number and the first of them.
    """
    used = {path for rows in dataset.splits.values() for row in rows.tolist() for path in dataset.images.files(row)}
    unreadable: dict[Path, str] = {}
    for reader in source_files(dataset.images, cached=False):
        paths = [path for path in reader.paths if path in used]
        found = inspect_images(paths, max_pixels=reader.max_pixels, folder=shared_folder(reader.paths))
        unreadable |= found.unreadable
    if unreadable:
        first, *others = unreadable
        what = f"{len(unreadable)} of {len(used)} images, the first" if others else "the image"
        also = f"; also {first_few(others, most=2)}" if others else ""
        advice = "Replace the files, take their rows" if others else "Replace the file, take its row"
        raise InputError(
            f"cannot read {what} {first}: {unreadable[first]}{also}. {advice} out of the table, or set "
            "data.unreadable=skip; `ltml data check` lists all such files."
        )


def _by_kind(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    return tuple(sorted(faults, key=lambda fault: fault.kind))


def label_versions(dataset: Dataset) -> dict[str, str]:
    """Return the published versions whose counts the labels of each source match."""
    found: dict[str, list[str]] = {entry.source: [] for entry in dataset.published}
    for entry in dataset.published:
        if not entry.differences:
            found[entry.source].append(entry.version)
    return {source: "; ".join(versions) or "unknown" for source, versions in found.items()}


def _unreadable(inspection: Inspection) -> Iterator[Fault]:
    for path, reason in inspection.unreadable.items():
        kind = "unreadable image"
        if "truncated" in reason:
            kind = "truncated image"
        elif "max_pixels" in reason:
            kind = "too large image"
        yield Fault(kind, str(path), reason)


def _odd_pictures(readers: list[FileImages], pictures: Mapping[Path, Picture]) -> Iterator[Fault]:
    """Yield sizes and modes that differ from the published ones, or images smaller than the training size."""
    for reader in readers:
        seen = {path: pictures[path] for path in reader.paths if path in pictures}
        sizes: dict[str, list[Path]] = defaultdict(list)
        modes: dict[str, list[Path]] = defaultdict(list)
        small: list[Path] = []
        for path, picture in seen.items():
            if reader.published_size and (picture.width, picture.height) != reader.published_size:
                sizes[f"{picture.width}×{picture.height}"].append(path)
            if reader.published_modes and picture.mode not in reader.published_modes:
                modes[picture.mode].append(path)
            if not reader.published_size and min(picture.width, picture.height) < reader.size:
                small.append(path)
        published = "×".join(map(str, reader.published_size or ()))
        for size, files in sizes.items():
            yield Fault("unexpected size", size, f"{len(files)} image(s) where {published} is published: {_few(files)}")
        for mode, files in modes.items():
            wanted = " or ".join(reader.published_modes)
            yield Fault("unexpected mode", mode, f"{len(files)} image(s) where {wanted} is published: {_few(files)}")
        if small:
            message = f"{len(small)} image(s) have a side below the {reader.size} px of training: {_few(small)}"
            yield Fault("small image", str(small[0]), message)


def _flat_pictures(dataset: Dataset, pictures: Mapping[Path, Picture]) -> Iterator[Fault]:
    """Yield pictures of a single value or of a small part of the range, as a wrong window produces them."""
    for path, picture in pictures.items():
        yield from _flat_picture(str(path), picture.levels, picture.middle_levels)
    ids = dataset.table["id"].to_numpy(dtype=object)
    for row in np.concatenate(list(dataset.splits.values())).tolist():
        pixels = dataset.images.stored(row)
        if pixels is not None:
            yield from _flat_picture(f"{dataset.name}, '{ids[row]}'", *count_levels(pixels))


def _flat_picture(where: str, whole: int, middle: int) -> Iterator[Fault]:
    if whole == 0:
        yield Fault("picture of one value", where, "all of its pixels are equal once it is decoded")
    elif middle < FEW_LEVELS:
        message = f"99 % of its pixels lie within {middle + 1} of the 256 levels once it is decoded"
        yield Fault("picture of few levels", where, message)


def _few(files: list[Path]) -> str:
    return first_few(sorted(files), most=3)


def _duplicates(dataset: Dataset, pictures: Mapping[Path, Picture]) -> tuple[list[Fault], list[Fault]]:
    """Find rows with the same file or pixels: an error across splits, a warning within one."""
    rows_of: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
    for split, rows in dataset.splits.items():
        for row in rows.tolist():
            for digest, shown in _digests(dataset, row, pictures):
                rows_of[digest].append((split, row, shown))
    ids = dataset.table["id"].to_numpy(dtype=object)
    across: list[Fault] = []
    within: list[Fault] = []
    for found in rows_of.values():
        if len({row for _, row, _ in found}) < 2:
            continue
        splits = sorted({split for split, _, _ in found})
        places = sorted({shown for _, _, shown in found})
        kind = "file on several rows" if len(places) == 1 and dataset.images.files(found[0][1]) else "same pixels"
        place = "in two splits" if len(splits) > 1 else "in one split"
        rows_ = first_few((f"'{ids[row]}' ({split})" for split, row, _ in found), most=4)
        others = f"as {first_few(places[1:], most=3)}: " if len(places) > 1 else ""
        fault = Fault(f"{kind} {place}", places[0], f"{others}rows {rows_}")
        (across if len(splits) > 1 else within).append(fault)
    return across, within


def _digests(dataset: Dataset, row: int, pictures: Mapping[Path, Picture]) -> Iterator[tuple[str, str]]:
    """Yield digest and name of each image of a row: its files, or the pixels of an array."""
    for path in dataset.images.files(row):
        if path in pictures:
            yield pictures[path].digest, str(path)
    pixels = dataset.images.stored(row)
    if pixels is not None:
        yield f"{pixels.shape}{hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()}", dataset.name


def _columns_nobody_labels(dataset: Dataset, reported: Sequence[Fault]) -> list[Fault]:
    """Report labels that every row leaves unknown, except those whose values are reported already."""
    unknown = [dataset.label_names[c] for c in np.flatnonzero(~dataset.known.any(axis=0)).tolist()]
    strange = " ".join(fault.where for fault in reported if fault.kind == "unknown label value")
    silent = [name for name in unknown if f"'{brief(name)}'" not in strange]
    return [Fault("label never known", name, "every row leaves it unknown") for name in silent]


def _labels_without_values(dataset: Dataset) -> Iterator[Fault]:
    """Yield classes without known positives or negatives in a split."""
    for split, rows in dataset.splits.items():
        known, present = dataset.known[rows], dataset.targets[rows] == 1
        lacking = {"positive": ~(known & present).any(axis=0), "negative": ~(known & ~present).any(axis=0)}
        for what, classes in lacking.items():
            for c in np.flatnonzero(classes & dataset.known.any(axis=0)).tolist():
                effect = "it cannot be learned" if split == "train" else "it cannot be scored there"
                message = f"no known {what} in {split}: {effect}"
                yield Fault(f"no {what} in a split", dataset.label_names[c], message)


def _other_versions(dataset: Dataset) -> Iterator[Fault]:
    """Yield how counts that match no published version differ from the nearest one."""
    published: dict[tuple[str, tuple[str, ...]], list[Published]] = defaultdict(list)
    for entry in dataset.published:
        published[entry.source, entry.splits].append(entry)
    for (source, _), entries in published.items():
        if all(entry.differences for entry in entries):
            nearest = min(entries, key=lambda entry: len(entry.differences) / len(entry.expected))
            pairs = (f"{name} {found} (published {count})" for name, (count, found) in nearest.differences.items())
            message = f"the counts are not those of a published version; against {nearest.version}: "
            yield Fault("unpublished counts", source, message + first_few(pairs, most=6))
