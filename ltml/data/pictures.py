"""Read pictures by Pillow as 8-bit grey or RGB, with the full depth and polarity of the file.

Pillow itself keeps only the high byte of 16-bit colour, lets unsigned 32-bit values overflow, does not invert some
kinds of white-is-zero, and returns the first of several pages.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from ltml.arrays import IntArray
from ltml.data.pixels import check_pixel_count, stretch

PALETTES = ("P", "PA")

DEEP_COLOUR = re.compile(r"(RGB|RGBX|RGBA|LA);16[BLN]")
"""Pillow's raw modes of 16 bits per channel that it truncates to 8 and that can be read in two halves."""

DECODED_BY_LIBTIFF = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""Raw modes that libtiff has already brought to the machine's byte order, which Pillow overlooks."""

PHOTOMETRIC, BITS, PLANES, SAMPLE_FORMAT = 262, 258, 284, 339
"""TIFF tags: photometric interpretation (0: white is zero), bits per sample, planar configuration, kind of number."""


def read_picture(path: Path, max_pixels: int) -> Image.Image:
    """Return the picture of a file as 8-bit grey or RGB, upright.

    More than 8 bits are scaled over the range of the picture, all channels together.

    Raises:
        ValueError: too many pixels, several pages, or more bits than can be read.
    """
    with _open(path) as opened:
        check_pixel_count(opened.width, opened.height, max_pixels)
        _refuse_pages(opened)
        codec, raw, limit = _coding(opened)
        if codec == "ppm" and limit > 255 and opened.mode == "RGB":
            return Image.fromarray(stretch(_deep_ppm(path, opened)))
        if DEEP_COLOUR.fullmatch(raw) and not _in_planes(opened):
            return Image.fromarray(stretch(_deep_colour(path, raw)))
        _refuse_cut(path, opened)
        if codec == "libtiff" and raw in DECODED_BY_LIBTIFF:
            _set_raw_mode(opened, DECODED_BY_LIBTIFF[raw])
        tags = dict(getattr(opened, "tag_v2", {}))
        opened.load()
        return _to_8_bits(ImageOps.exif_transpose(opened), tags)


def _open(path: Path) -> ImageFile.ImageFile:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        if kind := _tiff_kind(path):
            raise ValueError(f"a TIFF of {kind} is not supported; save it as PNG, or little-endian") from error
        raise


def _tiff_kind(path: Path) -> str:
    """Describe the numbers of a TIFF file; empty for other files."""
    with path.open("rb") as file:
        head = file.read(8)
        if not head.startswith((b"II*\0", b"MM\0*")):
            return ""
        tags = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
    bits, kind = tags.get(BITS, (1,)), tags.get(SAMPLE_FORMAT, (1,))
    return (
        f"{len(bits)} × {max(bits)} bits, PhotometricInterpretation {tags.get(PHOTOMETRIC)}, SampleFormat {kind[0]}, "
        f"{'big' if head[:1] == b'M' else 'little'}-endian"
    )


def _refuse_pages(opened: ImageFile.ImageFile) -> None:
    """Refuse several pages, frames or sizes; the layers of a PSD file are one picture."""
    if opened.format == "PSD":
        return
    pages = max(int(getattr(opened, "n_frames", 1)), len(set(opened.info.get("sizes", ()))))
    if pages > 1:
        raise ValueError(f"the file has {pages} pages; none is chosen for you: save the one you mean as a file")


def _refuse_cut(path: Path, opened: ImageFile.ImageFile) -> None:
    """Refuse pictures of which Pillow would drop 8 of 16 bits."""
    codec, raw, limit = _coding(opened)
    colour = opened.mode not in ("I;16", "I;16B", "I", "F", "L")
    kinds = {
        "in separate planes": _in_planes(opened),
        "multiplied by alpha": raw.startswith("RGBa;16"),
        "as text": codec == "ppm_plain" and limit > 255 and colour,
        "of SGI": codec == "SGI16" or (codec == "sgi_rle" and limit == 2),
        "of JPEG 2000 with several channels": opened.format == "JPEG2000" and colour and _jpeg2000_bits(path) > 8,
    }
    for kind, found in kinds.items():
        if found:
            raise ValueError(
                f"it has more than 8 bits a channel, {kind}, which cannot be read in full; save it as a 16-bit PNG"
            )


