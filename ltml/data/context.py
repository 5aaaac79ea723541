"""What every dataset loader is told besides its own options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ltml.data.faults import Faults
from ltml.data.pixels import MAX_PIXELS
from ltml.errors import InputError


@dataclass(frozen=True)
class DataContext:
    """The recipe's ``data`` fields that all datasets share.

    Attributes:
        root: folder of the dataset's files, where it has one.
        size: side in px that images are resized to before the views.
        channels: 1 grey, 3 RGB.
        ratio: train : val : test where the data give no split; of the first two where they give no val.
        seed: split seed.
        given_split: use the split that the data give, if they do.
        split_file: CSV of ``id`` and ``split`` that counts instead of any other split.
        id_prefix: what stands before this dataset's ids in that file: the source's name in a union.
        stratify: spread the positives of every label over the splits.
        max_pixels: images with more are refused.
        labels_only: the images need not be there: nothing but the labels is looked at.
        skip_unreadable: leave out images that are missing or cannot be decoded, instead of stopping.
        roots: folder of each source of a union.
        source: name of the source of a union that is loaded; empty outside of one.
        root_key: what the recipe calls `root`.
        root_hint: where else it could be given, for messages.
        faults: where to report what is wrong with the data.
    """

    root: Path | None
    size: int
    channels: int
    ratio: tuple[int, int, int]
    seed: int
    given_split: bool = True
    split_file: Path | None = None
    id_prefix: str = ""
    stratify: bool = False
    max_pixels: int = MAX_PIXELS
    labels_only: bool = False
    skip_unreadable: bool = False
    roots: Mapping[str, Path] = field(default_factory=dict)
    source: str = ""
    root_key: str = "data.root"
    root_hint: str = ""
    faults: Faults = field(default_factory=Faults)

    def option(self, name: str, value: str = "") -> str:
        """Return how a user gives an option of the dataset: on the command line, or to the source of a union."""
        if self.source:
            return f"'{name}: {value or '…'}' for the source '{self.source}' in data.sources"
        return f"data.{name}={value}" if value else f"data.{name}"

    def need_root(self, dataset: str) -> Path:
        """The folder of a dataset.

        Raises:
            InputError: none was given, or it is no folder.
        """
        if self.root is None:
            hint = f"add {self.root_key}=FOLDER{self.root_hint}"
            raise InputError(f"the dataset '{dataset}' needs the folder of its files: {hint}")
        if not self.root.is_dir():
            raise InputError(f"{self.root_key} {self.root} is not a folder; give the folder of the dataset's files")
        return self.root
