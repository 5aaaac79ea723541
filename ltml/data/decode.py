"""Decode image files to uint8: rotate by EXIF, resize to a square, and then convert to grey or RGB.

The cache stores pictures before the last step, so that cached and decoded pixels are equal.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from ltml.arrays import UInt8Array
from ltml.data.dicom import read_dicom
from ltml.data.image_files import is_dicom
from ltml.data.pictures import read_picture
from ltml.data.pixels import MAX_PIXELS, resize, with_channels
from ltml.errors import InputError, first_line

DECODER = 2
"""Version of the decoder. Increase it whenever decoded pixels change, so that earlier results are not reused."""

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # data.max_pixels is the limit here


class UnreadableImageError(InputError):
    """An image file that is missing or cannot be decoded."""


def read_image(path: Path, size: int, channels: int, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Read the pixels of a file, uint8 ``(size, size, channels)``; see `decode`."""
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
    """Open an image or DICOM file at its own size, upright, in mode ``L`` or ``RGB``.

    Raises:
        UnreadableImageError: as in `decode`.
    """
    try:
        if is_dicom(path):
            return read_dicom(path, max_pixels)
        return read_picture(path, max_pixels)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow raise many kinds of errors
        raise UnreadableImageError(
            f"cannot read the image {path}: {first_line(error)}. Replace the file, take its row out of the table, or "
            "set data.unreadable=skip; `ltml data check` lists all such files."
        ) from error
