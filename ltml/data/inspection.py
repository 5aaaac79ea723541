"""One look at every image file: what its bytes hash to, can it be decoded, how large is it, is it another's copy.

What was seen is kept beside the path, length and times of change of the file, line by line, so that a look at 100,000
files can be cut off and go on, and a second look only opens what has changed. A file that is written again is noticed
even where its length stays and its time of modification is put back, by the time of change that file systems keep
themselves; one that is only touched is read again and found to be the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ltml.data.decode import DECODER, UnreadableImageError, open_picture
from ltml.data.image_files import is_dicom
from ltml.data.parallel import in_threads
from ltml.data.pixels import MAX_PIXELS, count_levels
from ltml.errors import first_line
from ltml.files import cache_folder, hash_json
from ltml.processes.bars import track

log = logging.getLogger(__name__)

FORMAT = 3
"""Raised whenever what is kept changes."""

SECONDS = 0.5
"""Between two writings of what was seen."""

Stamp = tuple[int, int, int]
"""Length of a file, and when its content and its entry changed last, ns."""


@dataclass(frozen=True)
class Picture:
    """What one file holds.

    Attributes:
        width: px, after turning it upright.
        height: px.
        mode: Pillow's mode of the file, or ``DICOM``.
        digest: hash of the decoded pixels.
        levels: how many of 256 levels apart its pixels lie.
        middle_levels: the same of the middle 99 %.
    """

    width: int
    height: int
    mode: str
    digest: str
    levels: int
    middle_levels: int


@dataclass(frozen=True)
class Inspection:
    """What all files hold.

    Attributes:
        pictures: by path, of the files that can be decoded.
        unreadable: by path, why the others cannot.
    """

    pictures: Mapping[Path, Picture]
    unreadable: Mapping[Path, str]


class Seen(NamedTuple):
    """What is kept of one file.

    Attributes:
        content: hash of its bytes, 64 bits.
        picture: None where it has not been decoded.
    """

    content: int
    picture: Picture | None


def inspect_images(
    paths: Sequence[Path], *, max_pixels: int = MAX_PIXELS, fresh: bool = False, folder: str | None = None
) -> Inspection:
    """Decode every file that has not been decoded as it is now.

    Args:
        paths: the files; those that are not there are in neither part of the result.
        max_pixels: pictures with more are not decoded.
        fresh: look at all of them again.
        folder: see `SeenFiles`.
    """
    memory = SeenFiles(paths, folder)
    seen = {} if fresh else memory.recall()
    pictures = {
        path: picture
        for path, (_, picture) in seen.items()
        if picture is not None and picture.width * picture.height <= max_pixels
    }
    waiting = [path for path in memory.stamps if path not in pictures]
    unreadable: dict[Path, str] = {}
    with memory.kept() as keep:
        results = in_threads(partial(_look, max_pixels=max_pixels), waiting)
        for path, found in zip(waiting, track(results, len(waiting), "images"), strict=True):
            if isinstance(found, str):
                unreadable[path] = found
                continue
            assert found.picture is not None
            pictures[path] = found.picture
            keep(path, found)
    return Inspection(pictures, unreadable)


def hash_contents(paths: Sequence[Path], folder: str | None = None) -> npt.NDArray[np.uint64]:
    """Hashes of the bytes of files, uint64 ``(n,)``; only files that have not been seen as they are now are read.

    Raises:
        UnreadableImageError: a file is missing or cannot be read.
    """
    memory = SeenFiles(paths, folder)
    contents = {path: seen.content for path, seen in memory.recall().items()}
    waiting = [path for path in dict.fromkeys(paths) if path not in contents]
    with memory.kept() as keep:
        for path, content in zip(
            waiting, track(in_threads(hash_content, waiting), len(waiting), "images"), strict=True
        ):
            contents[path] = content
            keep(path, Seen(content, None))
    return np.array([contents[path] for path in paths], dtype=np.uint64)


def hash_content(path: Path) -> int:
    """Hash of a file's bytes, 64 bits.

    Raises:
        UnreadableImageError: it is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return int.from_bytes(hashlib.file_digest(file, _new_hash).digest(), "little")
    except OSError as error:
        raise UnreadableImageError(f"cannot read the image {path}: {first_line(error)}") from error


