"""Read pixels by row: arrays in memory, image files decoded on demand, and combinations of readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ltml.arrays import Digests, IntArray, UInt8Array
from ltml.data.dataset import ImageReader
from ltml.data.decode import read_image
from ltml.data.inspection import hash_array, hash_contents, shared_folder
from ltml.data.pixels import MAX_PIXELS, resize, with_channels


class ArrayImages:
    """Images of an array in memory.

    Args:
        pixels: uint8 ``(N, H, W)`` or ``(N, H, W, 1 or 3)``.
        size: side in px of the square that images are resized to.
        channels: 1 grey, 3 RGB.
    """

    in_memory = True

    def __init__(self, pixels: UInt8Array, size: int, channels: int) -> None:
        self._pixels = pixels if pixels.ndim == 4 else pixels[..., None]
        self._size = size
        self._channels = channels

    def read(self, row: int) -> UInt8Array:
        """Return the pixels of a row, uint8 ``(size, size, channels)``."""
        pixels = self._pixels[row]
        if pixels.shape[:2] != (self._size, self._size):
            squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
            pixels = resize(Image.fromarray(squeezed), self._size)
        return with_channels(pixels, self._channels)

    def files(self, row: int) -> list[Path]:  # noqa: ARG002
        """Return no files."""
        return []

    def stored(self, row: int) -> UInt8Array | None:
        """Return the pixels of a row at their own size."""
        pixels: UInt8Array = self._pixels[row]
        return pixels

    def digests(self, rows: IntArray) -> Digests:
        """Return hashes of the pixels at their own size, uint64 ``(n, 1)``."""
        return np.array([hash_array(self._pixels[row]) for row in rows], dtype=np.uint64)[:, None]


class FileImages:
    """Image files, decoded on demand.

    Args:
        paths: one file per row.
        size: side in px of the square that images are resized to.
        channels: 1 grey, 3 RGB.
        max_pixels: pictures with more are refused.
        published_size: width and height of the dataset's images, px, as far as they all have one.
        published_modes: their Pillow modes.
    """

    in_memory = False

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        channels: int,
        max_pixels: int = MAX_PIXELS,
        *,
        published_size: tuple[int, int] | None = None,
        published_modes: Sequence[str] = (),
    ) -> None:
        self.paths = list(paths)
        self.size = size
        self.channels = channels
        self.max_pixels = max_pixels
        self.published_size = published_size
        self.published_modes = tuple(published_modes)

    def read(self, row: int) -> UInt8Array:
        """Return the pixels of a row, uint8 ``(size, size, channels)``.

        Raises:
            UnreadableImageError: the file is missing, damaged, too large, or not an image.
        """
        return read_image(self.paths[row], self.size, self.channels, self.max_pixels)

    def files(self, row: int) -> list[Path]:
        """Return the file of a row."""
        return [self.paths[row]]

    def stored(self, row: int) -> UInt8Array | None:  # noqa: ARG002
        """Return None: the pixels come from files."""
        return None

    def digests(self, rows: IntArray) -> Digests:
        """Return hashes of the files' bytes, uint64 ``(n, 1)``; see `hash_contents`."""
        paths = [self.paths[row] for row in rows.tolist()]
        return hash_contents(paths, shared_folder(self.paths))[:, None]


class StackedImages:
    """Several images as one row, e.g. both eyes of a patient, with concatenated channels.

    Args:
        images: reader of the single images; those of one row are consecutive.
        count: number of images per row.
    """

    def __init__(self, images: ImageReader, count: int) -> None:
        self.images = images
        self.in_memory = images.in_memory
        self._count = count

    def read(self, row: int) -> UInt8Array:
        """Return the pixels of a row, uint8 ``(size, size, count · channels)``."""
        return np.concatenate([self.images.read(number) for number in self._numbers(row)], axis=-1)

    def files(self, row: int) -> list[Path]:
        """Return the files of a row."""
        return [path for number in self._numbers(row) for path in self.images.files(number)]

    def stored(self, row: int) -> UInt8Array | None:
        """Return the pixels of a row that came in arrays."""
        parts = [self.images.stored(number) for number in self._numbers(row)]
        return None if any(part is None for part in parts) else np.stack([part for part in parts if part is not None])

    def digests(self, rows: IntArray) -> Digests:
        """Return hashes of the single images, uint64 ``(n, count)``."""
        numbers = rows[:, None] * self._count + np.arange(self._count)
        return self.images.digests(numbers.ravel()).reshape(len(rows), -1)

    def _numbers(self, row: int) -> range:
        return range(row * self._count, (row + 1) * self._count)


class JoinedImages:
    """The concatenated images of several readers.

    Args:
        readers: pairs of a reader and the number of its rows.
    """

    def __init__(self, readers: Sequence[tuple[ImageReader, int]]) -> None:
        self.readers = [reader for reader, _ in readers]
        self.in_memory = all(reader.in_memory for reader in self.readers)
        self._ends = np.cumsum([count for _, count in readers])

    def read(self, row: int) -> UInt8Array:
        """Return the pixels of a row of the whole."""
        reader, inner = self._find(row)
        return reader.read(inner)

    def files(self, row: int) -> list[Path]:
        """Return the files of a row of the whole."""
        reader, inner = self._find(row)
        return reader.files(inner)

    def stored(self, row: int) -> UInt8Array | None:
        """Return the pixels of a row that came from arrays."""
        reader, inner = self._find(row)
        return reader.stored(inner)

    def digests(self, rows: IntArray) -> Digests:
        """Return hashes of the images of rows of the whole, uint64 ``(n, images per row)``."""
        owners = np.searchsorted(self._ends, rows, side="right")
        starts = np.concatenate([[0], self._ends[:-1]])
        chosen = [np.flatnonzero(owners == number) for number in range(len(self.readers))]
        parts = [
            reader.digests(rows[places] - start)
            for reader, start, places in zip(self.readers, starts, chosen, strict=True)
        ]
        whole: Digests = np.concatenate(parts)[np.argsort(np.concatenate(chosen))]
        return whole

    def _find(self, row: int) -> tuple[ImageReader, int]:
        number = int(np.searchsorted(self._ends, row, side="right"))
        return self.readers[number], row - (int(self._ends[number - 1]) if number else 0)


class ChosenImages:
    """Some rows of another reader.

    Args:
        images: reader of all rows.
        rows: row numbers of that reader, in the order of the new rows.
    """

    def __init__(self, images: ImageReader, rows: npt.NDArray[Any]) -> None:
        self.images = images
        self.in_memory = images.in_memory
        self._rows = rows

    def read(self, row: int) -> UInt8Array:
        """Return the pixels of a chosen row."""
        return self.images.read(int(self._rows[row]))

    def files(self, row: int) -> list[Path]:
        """Return the files of a chosen row."""
        return self.images.files(int(self._rows[row]))

    def stored(self, row: int) -> UInt8Array | None:
        """Return the pixels of a chosen row that came in arrays."""
        return self.images.stored(int(self._rows[row]))

    def digests(self, rows: IntArray) -> Digests:
        """Return hashes of the images of chosen rows, uint64 ``(n, images per row)``."""
        return self.images.digests(self._rows[rows])
