"""``ltml relations``: show how similar the classes of a run are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ltml.errors import InputError

from .arguments import JsonFlag, TrustPlugins
from .errors import guarded
from .output import print_blocks, print_json


@guarded
def relations(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")],
    picture: Annotated[
        Path | None, typer.Option("--picture", help="also draw a figure to this .png, .svg or .pdf file")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="also write the similarities to this new .csv file")] = None,
    gain: Annotated[
        Path | None,
        typer.Option(
            "--gain",
            metavar="COMPARISON",
            help="test whether similar classes help more, on the comparison in this folder",
        ),
    ] = None,
    trust_plugins: TrustPlugins = False,
    as_json: JsonFlag = False,
) -> None:
    """Print how similar the classes are, by their learned queries and by their mean training features."""
    from ltml.comparison.gain import relate_gain
    from ltml.recipe.load import trusting_plugins
    from ltml.stages.relations import describe_relations

    if gain is not None:
        from ltml.report.tables.relations import gain_tables

        if picture is not None or csv is not None:
            raise InputError("--gain prints a table of its own: leave --picture and --csv out")
        with trusting_plugins(trust_plugins):
            related = relate_gain(run_dir, gain)
        print_json(related) if as_json else print_blocks(gain_tables(related))
        return
    from ltml.report.data_figures import relations_figure
    from ltml.report.tables.relations import check_csv, relations_blocks, write_relations
    from ltml.report.writers.figure_files import check_picture, write_figure

    if picture is not None:
        check_picture(picture)
    if csv is not None:
        check_csv(csv)
    with trusting_plugins(trust_plugins):
        found = describe_relations(run_dir)
    if picture is not None:
        write_figure(relations_figure(found), picture)
    if csv is not None:
        write_relations(found, csv)
    print_json(found) if as_json else print_blocks(relations_blocks(found))
