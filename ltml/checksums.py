"""Checksums of saved files, so that a truncated or changed file is never used as a result.

The folder of a run keeps ``checksums.json``: the SHA-256 of every finished file in it, by path. An entry is removed
before its file is replaced, and added when the new file is in place. A process that is killed in between leaves a file
without an entry, which counts as unfinished and is written again. The file holds no times, so equal runs have equal
checksums. Folders of earlier versions have no checksums; their files are read unverified.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ltml.errors import InputError
from ltml.files import hash_file, hash_json, json_text, read_json, write_atomically, write_json, write_utf8

Shape = Mapping[str, type | Collection[str]]
"""Required content of a JSON object: by key a type, or the keys of every object in a list."""

log = logging.getLogger(__name__)

NAME = "checksums.json"
AGAIN = "remove it and run the same recipe again, which makes what is missing, or redo the stage with --fresh"
"""Remedy for a damaged file that `ltml.run` can restore."""
MIN_CACHED_SIZE = 16 << 20
"""Size in bytes from which the hash of an unchanged file is cached in the process."""


class DamagedFileError(InputError):
    """A saved file is damaged: it has changed, is unfinished or missing."""


def begin_checksums(folder: Path) -> None:
    """Start keeping checksums in a folder; existing files count as unfinished."""
    write_json(folder / NAME, _sealed({}))


def keeps_checksums(folder: Path) -> bool:
    """Return whether a folder keeps checksums."""
    return (folder / NAME).is_file()


def write_recorded(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file atomically, and its checksum if a folder above keeps them."""
    folder = _unit_of(path)
    if folder is None:
        write_atomically(path, write)
        return
    name, digest = _name(path, folder), ""

    def write_and_forget(temporary: Path) -> None:
        nonlocal digest
        write(temporary)
        digest = hash_file(temporary)
        entries = _read(folder)
        if entries.pop(name, digest) != digest:
            write_json(folder / NAME, _sealed(entries))

    write_atomically(path, write_and_forget)
    entries = _read(folder)
    if entries.get(name) != digest:
        write_json(folder / NAME, _sealed(entries | {name: digest}))


def write_recorded_json(path: Path, value: Any) -> None:
    """Write JSON as `ltml.files.write_json` does, and its checksum."""
    text = json_text(value)
    write_recorded(path, lambda temporary: write_utf8(temporary, text))


def read_recorded_json(path: Path, remedy: str, shape: Shape) -> dict[str, Any]:
    """Read a saved JSON object after checking its checksum; check its content too.

    Args:
        path: file to read.
        remedy: how to restore the file, for the message.
        shape: required content.

    Raises:
        DamagedFileError: the file is missing, has changed, or lacks required content.
    """
    check_file(path, remedy)
    try:
        content = read_json(path, remedy)
    except InputError as error:
        raise DamagedFileError(str(error)) from error
    if wrong := [key for key, wanted in shape.items() if key not in content or not _fits(content[key], wanted)]:
        raise DamagedFileError(f"{path} holds something else than it should (see '{wrong[0]}'); {remedy}")
    return content


def _fits(value: Any, wanted: type | Collection[str]) -> bool:
    if isinstance(wanted, type):
        return isinstance(value, wanted)
    return isinstance(value, list) and all(isinstance(row, dict) and row.keys() >= set(wanted) for row in value)


def forget_missing(folder: Path) -> None:
    """Drop the checksums of files that have been removed."""
    if keeps_checksums(folder):
        existing = {name: digest for name, digest in _read(folder).items() if (folder / name).is_file()}
        write_json(folder / NAME, _sealed(existing))


def is_finished(path: Path) -> bool:
    """Return whether a file exists and was written completely, without reading it.

    Without checksums every file counts as complete.
    """
    folder = _unit_of(path)
    return path.is_file() and (folder is None or _name(path, folder) in _read(folder))


def is_intact(path: Path) -> bool:
    """Return whether a file exists and matches its checksum; False without checksums."""
    folder = _unit_of(path)
    return path.is_file() and folder is not None and _digest(path) == _read(folder).get(_name(path, folder))


def check_file(path: Path, remedy: str = AGAIN, what: str = "") -> None:
    """Raise if a saved file is unfinished or has changed; a missing file passes, since its reader reports it.

    Args:
        path: file to check.
        remedy: how to restore the file, for the message.
        what: kind of the file for the message, followed by a blank.

    Raises:
        DamagedFileError: names the file and the remedy.
    """
    folder = _unit_of(path)
    if folder is None or not path.is_file():
        return
    digest = _read(folder).get(_name(path, folder))
    if digest is None:
        raise DamagedFileError(f"cannot read {what}{path}: it was not written to its end; {remedy}")
    if digest != _digest(path):
        raise DamagedFileError(
            f"cannot read {what}{path}: it has changed since it was saved (its checksum differs); {remedy}"
        )


def check_if_recorded(path: Path, remedy: str = AGAIN) -> None:
    """Raise if a file has changed since a run saved it; files of other origin pass.

    Raises:
        DamagedFileError: as in `check_file`.
    """
    try:
        folder = _unit_of(path)
        recorded = folder is not None and _name(path, folder) in _read(folder)
    except DamagedFileError:  # somebody's own file of that name
        return
    if recorded:
        check_file(path, remedy)


@cache
def say_unverified(folder: Path) -> None:
    """Warn once that a folder keeps no checksums."""
    log.warning("%s was saved without checksums, by an earlier version: its files are read unverified", folder)


def _unit_of(path: Path) -> Path | None:
    """Return the folder that keeps the checksum of a file, if any."""
    return next((folder for folder in (path.parent, path.parent.parent) if keeps_checksums(folder)), None)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _sealed(entries: dict[str, str]) -> dict[str, Any]:
    ordered = dict(sorted(entries.items()))
    return {"sha256": ordered, "of_these": hash_json(ordered)}


def _read(folder: Path) -> dict[str, str]:
    path = folder / NAME
    remedy = "remove it, and the files beside it are read unverified; or redo the run with --fresh"
    try:
        content = read_json(path)
        entries: dict[str, str] = content["sha256"]
        if content != _sealed(entries):
            raise ValueError("it has changed since it was saved")
    except (InputError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise DamagedFileError(f"cannot read the checksums {path}; {remedy}") from error
    return dict(entries)


def _digest(path: Path) -> str:
    status = path.stat()
    if status.st_size < MIN_CACHED_SIZE:
        return hash_file(path)
    return _digest_of_large(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest_of_large(path: Path, *_: int) -> str:
    return hash_file(path)
