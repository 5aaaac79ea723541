"""A run or a comparison as one file: an HTML page for people, or its tables for a paper; and its figures as files."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from ltml.errors import InputError, suggest
from ltml.files import write_text
from ltml.report.comparison.sections import comparison_page, tables_of_comparison
from ltml.report.page import Figure, Page
from ltml.report.run.sections import run_page, tables_of_run
from ltml.report.writers.figure_files import check_figure_folder, check_figure_format, write_figures
from ltml.report.writers.html import render_html
from ltml.report.writers.text import to_csv, to_latex, to_markdown

ENDINGS = {"html": ".html", "md": ".md", "latex": ".tex", "csv": ".csv"}
"""Ending of a file by its format."""


class Written(NamedTuple):
    """Files of a report: the report itself, and its figures where they were asked for."""

    report: Path
    figures: list[Path]


def write_report(
    target: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    format: str = "html",  # noqa: A002 - what it is
    *,
    figures: str | os.PathLike[str] | None = None,
    figure_format: str = "pdf",
) -> Path:
    """Write the saved results of a run or a comparison as one file; nothing is trained or predicted.

    Args:
        target: folder of a run, or of a comparison (``runs/_comparisons/NAME``).
        out: the file, overwritten if it exists; by default ``report`` in the target's folder, with the format's ending.
        format: ``html``, a page that needs nothing else; ``md``, ``latex`` or ``csv``, the tables alone.
        figures: folder for the figures as files, one per figure, named after what it shows; None for no files.
        figure_format: ``pdf`` (fonts embedded), ``png`` (300 dpi) or ``svg``.

    Returns:
        The file of the report.

    Raises:
        InputError: the target is neither a finished run nor a comparison, something saved is damaged, a format does
            not exist or does not suit the file's ending, `figures` is a file, or matplotlib is missing for it.
    """
    return write_files(target, out, format, figures=figures, figure_format=figure_format).report


def write_files(
    target: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    format: str = "html",  # noqa: A002
    *,
    figures: str | os.PathLike[str] | None = None,
    figure_format: str = "pdf",
) -> Written:
    """Write a report as `write_report` does, and return its figures' files too."""
    folder = Path(target)
    path = _report_file(folder, out, format)
    if figures is not None:
        check_figure_format(figure_format)
        check_figure_folder(Path(figures))
    is_comparison = _is_comparison(folder)
    page = (comparison_page if is_comparison else run_page)(folder) if format == "html" or figures is not None else None
    if format == "html" and page is not None:
        text = render_html(page, version("ltml"))
    else:
        writers: dict[str, Callable[..., str]] = {"md": to_markdown, "latex": to_latex, "csv": to_csv}
        text = writers[format]((tables_of_comparison if is_comparison else tables_of_run)(folder))
    write_text(path, text)
    if figures is None or page is None:
        return Written(path, [])
    return Written(path, write_figures(figures_of(page), Path(figures), figure_format))


def figures_of(page: Page) -> list[Figure]:
    """Return the figures of a page in order."""
    return [block for section in page.sections for block in section.blocks if isinstance(block, Figure)]


def _report_file(folder: Path, out: str | os.PathLike[str] | None, format: str) -> Path:  # noqa: A002
    """Return the file of a report, or raise if the format does not suit it."""
    if format not in ENDINGS:
        raise InputError(f"--format {format}: {suggest(format, ENDINGS)}")
    path = folder / f"report{ENDINGS[format]}" if out is None else Path(out)
    if path.suffix.lower() != ENDINGS[format]:
        raise InputError(
            f"cannot write the format {format} to '{path}': its name must end in {ENDINGS[format]}"
            + next((f", or add --format {name}" for name, end in ENDINGS.items() if end == path.suffix.lower()), "")
        )
    if path.is_dir():
        raise InputError(f"cannot write the report to {path}: it is a folder")
    return path


def _is_comparison(folder: Path) -> bool:
    """Return whether a folder is a comparison's; raise if it is not a run's either."""
    if (folder / "comparison.json").is_file():
        return True
    if not (folder / "recipe.yaml").is_file():
        raise InputError(
            f"{folder} is neither a run, which has a recipe.yaml (a folder like runs/digits/ldrnet/seed0), nor a "
            "comparison, which has a comparison.json (a folder like runs/_comparisons/digits)"
        )
    return False