def hash_array(pixels: npt.NDArray[np.uint8]) -> int:
    """Hash of an array's shape and values, 64 bits."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(digest.digest(), "little")


def stamp(path: Path) -> Stamp | None:
    """What tells that a file has not been written again; None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns) if stat.S_ISREG(status.st_mode) else None


class SeenFiles:
    """What was seen of files and still holds.

    Args:
        paths: the files; those that are not there are passed over.
        folder: whose memory it is; None for the folder that all paths share.

    Attributes:
        stamps: by path, of the files that are there.
    """

    def __init__(self, paths: Sequence[Path], folder: str | None = None) -> None:
        stamps = {path: stamp(path) for path in dict.fromkeys(paths)}
        self.stamps = {path: there for path, there in stamps.items() if there is not None}
        shared = shared_folder(paths) if folder is None else folder
        self._store = cache_folder() / "inspections" / f"{hash_json([FORMAT, DECODER, shared])[:16]}.jsonl"

    def recall(self) -> dict[Path, Seen]:
        """What is known of the files as they are now; a line that a killed process left unfinished is no line."""
        try:
            text = self._store.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
        lines: dict[str, tuple[Stamp, Seen]] = {}
        for line in text.splitlines():
            try:
                name, there, content, values = json.loads(line)
                lines[name] = (tuple(there), Seen(int(content), None if values is None else Picture(*values)))
            except (ValueError, TypeError):
                continue
        found = {path: lines.get(str(path)) for path in self.stamps}
        return {path: entry[1] for path, entry in found.items() if entry is not None and entry[0] == self.stamps[path]}

    @contextmanager
    def kept(self) -> Iterator[Callable[[Path, Seen], None]]:
        """Give a function that keeps what is seen of a file for the next time.

        Where the cache folder cannot be used nothing is kept, and a warning says so.
        """
        lines: list[str] = []
        written = time.monotonic()

        def keep(path: Path, seen: Seen) -> None:
            nonlocal written
            values = None if seen.picture is None else list(vars(seen.picture).values())
            lines.append(json.dumps([str(path), self.stamps[path], seen.content, values]) + "\n")
            if time.monotonic() - written > SECONDS:
                self._append(lines)
                written = time.monotonic()

        try:
            yield keep
        finally:
            self._append(lines)

    def _append(self, lines: list[str]) -> None:
        """Write lines in one piece, as other processes may write theirs, and take them out of the list."""
        if not lines:
            return
        try:
            self._store.parent.mkdir(parents=True, exist_ok=True)
            with self._store.open("ab", buffering=0) as file:
                file.write("".join(lines).encode())
        except OSError as error:
            log.warning("what is seen cannot be kept for the next time (%s); LTML_CACHE names another folder", error)
        lines.clear()


def shared_folder(paths: Sequence[Path]) -> str:
    """The folder that all paths share; empty for no paths."""
    return os.path.commonpath(paths) if paths else ""


def _new_hash() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=8)


def _look(path: Path, max_pixels: int) -> Seen | str:
    try:
        content = hash_content(path)
        picture = open_picture(path, max_pixels)
        pixels = hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest()
        digest = f"{picture.mode}{picture.size}{pixels}"
        levels = count_levels(np.atleast_3d(np.asarray(picture)))
        return Seen(content, Picture(picture.width, picture.height, _mode(path), digest, *levels))
    except UnreadableImageError as error:
        return str(error.__cause__ or error)


def _mode(path: Path) -> str:
    if is_dicom(path):
        return "DICOM"
    with Image.open(path) as opened:
        return str(opened.mode)
