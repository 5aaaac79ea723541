"""A run or a comparison as one file: an HTML page for people, or its tables for a paper."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from ltml.errors import InputError, suggest
from ltml.files import write_text
from ltml.report.comparison.sections import comparison_page, tables_of_comparison
from ltml.report.run.sections import run_page, tables_of_run
from ltml.report.writers.html import render_html
from ltml.report.writers.text import to_csv, to_latex, to_markdown

ENDINGS = {"html": ".html", "md": ".md", "latex": ".tex", "csv": ".csv"}
"""Ending of a file by its format."""


def write_report(
    target: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    format: str = "html",  # noqa: A002 - what it is
) -> Path:
    """Write what a run or a comparison has saved as one file; nothing is trained or predicted.

    Args:
        target: folder of a run, or of a comparison (``runs/_comparisons/NAME``).
        out: the file, replaced if it exists; by default ``report`` in the target's folder, with the format's ending.
        format: ``html``, a page that needs nothing else; ``md``, ``latex`` or ``csv``, the tables alone.

    Returns:
        The file.

    Raises:
        InputError: there is neither a finished run nor a comparison there, something saved is damaged, or the format
            does not exist or does not suit the file's ending.
    """
    if format not in ENDINGS:
        raise InputError(f"--format {format}: {suggest(format, ENDINGS)}")
    folder = Path(target)
    path = folder / f"report{ENDINGS[format]}" if out is None else Path(out)
    if path.suffix.lower() != ENDINGS[format]:
        raise InputError(
            f"cannot write the format {format} to '{path}': its name must end in {ENDINGS[format]}"
            + next((f", or add --format {name}" for name, end in ENDINGS.items() if end == path.suffix.lower()), "")
        )
    if path.is_dir():
        raise InputError(f"cannot write the report to {path}: it is a folder")
    write_text(path, _render(folder, format))
    return path


def _render(folder: Path, format: str) -> str:  # noqa: A002
    is_comparison = (folder / "comparison.json").is_file()
    if not is_comparison and not (folder / "recipe.yaml").is_file():
        raise InputError(
            f"{folder} is neither a run, which has a recipe.yaml (a folder like runs/digits/ldrnet/seed0), nor a "
            "comparison, which has a comparison.json (a folder like runs/_comparisons/digits)"
        )
    if format == "html":
        return render_html((comparison_page if is_comparison else run_page)(folder), version("ltml"))
    writers: dict[str, Callable[..., str]] = {"md": to_markdown, "latex": to_latex, "csv": to_csv}
    return writers[format]((tables_of_comparison if is_comparison else tables_of_run)(folder))
