"""Checksums of what is saved, so that a file which was cut off or changed is never taken for a result.

A folder that is written as a unit keeps ``checksums.json``: the SHA-256 of every finished file in it, by path. An entry
goes before its file is replaced, and comes back once the new file is in place. So a process that is killed in between
leaves a file without an entry, which counts as unfinished and is made again. Equal files have equal checksums: there
are no times in it. Folders of earlier versions have none; their files are read as they are.
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
"""What a JSON object must have: by key a type, or the keys of every object in a list."""

log = logging.getLogger(__name__)

NAME = "checksums.json"
AGAIN = "remove it and run the same recipe again, which makes what is missing, or redo the stage with --fresh"
"""What to do about a file that `ltml.run` makes again alone."""
REMEMBERED = 16 << 20
"""Bytes from which a file is hashed once per process as long as it does not change."""


class DamagedFileError(InputError):
    """A saved file is not what was saved."""


def begin_checksums(folder: Path) -> None:
    """Let a folder keep checksums from now on; files that it holds already count as unfinished."""
    write_json(folder / NAME, _sealed({}))


def keeps_checksums(folder: Path) -> bool:
    """Whether a folder keeps checksums."""
    return (folder / NAME).is_file()


def write_recorded(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file atomically and its checksum, where a folder above keeps them."""
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
    """Read a JSON object that was saved, checked for its checksum and its shape.

    Args:
        path: the file.
        remedy: how to get it back.
        shape: that it must have.

    Raises:
        DamagedFileError: it is missing, has changed, or is something else.
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
        there = {name: digest for name, digest in _read(folder).items() if (folder / name).is_file()}
        write_json(folder / NAME, _sealed(there))


def is_finished(path: Path) -> bool:
    """Whether a file is there and was written to its end, as far as checksums are kept; it is not read."""
    folder = _unit_of(path)
    return path.is_file() and (folder is None or _name(path, folder) in _read(folder))


def is_intact(path: Path) -> bool:
    """Whether a file is there and proven to be what was saved; False where no checksums are kept."""
    folder = _unit_of(path)
    return path.is_file() and folder is not None and _digest(path) == _read(folder).get(_name(path, folder))


def check_file(path: Path, remedy: str = AGAIN, what: str = "") -> None:
    """Refuse a saved file that is unfinished or has changed; one that is missing is the reader's to refuse.

    Args:
        path: the file.
        remedy: how to get it back.
        what: the file is to a user, with a blank after it.

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
    """Refuse a file that has changed since a run saved it; files of any other origin pass.

    Raises:
        DamagedFileError: as `check_file`.
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
    """Say once that a folder keeps no checksums."""
    log.warning("%s was saved without checksums, by an earlier version: its files are read unverified", folder)


def _unit_of(path: Path) -> Path | None:
    """The folder that keeps the checksum of a file."""
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
    if status.st_size < REMEMBERED:
        return hash_file(path)
    return _digest_of_large(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest_of_large(path: Path, *_: int) -> str:
    return hash_file(path)
