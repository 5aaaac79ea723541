"""``ltml data``: check, describe, cache and assemble the data of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import JsonFlag, Overrides, RecipeName, load
from .errors import guarded
from .output import print_blocks, print_json, say

data_app = typer.Typer(no_args_is_help=True, help="Check, describe, cache and assemble the data of a recipe.")


@data_app.command()
@guarded
def check(
    recipe: RecipeName,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="check images again even if they have not changed")] = False,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="check the labels only; images may be missing")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check that the data are complete and consistent; exit with code 1 on a fault, 0 if there are only warnings."""
    from ltml.report.tables.data import check_text
    from ltml.stages.data import check_data

    report = check_data(load(recipe, overrides), fresh=fresh, labels_only=labels_only).to_json()
    print_json(report) if as_json else say(check_text(report))
    if report["faults"]:
        raise typer.Exit(1)


@data_app.command()
@guarded
def stats(
    recipe: RecipeName,
    overrides: Overrides = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="also draw a figure to this .png, .svg or .pdf file")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Count labels per source and split, and describe imbalance, co-occurrence, groups and image sizes."""
    from ltml.report.data_figures import stats_figure
    from ltml.report.tables.data import stats_blocks
    from ltml.report.writers.figure_files import check_picture, write_figure
    from ltml.stages.data import data_stats

    if picture is not None:
        check_picture(picture)
    found = data_stats(load(recipe, overrides))
    if picture is not None:
        write_figure(stats_figure(found), picture)
    print_json(found) if as_json else print_blocks(stats_blocks(found))


@data_app.command()
@guarded
def cache(
    recipe: RecipeName,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="decode all images again")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Decode all images once to the training size; an interrupted command resumes."""
    from ltml.stages.data import cache_images

    reports = cache_images(load(recipe, overrides), fresh=fresh)
    if as_json:
        print_json({"caches": [vars(report) | {"folder": str(report.folder)} for report in reports]})
    for report in () if as_json else reports:
        say(f"{report.images} images, {report.decoded} decoded now, {report.bytes / 2**20:.1f} MiB: {report.folder}")


@data_app.command()
@guarded
def assemble(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", help="the .csv file to write")] = Path("labels.csv"),
    as_json: JsonFlag = False,
) -> None:
    """Write the partial labels of all sources as one CSV: 1, 0 or empty (unknown) per label."""
    from ltml.stages.data import assemble_labels

    root = assemble_labels(load(recipe, overrides), out)
    if as_json:
        print_json({"file": str(out), "root": None if root is None else str(root)})
        return
    say(str(out) if root is None else f"{out} (its image paths are relative to {root})")
