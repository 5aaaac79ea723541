"""Figures as files for papers: PDF with embedded fonts, PNG or SVG; the same figure has the same bytes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ltml.errors import InputError, suggest
from ltml.extras import optional_package
from ltml.files import write_atomically
from ltml.report.page import Figure
from ltml.report.writers.plots import STYLE, draw_figure

METADATA: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Formats, with the metadata that leave the date out."""


def check_figure_format(format: str) -> None:  # noqa: A002 - what the option is called
    """Raise if figures cannot be written in a format.

    Raises:
        InputError: the format does not exist, or matplotlib is not installed.
    """
    if format not in METADATA:
        raise InputError(f"--figure-format {format}: {suggest(format, METADATA)}")
    _require_matplotlib()


def check_figure_folder(folder: Path) -> None:
    """Raise if a path cannot become a folder of figures.

    Raises:
        InputError: it, or a folder above it, is a file.
    """
    existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if existing is not None and not existing.is_dir():
        raise InputError(f"cannot write figures to {folder}: {existing} is a file; give a folder")


def check_picture(path: Path) -> None:
    """Raise if a figure cannot be written to a file.

    Raises:
        InputError: the file's ending is not that of a format, or matplotlib is not installed.
    """
    if path.suffix.removeprefix(".") not in METADATA:
        endings = ", ".join(f".{name}" for name in METADATA)
        raise InputError(f"cannot draw '{path}': its name must end in {endings}")
    _require_matplotlib()


def write_figures(figures: Sequence[Figure], folder: Path, format: str) -> list[Path]:  # noqa: A002
    """Write one file per figure, named after what it shows; files that exist are overwritten.

    Returns:
        The files, in the order of the figures.

    Raises:
        InputError: see `check_figure_format` and `check_figure_folder`.
        StorageError: the folder cannot be written.
    """
    check_figure_format(format)
    check_figure_folder(folder)
    paths = [folder / f"{name}.{format}" for name in _file_names(figures)]
    for figure, path in zip(figures, paths, strict=True):
        write_figure(figure, path)
    return paths


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PDF, PNG or SVG, by the file's ending.

    Raises:
        InputError: see `check_picture`.
        StorageError: the file cannot be written.
    """
    check_picture(path)
    format = path.suffix.removeprefix(".")  # noqa: A001
    with _styled():
        canvas = draw_figure(figure)
        write_atomically(path, lambda part: canvas.savefig(part, format=format, metadata=METADATA[format]))


def _file_names(figures: Sequence[Figure]) -> list[str]:
    """Return a stem per figure; of equal ones, the second ends in ``-2``."""
    names: list[str] = []
    for figure in figures:
        stem = re.sub(r"[^\w.]+", "-", figure.name).strip("-.") or "figure"
        used = sum(re.fullmatch(rf"{re.escape(stem)}(-\d+)?", name) is not None for name in names)
        names.append(f"{stem}-{used + 1}" if used else stem)
    return names


@contextmanager
def _styled() -> Iterator[None]:
    """Use matplotlib's defaults and `STYLE` instead of the user's settings, and leave those as they were."""
    from matplotlib import style

    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # boxes show what the font lacks
        yield


def _require_matplotlib() -> None:
    with optional_package("matplotlib", "drawing figures to files"):
        import matplotlib as mpl  # noqa: F401
