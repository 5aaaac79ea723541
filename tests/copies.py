"""Copies of results that a test is going to change."""

import shutil
from pathlib import Path


def copy_to_edit(folder: Path, copy: Path) -> None:
    """Copy runs or comparisons without their checksums, as earlier versions left them: what is changed is read."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checksums.json"))
