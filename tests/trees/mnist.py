"""MNIST as torchvision keeps it: ``MNIST/raw`` with four idx files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def build(root: Path, *, train: int = 60, test: int = 40) -> Path:
    """The digit of image i is i % 10; the image is one grey, in train even and in test odd."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count, odd in (("train", train, 0), ("t10k", test, 1)):
        greys = (2 * np.arange(count) + odd).astype(np.uint8)
        pixels = np.broadcast_to(greys[:, None, None], (count, 28, 28))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, count, 28, 28) + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, count) + labels.tobytes())
    return root
