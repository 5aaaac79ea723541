"""Recognise by its first bytes what a file is that should be text."""

from __future__ import annotations

from pathlib import Path

_BEGINNINGS = (
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "a ZIP archive, as Excel sheets and .npz files are"),
    (b"\xd0\xcf\x11\xe0", "an old Excel sheet (.xls)"),
    (b"\x1f\x8b", "packed with gzip"),
    (b"BZh", "packed with bzip2"),
    (b"\xfd7zXZ", "packed with xz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "an image (PNG)"),
    (b"\xff\xd8\xff", "an image (JPEG)"),
    (b"GIF8", "an image (GIF)"),
    (b"BM", "an image (BMP)"),
    (b"II*\x00", "an image (TIFF)"),
    (b"MM\x00*", "an image (TIFF)"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)


def foreign_kind(path: Path) -> str:
    """Return the kind of a file that is not UTF-8 text, such as ``a Parquet file``; empty for text and unknown kinds.

    Raises:
        OSError: the file cannot be opened.
    """
    if path.is_dir():
        return "a folder"
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        return "an image (DICOM)"
    kind = next((kind for beginning, kind in _BEGINNINGS if start.startswith(beginning)), "")
    return "" if start.startswith(b"BM") and b"\x00" not in start else kind
