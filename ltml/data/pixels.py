"""Compute with pixels: sizes, channels, ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ltml.arrays import UInt8Array

MAX_PIXELS = 89_000_000
"""Default maximum number of pixels of a picture, slightly below the size at which Pillow warns."""

TO_GREY = np.array([19595, 38470, 7471], dtype=np.uint32)
"""ITU-R 601-2 weights times 2^16, as in Pillow's conversion to grey."""


def check_pixel_count(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture before it is decoded.

    Raises:
        ValueError: it has more pixels than allowed.
    """
    if width * height > max_pixels:
        raise ValueError(f"{width}×{height} pixels are more than data.max_pixels={max_pixels}")


def resize(image: Image.Image, size: int) -> UInt8Array:
    """Resize to a square of `size` px, bilinear with antialiasing; uint8 ``(size, size[, 3])``."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def with_channels(pixels: UInt8Array, channels: int) -> UInt8Array:
    """Convert grey or RGB pixels ``(H, W[, 1 or 3])`` to ``(H, W, channels)``."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return ((pixels @ TO_GREY + 0x8000) >> 16).astype(np.uint8)[..., None]


def stretch(values: npt.NDArray[Any], limits: tuple[float, float] | None = None) -> UInt8Array:
    """Scale values of any integer or float range to uint8.

    16-bit files use 10, 12, 15 or 16 bits and rarely say how many; scaling by the range of the type would make most of
    them almost black.

    Args:
        values: any shape.
        limits: values that become 0 and 255; None for the smallest and largest value.

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


def count_levels(pixels: UInt8Array) -> tuple[int, int]:
    """Return the range of a picture's pixels in levels: of all pixels, and of the middle 99 %.

    Args:
        pixels: uint8 ``(..., channels)``; the channel with the largest range counts.

    Returns:
        Two numbers from 0 (one value) to 255.
    """
    channels = pixels.reshape(-1, pixels.shape[-1]).T
    below = np.stack([np.bincount(channel, minlength=256) for channel in channels]).cumsum(axis=1)
    total = below[0, -1]
    # The levels in between are those with more than so many pixels at or below them, and at least so many above.
    whole, middle = (((below > total * tail) & (below < total * (1 - tail))).sum(axis=1).max() for tail in (0, 0.005))
    return int(whole), int(middle)
