"""Cache decoded images on disk: uint8 at the training size, grey images as one channel, memory-mapped when read.

A cache is a folder whose name is a hash of the decoder's version, the size, and every source file's path, length and
times of change.
``pixels.bin`` holds the images one after the other, ``index.npy`` where each begins, its channels and its checksum.
Images are written in the order of their paths and the index every second, so that a killed process loses little work.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from ltml.arrays import Digests, IntArray, UInt8Array
from ltml.data.dataset import ImageReader
from ltml.data.decode import DECODER, UnreadableImageError, decode
from ltml.data.images import FileImages
from ltml.data.inspection import Seen, SeenFiles, hash_content, shared_folder, stamp
from ltml.data.parallel import in_threads
from ltml.data.pixels import with_channels
from ltml.errors import InputError, LtmlError, first_few, first_line
from ltml.files import cache_folder, hash_json, storage_explained, write_atomically
from ltml.processes.bars import track

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the file layout."""

ENTRY = np.dtype([("start", "<i8"), ("channels", "u1"), ("crc", "<u4")])
AGAIN = "Rebuild it with `ltml data cache RECIPE --fresh`, or remove that folder."

SECONDS = 1.0
"""Seconds between two writes of the index."""

Index = npt.NDArray[np.void]


@dataclass(frozen=True)
class CacheReport:
    """Result of `fill_cache`.

    Attributes:
        folder: folder of the cache.
        images: number of images in the cache.
        decoded: number of images that this call decoded.
        bytes: size of all pixels, bytes.
    """

    folder: Path
    images: int
    decoded: int
    bytes: int


class CachedImages:
    """Images of a complete cache.

    Args:
        images: reader of the source files.
        folder: folder of the cache.
        places: index entry of each row.
    """

    in_memory = False

    def __init__(self, images: FileImages, folder: Path, places: IntArray) -> None:
        self.images = images
        self._folder = folder
        self._places = places
        self._maps: tuple[Index, UInt8Array] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": None}  # another process maps the files itself

    def read(self, row: int) -> UInt8Array:
        """Return the pixels of a row, uint8 ``(size, size, channels)``.

        Raises:
            UnreadableImageError: the cache is damaged.
        """
        if self._maps is None:
            self._maps = _read_index(self._folder), np.memmap(self._folder / "pixels.bin", dtype=np.uint8, mode="r")
        index, pixels = self._maps
        entry, size = index[int(self._places[row])], self.images.size
        start, channels = int(entry["start"]), int(entry["channels"])
        image = pixels[start : start + size * size * channels]
        if zlib.crc32(image.data) != int(entry["crc"]):
            raise UnreadableImageError(
                f"the image cache {self._folder} is damaged at {self.images.paths[row]}. {AGAIN}"
            )
        return with_channels(np.asarray(image).reshape(size, size, channels), self.images.channels)

    def files(self, row: int) -> list[Path]:
        """Return the source file of a row."""
        return self.images.files(row)

    def stored(self, row: int) -> UInt8Array | None:  # noqa: ARG002
        """Return None: the pixels come from files."""
        return None

    def digests(self, rows: IntArray) -> Digests:
        """Return hashes of the bytes of the source files, uint64 ``(n, 1)``."""
        return self.images.digests(rows)


def open_cached(files: FileImages) -> ImageReader:
    """Return the reader of the cached images if the cache is complete, else that of the files."""
    if not files.paths or not (cache_folder() / "images").is_dir():
        return files
    folder, places, unique = locate_cache(files)
    if not (folder / "index.npy").is_file():
        return files
    try:
        index = _read_index(folder)
    except InputError as error:
        log.warning("%s", error)
        return files
    done = int((index["start"] >= 0).sum())
    if done < len(unique):
        log.info(
            "the image cache holds %d of %d images and is not used until `ltml data cache` has filled it",
            done,
            len(unique),
        )
        return files
    log.info("images come from the cache %s", folder)
    return CachedImages(files, folder, places)


