"""Pixels by row: arrays in memory, or image files decoded to uint8 at one size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ltml.types import UInt8Array, UnreadableImageError


class ArrayImages:
    """Images that are in memory already.

    Args:
        pixels: uint8 ``(N, H, W, channels)``.
    """

    in_memory = True

    def __init__(self, pixels: UInt8Array) -> None:
        self._pixels = pixels

    def read(self, row: int) -> UInt8Array:
        """Pixels of a row, uint8 ``(H, W, channels)``."""
        image: UInt8Array = self._pixels[row]
        return image


class FileImages:
    """Image files, decoded when asked for.

    Args:
        paths: one file per row.
        size: side in px of the square that images are resized to.
        channels: 1 grey, 3 RGB.
    """

    in_memory = False

    def __init__(self, paths: Sequence[Path], size: int, channels: int) -> None:
        self._paths = list(paths)
        self._size = size
        self._channels = channels

    def read(self, row: int) -> UInt8Array:
        """Pixels of a row, uint8 ``(size, size, channels)``.

        Raises:
            UnreadableImageError: the file is missing, damaged, or not an image.
        """
        return read_image(self._paths[row], self._size, self._channels)


def read_image(path: Path, size: int, channels: int) -> UInt8Array:
    """Decode a file, turn it as its EXIF says, make it grey or RGB, and resize it to a square.

    Returns:
        uint8 ``(size, size, channels)``.

    Raises:
        UnreadableImageError: the file is missing, damaged, or not an image.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
            pixels = resize(_to_8_bits(image).convert("L" if channels == 1 else "RGB"), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(
            f"cannot read the image {path}: {error}. Replace the file or take its row out of the table."
        ) from error
    return pixels.reshape(size, size, channels)


def resize(image: Image.Image, size: int) -> UInt8Array:
    """Antialiased bilinear resize to a square of `size` px, uint8 ``(size, size[, 3])``."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled by its full range; Pillow's own conversion would cut off everything above 255."""
    if not image.mode.startswith("I;16"):
        if image.mode in ("I", "F"):
            raise ValueError(f"32-bit mode '{image.mode}' has no defined range; save it as 8- or 16-bit")
        return image
    return Image.fromarray((np.asarray(image, dtype=np.uint16) / 257.0).round().astype(np.uint8))
