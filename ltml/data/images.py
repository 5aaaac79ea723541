"""Pixels by row: arrays in memory, or image files decoded to uint8 at one size.

A picture is decoded, turned as its EXIF says, resized to a square, and only then made grey or RGB: the cache keeps it
before that last step, and gives the same pixels.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ltml.errors import InputError, first_line
from ltml.types import ImageReader, UInt8Array, UnreadableImageError

MAX_PIXELS = 89_000_000
"""Largest picture that is decoded unless told otherwise, a little below the size at which Pillow warns of bombs."""

PILLOW_LIMIT = 178_000_000
"""Pillow itself refuses pictures above about this many pixels."""

TO_GREY = np.array([19595, 38470, 7471], dtype=np.uint32)
"""ITU-R 601-2 weights times 2^16, as Pillow's conversion to grey has them."""

PALETTES = ("P", "PA")

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # data.max_pixels is the limit here


class ArrayImages:
    """Images that are in memory already.

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
        self._digest = ""

    def read(self, row: int) -> UInt8Array:
        """Pixels of a row, uint8 ``(size, size, channels)``."""
        pixels = self._pixels[row]
        if pixels.shape[:2] != (self._size, self._size):
            squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
            pixels = resize(Image.fromarray(squeezed), self._size)
        return with_channels(pixels, self._channels)

    def files(self, row: int) -> list[Path]:  # noqa: ARG002
        """None."""
        return []

    def stored(self, row: int) -> UInt8Array | None:
        """Pixels of a row at their own size."""
        pixels: UInt8Array = self._pixels[row]
        return pixels

    def digest(self) -> str:
        """Hash of all pixels."""
        self._digest = self._digest or self._hash()
        return self._digest

    def _hash(self) -> str:
        digest = hashlib.sha256(str(self._pixels.shape).encode())
        for part in np.array_split(self._pixels, max(1, len(self._pixels) // 1000)):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


class FileImages:
    """Image files, decoded when asked for.

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
        """Pixels of a row, uint8 ``(size, size, channels)``.

        Raises:
            UnreadableImageError: the file is missing, damaged, too large, or not an image.
        """
        return with_channels(decode(self.paths[row], self.size, self.max_pixels), self.channels)

    def files(self, row: int) -> list[Path]:
        """The file of a row."""
        return [self.paths[row]]

    def stored(self, row: int) -> UInt8Array | None:  # noqa: ARG002
        """None: the pixels come from files."""
        return None

    def digest(self) -> str:
        """Empty."""
        return ""


class StackedImages:
    """Several images as one row, e.g. both eyes of a patient: their channels one after the other.

    Args:
        images: reader of the single images; those of one row follow each other.
        count: images per row.
    """

    def __init__(self, images: ImageReader, count: int) -> None:
        self.images = images
        self.in_memory = images.in_memory
        self._count = count

    def read(self, row: int) -> UInt8Array:
        """Pixels of a row, uint8 ``(size, size, count · channels)``."""
        return np.concatenate([self.images.read(number) for number in self._numbers(row)], axis=-1)

    def files(self, row: int) -> list[Path]:
        """The files of a row."""
        return [path for number in self._numbers(row) for path in self.images.files(number)]

    def stored(self, row: int) -> UInt8Array | None:
        """Pixels of a row that came in arrays."""
        parts = [self.images.stored(number) for number in self._numbers(row)]
        return None if any(part is None for part in parts) else np.stack([part for part in parts if part is not None])

    def digest(self) -> str:
        """That of the single images."""
        return self.images.digest()

    def _numbers(self, row: int) -> range:
        return range(row * self._count, (row + 1) * self._count)


class JoinedImages:
    """The images of several readers one after the other.

    Args:
        readers: each with the number of its rows.
    """

    def __init__(self, readers: Sequence[tuple[ImageReader, int]]) -> None:
        self.readers = [reader for reader, _ in readers]
        self.in_memory = all(reader.in_memory for reader in self.readers)
        self._ends = np.cumsum([count for _, count in readers])

    def read(self, row: int) -> UInt8Array:
        """Pixels of a row of the whole."""
        reader, inner = self._find(row)
        return reader.read(inner)

    def files(self, row: int) -> list[Path]:
        """The files of a row of the whole."""
        reader, inner = self._find(row)
        return reader.files(inner)

    def stored(self, row: int) -> UInt8Array | None:
        """Pixels of a row of the whole that came in arrays."""
        reader, inner = self._find(row)
        return reader.stored(inner)

    def digest(self) -> str:
        """Those of all readers."""
        return "".join(reader.digest() for reader in self.readers)

    def _find(self, row: int) -> tuple[ImageReader, int]:
        number = int(np.searchsorted(self._ends, row, side="right"))
        return self.readers[number], row - (int(self._ends[number - 1]) if number else 0)


