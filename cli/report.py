"""``ltml report``: a run or a comparison as one file, and its figures for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import JsonFlag, TrustPlugins
from .errors import guarded
from .output import print_json, say


@guarded
def report(
    target: Annotated[Path, typer.Argument(metavar="RUN|COMPARISON", help="a run's folder, or runs/_comparisons/NAME")],
    out: Annotated[
        Path | None, typer.Option("--out", help="the file, overwritten if it exists [RUN/report.html]")
    ] = None,
    format: Annotated[  # noqa: A002 - what the option is called
        str, typer.Option("--format", help="html: a page; md, latex, csv: the tables alone")
    ] = "html",
    figures: Annotated[
        Path | None, typer.Option("--figures", metavar="DIR", help="also write every figure as a file to this folder")
    ] = None,
    figure_format: Annotated[
        str, typer.Option("--figure-format", help="of --figures: pdf (fonts embedded), png (300 dpi) or svg")
    ] = "pdf",
    trust_plugins: TrustPlugins = False,
    as_json: JsonFlag = False,
) -> None:
    """Write one HTML page, or the tables and figures for a paper, from saved results; nothing is trained."""
    from ltml.recipe.load import trusting_plugins
    from ltml.report.write import write_files

    with trusting_plugins(trust_plugins):
        written = write_files(target, out, format, figures=figures, figure_format=figure_format)
    if not as_json:
        say("\n".join(map(str, [written.report, *written.figures])))
        return
    files = {} if figures is None else {"figures": [str(path) for path in written.figures]}
    print_json({"report": str(written.report), "format": format, **files})
