"""``ltml calibrate``: fit temperatures and thresholds on validation data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import JsonFlag, TrustPlugins
from .errors import guarded
from .output import print_blocks, print_json


@guarded
def calibrate(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")],
    stage: Annotated[
        int | None, typer.Option("--stage", min=1, max=2, help="stage whose predictions are calibrated [the last]")
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="fit one temperature per class instead of one for all")
    ] = False,
    trust_plugins: TrustPlugins = False,
    as_json: JsonFlag = False,
) -> None:
    """Fit temperature and thresholds per class on val, and score the test splits with them."""
    import ltml
    from ltml.recipe.load import trusting_plugins
    from ltml.report.tables.calibration import calibration_tables

    with trusting_plugins(trust_plugins):
        found = ltml.calibrate(run_dir, stage, per_class=per_class)
    print_json(found) if as_json else print_blocks(calibration_tables(found))