class ChosenImages:
    """Some rows of another reader.

    Args:
        images: reader of all rows.
        rows: row numbers there, in the order of the new rows.
    """

    def __init__(self, images: ImageReader, rows: npt.NDArray[Any]) -> None:
        self.images = images
        self.in_memory = images.in_memory
        self._rows = rows

    def read(self, row: int) -> UInt8Array:
        """Pixels of a chosen row."""
        return self.images.read(int(self._rows[row]))

    def files(self, row: int) -> list[Path]:
        """The files of a chosen row."""
        return self.images.files(int(self._rows[row]))

    def stored(self, row: int) -> UInt8Array | None:
        """Pixels of a chosen row that came in arrays."""
        return self.images.stored(int(self._rows[row]))

    def digest(self) -> str:
        """That of all rows."""
        return self.images.digest()


def read_image(path: Path, size: int, channels: int, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Pixels of a file, uint8 ``(size, size, channels)``; see `decode`."""
    return with_channels(decode(path, size, max_pixels), channels)


def decode(path: Path, size: int, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a file and resize it to a square.

    Returns:
        uint8 ``(size, size, 1)`` if the picture is grey, whatever the file's mode, else ``(size, size, 3)``.

    Raises:
        UnreadableImageError: the file is missing, damaged, too large, or not an image.
    """
    pixels = resize(open_picture(path, max_pixels), size)
    if pixels.ndim == 3 and bool((pixels == pixels[..., :1]).all()):
        return pixels[..., :1]
    return pixels.reshape(size, size, -1)


def open_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture of an image or DICOM file at its own size, mode ``L`` or ``RGB``, upright.

    Raises:
        UnreadableImageError: as in `decode`.
    """
    try:
        if is_dicom(path):
            from ltml.data.dicom import read_dicom  # an extra

            return read_dicom(path, max_pixels)
        with Image.open(path) as opened:
            check_pixel_count(opened.width, opened.height, max_pixels)
            opened.load()
            return _to_8_bits(ImageOps.exif_transpose(opened))
    except (InputError, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow raise whatever its parsers stumble over
        raise UnreadableImageError(
            f"cannot read the image {path}: {first_line(error)}. Replace the file, take its row out of the table, or "
            "set data.unreadable=skip; `ltml data check` lists all such files."
        ) from error


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its name's ending or its preamble."""
    if path.suffix.lower() in (".dcm", ".dicom"):
        return True
    if path.suffix:
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def check_pixel_count(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture before it is decoded.

    Raises:
        ValueError: it has more pixels than allowed.
    """
    if width * height > max_pixels:
        raise ValueError(f"{width}×{height} pixels are more than data.max_pixels={max_pixels}")


def resize(image: Image.Image, size: int) -> UInt8Array:
    """Antialiased bilinear resize to a square of `size` px, uint8 ``(size, size[, 3])``."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def with_channels(pixels: UInt8Array, channels: int) -> UInt8Array:
    """Grey or RGB pixels ``(H, W[, 1 or 3])`` as ``(H, W, channels)``."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return ((pixels @ TO_GREY + 0x8000) >> 16).astype(np.uint8)[..., None]


def stretch(values: npt.NDArray[Any], limits: tuple[float, float] | None = None) -> UInt8Array:
    """Values of any integer or float range as uint8.

    Files of 16 bits hold 10, 12, 15 or 16 bits of it, and rarely say how many: the range of their type would leave
    most of them almost black.

    Args:
        values: any shape.
        limits: what becomes 0 and 255; None for the smallest and largest value.

    Raises:
        ValueError: a value is not finite.
    """
    low, high = limits or (float(values.min()), float(values.max()))
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return scaled.round().clip(0, 255).astype(np.uint8)


def _to_8_bits(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(stretch(np.asarray(image)))
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("L")
    if image.mode in PALETTES:
        image = image.convert("RGBA")  # a transparent entry has no colour of its own otherwise
    return image.convert("RGB")
