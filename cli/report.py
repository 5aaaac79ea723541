"""``ltml report``: a run or a comparison as one file."""

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
    out: Annotated[Path | None, typer.Option("--out", help="the file, replaced if it exists [RUN/report.html]")] = None,
    format: Annotated[  # noqa: A002 - what the option is called
        str, typer.Option("--format", help="html: a page; md, latex, csv: the tables alone")
    ] = "html",
    trust_plugins: TrustPlugins = False,
    as_json: JsonFlag = False,
) -> None:
    """One HTML file to look at, or the tables for a paper, from what is saved; nothing is trained or predicted."""
    import ltml
    from ltml.recipe.load import trusting_plugins

    with trusting_plugins(trust_plugins):
        path = str(ltml.write_report(target, out, format))
    print_json({"report": path, "format": format}) if as_json else say(path)
