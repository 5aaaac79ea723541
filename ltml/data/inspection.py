"""Inspect every image file once: hash, decodability, size, duplicates.

Results are stored line by line with the path, length and times of change of the file, so that an interrupted
inspection of 100,000 files resumes, and a second one opens only changed files. A rewritten file is noticed even if its
length and modification time are unchanged, by the change time that file systems maintain. A touched file is read again
and found unchanged.
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
"""Version of the stored format."""

SECONDS = 0.5
"""Seconds between two writes of results."""

Stamp = tuple[int, int, int]
"""Length of a file, bytes, and last change of its content and of its metadata, ns."""


@dataclass(frozen=True)
class Picture:
    """Properties of one image file.

    Attributes:
        width: px, after turning it upright.
        height: px.
        mode: Pillow's mode of the file, or ``DICOM``.
        digest: hash of the decoded pixels.
        levels: range of its pixels in grey levels, see `count_levels`.
        middle_levels: range of the middle 99 % of its pixels.
    """

    width: int
    height: int
    mode: str
    digest: str
    levels: int
    middle_levels: int


@dataclass(frozen=True)
class Inspection:
    """Properties of all image files.

    Attributes:
        pictures: pictures of decodable files, by path.
        unreadable: reasons for the others, by path.
    """

    pictures: Mapping[Path, Picture]
    unreadable: Mapping[Path, str]


class Seen(NamedTuple):
    """Stored result for one file.

    Attributes:
        content: hash of its bytes, 64 bits.
        picture: None if it has not been decoded.
    """

    content: int
    picture: Picture | None


def inspect_images(
    paths: Sequence[Path], *, max_pixels: int = MAX_PIXELS, fresh: bool = False, folder: str | None = None
) -> Inspection:
    """Decode every file that is new or has changed.

    Args:
        paths: the files; missing ones are in neither part of the result.
        max_pixels: pictures with more are not decoded.
        fresh: whether to decode unchanged files again.
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
    """Return hashes of the bytes of files, uint64 ``(n,)``; reads only new and changed files.

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
    """Hash a file's bytes, 64 bits.

    Raises:
        UnreadableImageError: it is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return int.from_bytes(hashlib.file_digest(file, _new_hash).digest(), "little")
    except OSError as error:
        raise UnreadableImageError(f"cannot read the image {path}: {first_line(error)}") from error


def hash_array(pixels: npt.NDArray[np.uint8]) -> int:
    """Hash an array's shape and values, 64 bits."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(digest.digest(), "little")


def stamp(path: Path) -> Stamp | None:
    """Return length and times of change of a file, which show whether it was rewritten; None without a file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns) if stat.S_ISREG(status.st_mode) else None


class SeenFiles:
    """Stored results for files that have not changed.

    Args:
        paths: the files; missing ones are skipped.
        folder: folder that the results belong to; None for the folder that all paths share.

    Attributes:
        stamps: stamps of existing files, by path.
    """

    def __init__(self, paths: Sequence[Path], folder: str | None = None) -> None:
        stamps = {path: stamp(path) for path in dict.fromkeys(paths)}
        self.stamps = {path: seen for path, seen in stamps.items() if seen is not None}
        shared = shared_folder(paths) if folder is None else folder
        self._store = cache_folder() / "inspections" / f"{hash_json([FORMAT, DECODER, shared])[:16]}.jsonl"

    def recall(self) -> dict[Path, Seen]:
        """Return the results for unchanged files; incomplete lines of a killed process are skipped."""
        try:
            text = self._store.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
        lines: dict[str, tuple[Stamp, Seen]] = {}
        for line in text.splitlines():
            try:
                name, times, content, values = json.loads(line)
                lines[name] = (tuple(times), Seen(int(content), None if values is None else Picture(*values)))
            except (ValueError, TypeError):
                continue
        found = {path: lines.get(str(path)) for path in self.stamps}
        return {path: entry[1] for path, entry in found.items() if entry is not None and entry[0] == self.stamps[path]}

    @contextmanager
    def kept(self) -> Iterator[Callable[[Path, Seen], None]]:
        """Yield a function that stores the result for a file.

        Logs a warning and stores nothing if the cache folder cannot be used.
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
        """Write lines in one piece, because other processes may write as well, and clear the list."""
        if not lines:
            return
        try:
            self._store.parent.mkdir(parents=True, exist_ok=True)
            with self._store.open("ab", buffering=0) as file:
                file.write("".join(lines).encode())
        except OSError as error:
            log.warning("results cannot be stored for the next run (%s); LTML_CACHE names another folder", error)
        lines.clear()


def shared_folder(paths: Sequence[Path]) -> str:
    """Return the folder that all paths share; empty for no paths."""
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
