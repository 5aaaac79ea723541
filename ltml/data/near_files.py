"""Find the file that a listed path probably means, and describe the difference."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ltml.errors import brief
from ltml.near_names import fold_name

LONGEST_NAME = 255
"""Largest length of a file or folder name that file systems allow, bytes."""


def impossible_path(path: Path) -> str:
    """Return why no file can have this path; empty if one can."""
    text = str(path)
    if "\0" in text:
        return "its name holds a NUL byte"
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > LONGEST_NAME:
        return f"a name of {longest:,} bytes, where file systems allow {LONGEST_NAME}"
    return ""


@dataclass
class NearFiles:
    """Lookup of files in a folder by misspelt paths.

    Attributes:
        root: the folder.
    """

    root: Path
    _listings: dict[Path, Mapping[str, str]] = field(default_factory=dict)

    def hint(self, path: Path) -> str:
        """Return a correction of a path without a file; empty if no file is similar."""
        if "://" in str(path) or re.search(r"^\w+:/\w", _below(path, self.root)):
            return "addresses are not read: copy the file and list its path"
        listed = _below(path, self.root)
        found = next((found for parts in _readings(listed) if (found := self._find(parts))), None)
        if found is None:
            return ""
        return f"there is '{brief(found, 120)}': {_differ_by(listed, found)}"

    def _find(self, parts: Sequence[str]) -> str | None:
        """Return the path below the root whose parts are similar."""
        place, names = self.root, []
        for number, part in enumerate(parts, start=1):
            listing = self._list(place)
            name = listing.get(fold_name(part))
            if name is None and number == len(parts):
                name = listing.get(_stem(part))
            if name is None:
                return None
            names.append(name)
            place = place / name
        return "/".join(names) if names and place.is_file() else None

    def _list(self, folder: Path) -> Mapping[str, str]:
        """Return the names in a folder by their form without case, blanks, invisible letters and ending."""
        if folder not in self._listings:
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            self._listings[folder] = {_stem(name): name for name in names} | {fold_name(name): name for name in names}
        return self._listings[folder]


def _below(path: Path, root: Path) -> str:
    """Return a path as a table lists it: without the root if it lies below it."""
    beginning = os.path.join(root, "")
    return str(path).removeprefix(beginning)


def _readings(listed: str) -> Iterator[list[str]]:
    """Yield the parts of a path, then without the first one, the first two, and so on: where folders were moved."""
    parts = [part for part in re.split(r"[/\\]", unquote(listed)) if part not in ("", ".")]
    for start in range(len(parts)):
        yield parts[start:]


def _stem(name: str) -> str:
    return fold_name(os.path.splitext(name)[0])


def _differ_by(listed: str, found: str) -> str:
    """Describe how a listed path differs from that of the file."""
    if unicodedata.normalize("NFC", listed) == unicodedata.normalize("NFC", found):
        return "its accents are written as letters of their own (Unicode NFC and NFD differ)"
    if "\\" in listed and fold_name(listed.replace("\\", "/")).endswith(fold_name(found)):
        return "paths are written with / in place of \\"
    if listed.casefold() == found.casefold():
        return "capital and small letters differ"
    if fold_name(listed) == fold_name(found):
        return "a blank or an invisible letter differs"
    if fold_name(listed).endswith(fold_name(found)):
        return "the folders before it differ"
    if _stem(listed) == _stem(found):
        return "its ending differs"
    return "write it so"
