"""CIFAR-10 as torchvision keeps it: ``cifar-10-batches-py`` with pickled batches."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class _OldPickler(pickle.Pickler):
    """Types of arrays are written as the numpy of 2009 did, with 0 and 1 for false and true."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def build(root: Path, *, each: int = 10) -> dict[str, str]:
    """Five training batches and one for testing; red is the number in the batch, green the batch, blue 9.

    Returns:
        The hash of each file, which torchvision compares.
    """
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    contents: dict[str, Any] = {"batches.meta": {"label_names": list(NAMES)}}
    for number, name in enumerate(names):
        planes = np.zeros((each, 3, 32, 32), dtype=np.uint8)
        planes[:, 0] = np.arange(each)[:, None, None]
        planes[:, 1] = number
        planes[:, 2, 0] = 9
        contents[name] = {"data": planes.reshape(each, -1), "labels": [(i + number) % 10 for i in range(each)]}
    hashes = {}
    for name, content in contents.items():
        file = io.BytesIO()
        _OldPickler(file, protocol=2).dump(content)
        (folder / name).write_bytes(file.getvalue())
        hashes[name] = hashlib.md5(file.getvalue()).hexdigest()
    return hashes
