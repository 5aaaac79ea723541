"""TIFF files of any kind of number, written by hand, since Pillow writes only some of them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

SHORT, LONG = 3, 4


def write_tiff(
    path: Path,
    values: np.ndarray,
    *,
    order: str = "<",
    photometric: int | None = None,
    packed: bool = False,
    alpha: int | None = None,
    planes: int = 1,
) -> Path:
    """Write values ``(H, W)`` or ``(H, W, channels)`` as one strip.

    Args:
        path: of the file.
        values: integers or floats.
        order: ``"<"`` little-endian, ``">"`` big-endian.
        photometric: 0 white is zero, 1 black is zero, 2 RGB; None for what suits the shape.
        packed: deflate the strip.
        alpha: the tag ExtraSamples.
        planes: the tag PlanarConfiguration; 2 writes the tag only.
    """
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if packed else data
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8 * values.dtype.itemsize] * channels),
        259: (SHORT, [8 if packed else 1]),
        262: (SHORT, [photometric if photometric is not None else 1 if channels == 1 else 2]),
        273: (LONG, [8]),
        277: (SHORT, [channels]),
        278: (LONG, [height]),
        279: (LONG, [len(data)]),
        284: (SHORT, [planes]),
        339: (SHORT, [kind] * channels),
    }
    if alpha is not None:
        tags[338] = (SHORT, [alpha])
    data += b"\0" * (len(data) % 2)
    directory = 8 + len(data)
    rest, entries = b"", b""
    for tag, (number, items) in sorted(tags.items()):
        raw = struct.pack(order + {SHORT: "H", LONG: "I"}[number] * len(items), *items)
        if len(raw) > 4:
            place = directory + 6 + 12 * len(tags) + len(rest)
            rest, raw = rest + raw, struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, number, len(items)) + raw.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", directory)
    path.write_bytes(head + data + struct.pack(order + "H", len(tags)) + entries + bytes(4) + rest)
    return path
