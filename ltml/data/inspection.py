"""One look at every image file: can it be decoded, how large is it, is it another's copy.

What was seen is kept beside the path, length and time of change of the file, line by line, so that a look at 100,000
files can be cut off and go on, and a second look only opens what has changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image

from ltml.data.decode import DECODER, open_picture
from ltml.data.image_files import is_dicom
from ltml.data.parallel import in_threads
from ltml.data.pixels import MAX_PIXELS
from ltml.files import cache_folder, hash_json
from ltml.progress import track
from ltml.types import UnreadableImageError

log = logging.getLogger(__name__)

FORMAT = 2
"""Raised whenever what is kept changes."""

SECONDS = 0.5
"""Between two writings of what was seen."""


@dataclass(frozen=True)
class Picture:
    """What one file holds.

    Attributes:
        width: px, after turning it upright.
        height: px.
        mode: Pillow's mode of the file, or ``DICOM``.
        digest: hash of the decoded pixels.
    """

    width: int
    height: int
    mode: str
    digest: str


@dataclass(frozen=True)
class Inspection:
    """What all files hold.

    Attributes:
        pictures: by path, of the files that can be decoded.
        unreadable: by path, why the others cannot.
    """

    pictures: Mapping[Path, Picture]
    unreadable: Mapping[Path, str]


def inspect_images(paths: Sequence[Path], *, max_pixels: int = MAX_PIXELS, fresh: bool = False) -> Inspection:
    """Decode every file that has not been seen as it is now.

    Args:
        paths: the files; those that are not there are in neither part of the result.
        max_pixels: pictures with more are not decoded.
        fresh: look at all of them again.
    """
    there = {path: _stamp(path) for path in dict.fromkeys(paths) if path.is_file()}
    store = _store(list(there))
    seen = {} if fresh else _read(store)
    pictures = {
        path: seen[str(path)][1]
        for path, stamp in there.items()
        if str(path) in seen and seen[str(path)][0] == stamp and _pixels(seen[str(path)][1]) <= max_pixels
    }
    waiting = [path for path in there if path not in pictures]
    unreadable: dict[Path, str] = {}
    with _open(store, "w" if fresh else "a") as file:
        written = time.monotonic()
        results = in_threads(lambda path: _look(path, max_pixels), waiting)
        for path, found in zip(waiting, track(results, len(waiting), "images"), strict=True):
            if isinstance(found, str):
                unreadable[path] = found
                continue
            pictures[path] = found
            file.write(json.dumps([str(path), there[path], list(vars(found).values())]) + "\n")
            if time.monotonic() - written > SECONDS:
                file.flush()
                written = time.monotonic()
    return Inspection(pictures, unreadable)


def _open(store: Path, mode: str) -> IO[str]:
    """The file to write to; one that leads nowhere where the cache folder cannot be used."""
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        return open(store, mode, encoding="utf-8")
    except OSError as error:
        log.warning("what is seen cannot be kept for the next time (%s); LTML_CACHE names another folder", error)
        return open(os.devnull, "w", encoding="utf-8")


def _look(path: Path, max_pixels: int) -> Picture | str:
    try:
        picture = open_picture(path, max_pixels)
        pixels = hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest()
        return Picture(picture.width, picture.height, _mode(path), f"{picture.mode}{picture.size}{pixels}")
    except UnreadableImageError as error:
        return str(error.__cause__ or error)


def _mode(path: Path) -> str:
    if is_dicom(path):
        return "DICOM"
    with Image.open(path) as opened:
        return str(opened.mode)


def _pixels(picture: Picture) -> int:
    return picture.width * picture.height


def _stamp(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def _store(paths: Sequence[Path]) -> Path:
    """The file of what was seen in the folder that all paths share."""
    shared = os.path.commonpath(paths) if paths else ""
    return cache_folder() / "inspections" / f"{hash_json([FORMAT, DECODER, shared])[:16]}.jsonl"


def _read(store: Path) -> dict[str, tuple[Any, Picture]]:
    """What was seen, by path; a line that a killed process left unfinished is no line."""
    seen: dict[str, tuple[Any, Picture]] = {}
    if not store.is_file():
        return seen
    for line in store.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            path, stamp, values = json.loads(line)
            seen[path] = (stamp, Picture(*values))
        except (ValueError, TypeError):
            continue
    return seen