def fill_cache(files: FileImages, *, fresh: bool = False) -> CacheReport:
    """Decode all images that are not cached yet.

    Args:
        files: reader of the source files.
        fresh: whether to delete the cached images first.

    Raises:
        LtmlError: another process is filling the same cache, or its folder cannot be made.
        UnreadableImageError: images cannot be decoded; all others are in the cache then.
    """
    folder, _, unique = locate_cache(files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LtmlError(f"the image cache cannot be made ({error}); LTML_CACHE names another folder") from error
    try:
        with FileLock(folder.with_suffix(".lock"), timeout=0):
            if fresh:
                shutil.rmtree(folder)
                folder.mkdir()
            return _fill(files, folder, unique)
    except Timeout as error:
        raise LtmlError(f"another process is filling the image cache {folder}; wait for it") from error


def locate_cache(files: FileImages) -> tuple[Path, IntArray, list[Path]]:
    """Return the folder of the cache, the index entry of each row, and the source file of each entry."""
    names = [str(path) for path in files.paths]
    unique = sorted(set(names))
    key = hash_json([FORMAT, DECODER, files.size, [(name, stamp(Path(name))) for name in unique]])[:16]
    places = {name: place for place, name in enumerate(unique)}
    rows = np.array([places[name] for name in names])
    return cache_folder() / "images" / key, rows, [Path(name) for name in unique]


def source_files(images: ImageReader, *, cached: bool = True) -> Iterator[FileImages]:
    """Yield the file readers behind a reader; without `cached` only those that decode when read."""
    if isinstance(images, FileImages):
        yield images
    if isinstance(images, CachedImages) and not cached:
        return
    for inner in (getattr(images, "images", None), *getattr(images, "readers", ())):
        if inner is not None:
            yield from source_files(inner, cached=cached)


def _fill(files: FileImages, folder: Path, paths: Sequence[Path]) -> CacheReport:
    index = _read_index(folder) if (folder / "index.npy").is_file() else np.full(len(paths), -1).astype(ENTRY)
    end = _end(index, files.size)
    waiting: list[int] = np.flatnonzero(index["start"] < 0).tolist()
    unreadable: list[UnreadableImageError] = []
    memory = SeenFiles(paths, shared_folder(files.paths))
    seen, contents = memory.recall(), dict[int, int]()

    def work(place: int) -> UInt8Array | UnreadableImageError:
        path = paths[place]
        try:
            if path not in seen:  # every run needs the hash, and the file is open anyway
                contents[place] = hash_content(path)
            return decode(path, files.size, files.max_pixels)
        except UnreadableImageError as error:
            return error

    with storage_explained(folder / "pixels.bin"), memory.kept() as keep, open(folder / "pixels.bin", "ab") as store:
        store.truncate(end)
        try:
            written = time.monotonic()
            results = track(in_threads(work, waiting), len(waiting), "images")
            for place, pixels in zip(waiting, results, strict=True):
                if isinstance(pixels, UnreadableImageError):
                    unreadable.append(pixels)
                    continue
                if place in contents:
                    keep(paths[place], Seen(contents.pop(place), None))
                data = np.ascontiguousarray(pixels)
                store.write(data.data)
                index[place] = (end, data.shape[-1], zlib.crc32(data.data))
                end += data.nbytes
                if time.monotonic() - written > SECONDS:
                    _save_index(folder, index, store)
                    written = time.monotonic()
        finally:
            _save_index(folder, index, store)
    if unreadable:
        raise UnreadableImageError(
            f"{len(unreadable)} of {len(paths)} images cannot be read; the others are in the cache. The first: "
            f"{first_few(unreadable, most=1)}"
        )
    return CacheReport(folder, len(paths), len(waiting), end)


def _end(index: Index, size: int) -> int:
    done = index[index["start"] >= 0]
    return int((done["start"] + size * size * done["channels"].astype(np.int64)).max()) if len(done) else 0


def _save_index(folder: Path, index: Index, store: BinaryIO) -> None:
    """Write the index, after its pixels have reached the disk."""
    store.flush()
    os.fsync(store.fileno())
    write_atomically(folder / "index.npy", lambda path: np.save(path, index))


def _read_index(folder: Path) -> Index:
    try:
        index: Index = np.load(folder / "index.npy")
        size = (folder / "pixels.bin").stat().st_size
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"the image cache {folder} cannot be read: {first_line(error)}. {AGAIN}") from error
    if index.dtype != ENTRY or (len(index) and int(index["start"].max()) >= max(size, 1)):
        raise InputError(f"the image cache {folder} is damaged. {AGAIN}")
    return index
