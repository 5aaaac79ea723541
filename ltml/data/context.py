"""What every dataset loader is told besides its own options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ltml.errors import InputError


@dataclass(frozen=True)
class DataContext:
    """The recipe's ``data`` fields that all datasets share.

    Attributes:
        root: folder of the images, where the dataset has one.
        size: side in px that images are resized to before the views.
        channels: 1 grey, 3 RGB.
        ratio: train : val : test for data without a split of their own.
        seed: split seed.
    """

    root: Path | None
    size: int
    channels: int
    ratio: tuple[int, int, int]
    seed: int


def absent_loader(name: str) -> NoReturn:
    """Say that a dataset's options are known but its files cannot be read yet."""
    raise InputError(
        f"the loader of dataset '{name}' is not part of this version: its recipe can be checked and copied, not run. "
        "Write your labels as a CSV and use the recipe 'csv' (`ltml recipes show csv`), or run 'digits'."
    )
