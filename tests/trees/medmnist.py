"""MedMNIST's .npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CLASSES = {"dermamnist": 7, "tissuemnist": 8, "organamnist": 11, "retinamnist": 5, "chestmnist": 14}
COLOUR = ("dermamnist", "retinamnist")


def build(root: Path, flag: str, *, side: int = 28, scale: int = 1, **changed: np.ndarray | None) -> Path:
    """24 images to train on, 12 for validation, 14 for testing; the first pixels say split, number and side.

    Args:
        side: 28 has no ending in its name.
        scale: `side` by that is the real side, to keep files small.
        changed: arrays in place of others, None for none.
    """
    arrays = {}
    real = side // scale
    for number, (split, count) in enumerate({"train": 24, "val": 12, "test": 14}.items()):
        shape = (count, real, real, 3) if flag in COLOUR else (count, real, real)
        pixels = np.zeros(shape, dtype=np.uint8)
        pixels[:, 0, 0] = number
        pixels[:, 0, 1] = np.arange(count).reshape(-1, *[1] * (len(shape) - 3))
        pixels[:, 0, 2] = side
        rows = np.arange(count)
        labels = (rows % CLASSES[flag])[:, None].astype(np.uint8)
        if flag == "chestmnist":
            labels = ((rows[:, None] + np.arange(14)) % 5 == 0).astype(np.uint8)
        arrays |= {f"{split}_images": pixels, f"{split}_labels": labels}
    kept = {name: array for name, array in (arrays | changed).items() if array is not None}
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / (f"{flag}.npz" if side == 28 else f"{flag}_{side}.npz"), **kept)
    return root
