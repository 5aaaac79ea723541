"""Decide which files are images, for training, cache, checks and folders."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image

DICOM_ENDINGS = (".dcm", ".dicom", ".dic", ".dc3")
"""File name endings that mean DICOM even without the preamble, which older writers left out."""

PREAMBLE = 128
"""Number of bytes before the letters DICM of a DICOM file."""


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM: by the letters DICM after its preamble, whatever its name, or by its ending."""
    try:
        with path.open("rb") as file:
            head = file.read(PREAMBLE + 4)
    except OSError:
        head = b""
    return head[PREAMBLE:] == b"DICM" or path.suffix.lower() in DICOM_ENDINGS


def is_image(path: Path) -> bool:
    """Return whether a file in a folder of images is one: by its ending, or because it is DICOM."""
    return path.suffix.lower() in image_endings() or is_dicom(path)


@cache
def image_endings() -> set[str]:
    """Return the endings of the pictures that Pillow can read, lower case with the dot."""
    return {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
