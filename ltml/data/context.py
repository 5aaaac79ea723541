"""Define the input that every dataset loader receives besides its own options."""

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
        root: folder of the dataset's files, if it has one.
        size: side in px that images are resized to before the views.
        channels: 1 grey, 3 RGB.
        ratio: train : val : test if the data have no split; of the first two if they have no val.
        seed: split seed.
        given_split: whether to use the split of the data, if they have one.
        split_file: CSV of ``id`` and ``split`` that replaces every other split.
        id_prefix: prefix of this dataset's ids in that file: the source's name in a union.
        stratify: whether to spread the positives of every label over the splits.
        max_pixels: images with more are refused.
        labels_only: whether to read labels only, so that images may be missing.
        skip_unreadable: whether to leave out missing and unreadable images instead of raising.
        roots: folder of each source of a union.
        source: name of the source of a union that is loaded; empty outside of one.
        root_key: recipe key of `root`.
        root_hint: alternative ways to give it, for messages.
        faults: collector of faults in the data.
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
        """Return the folder of a dataset.

        Raises:
            InputError: if none was given or it is not a folder.
        """
        if self.root is None:
            hint = f"add {self.root_key}=FOLDER{self.root_hint}"
            raise InputError(f"the dataset '{dataset}' needs the folder of its files: {hint}")
        if not self.root.is_dir():
            raise InputError(f"{self.root_key} {self.root} is not a folder; give the folder of the dataset's files")
        return self.root