def _coding(opened: ImageFile.ImageFile) -> tuple[str, str, int]:
    """Return the codec, Pillow's raw mode, and the codec's last number (PPM: largest value, SGI: bytes), else 0."""
    if not opened.tile:
        return "", "", 0
    codec, _, _, args = opened.tile[0]
    values = (args,) if isinstance(args, str) else tuple(args or ())
    raw = values[0] if values and isinstance(values[0], str) else ""
    return codec, raw, values[-1] if len(values) > 1 and isinstance(values[-1], int) else 0


def _in_planes(opened: ImageFile.ImageFile) -> bool:
    tags: Any = getattr(opened, "tag_v2", {})
    bits = tags.get(BITS, (1,))
    return bool(tags.get(PLANES) == 2 and len(bits) > 1 and max(bits) > 8)


def _deep_colour(path: Path, raw: str) -> IntArray:
    """Return 16-bit values ``(H, W)`` or ``(H, W, 3)``, put together from first and second bytes; alpha is left out.

    Pillow has no such mode. It keeps the first byte of each pair if the raw mode is big-endian, and the second if it is
    little-endian.
    """
    kind, order = raw.split(";16")
    if kind == "LA":  # four bytes a pixel: grey, grey, alpha, alpha; PNG, so the high one comes first
        pairs = _load_as(path, "RGBA")
        return pairs[..., 0] * 256 + pairs[..., 1]
    first, second = (_load_as(path, f"{kind};16{order}")[..., :3] for order in "BL")
    big = order == "B" or (order == "N" and sys.byteorder == "big")
    return first * 256 + second if big else second * 256 + first


def _load_as(path: Path, raw: str) -> IntArray:
    with Image.open(path) as opened:
        _set_raw_mode(opened, raw)
        opened.load()
        return np.asarray(ImageOps.exif_transpose(opened)).astype(np.int32)


def _set_raw_mode(opened: ImageFile.ImageFile, raw: str) -> None:
    tiles: list[Any] = []
    for tile in opened.tile:
        args = raw if isinstance(tile[3], str) else (raw, *(tile[3] or ())[1:])
        tiles.append(type(tile)(*tile[:3], args) if hasattr(tile, "_fields") else (*tile[:3], args))
    opened.tile = tiles


def _deep_ppm(path: Path, opened: ImageFile.ImageFile) -> IntArray:
    """Return the values of a binary PPM of two bytes a channel, ``(H, W, 3)``."""
    shape = (opened.height, opened.width, 3)
    values = np.fromfile(path, dtype=">u2", count=int(np.prod(shape)), offset=opened.tile[0][2])
    return values.astype(np.int32).reshape(shape)


def _jpeg2000_bits(path: Path) -> int:
    """Return the largest number of bits per channel in the codestream's SIZ segment (ISO/IEC 15444-1, A.5.1)."""
    data = path.read_bytes()
    start = data.find(b"\xff\x4f\xff\x51")
    channels = int.from_bytes(data[start + 40 : start + 42], "big")
    return max(((depth & 0x7F) + 1 for depth in data[start + 42 : start + 42 + 3 * channels : 3]), default=0)


def _to_8_bits(image: Image.Image, tags: dict[int, Any]) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if tags.get(BITS) == (32,) and tags.get(SAMPLE_FORMAT, (1,)) == (1,):
            values = values.view(np.uint32)
        return Image.fromarray(stretch(-values.astype(np.float64) if tags.get(PHOTOMETRIC) == 0 else values))
    if image.mode == "L" and tags.get(SAMPLE_FORMAT) == (2,):
        return Image.fromarray(stretch(np.asarray(image).view(np.int8)))
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("L")
    if image.mode in PALETTES:
        image = image.convert("RGBA")  # otherwise transparent entries have no colour
    return image.convert("RGB")
