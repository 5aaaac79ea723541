"""Image files to uint8: decoded, turned as their EXIF says, resized to a square, and only then made grey or RGB.

The cache keeps a picture before that last step, and so gives the same pixels.
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
"""Raised whenever the pixels of a file come out otherwise: what was decoded before is not used again."""

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # data.max_pixels is the limit here


class UnreadableImageError(InputError):
    """An image file that is missing or cannot be decoded."""


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
            return read_dicom(path, max_pixels)
        return read_picture(path, max_pixels)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow raise whatever its parsers stumble over
        raise UnreadableImageError(
            f"cannot read the image {path}: {first_line(error)}. Replace the file, take its row out of the table, or "
            "set data.unreadable=skip; `ltml data check` lists all such files."
        ) from error
