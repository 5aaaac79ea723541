"""``ltml sweep``: one recipe over values of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import JsonFlag, RecipeName
from .compare import DryRun, Jobs, Launcher, LaunchOptions, MeasureName, Name, Out, run_plan
from .errors import guarded

Settings = Annotated[
    list[str],
    typer.Argument(metavar="KEY=VALUES…", help="stage2.alpha=0.1..1.0 or train.lr=1e-4,1e-3; KEY=VALUE for all"),
]
Seeds = Annotated[str, typer.Option("--seeds", help="0..4 (five seeds) or 0,1,7")]
Oracle = Annotated[bool, typer.Option("--oracle", help="choose on test, which no honest result does; it is marked")]


@guarded
def sweep(
    recipe: RecipeName,
    settings: Settings,
    seeds: Seeds = "0",
    name: Name = None,
    measure: MeasureName = None,
    oracle: Oracle = False,
    out: Out = Path("runs"),
    jobs: Jobs = 1,
    launcher: Launcher = "local",
    launch: LaunchOptions = None,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Go over values of settings, choose on validation, and say what the choice scores on test."""
    import ltml

    plan = ltml.plan_sweep(recipe, settings, seeds=seeds, name=name, measure=measure or "auroc", oracle=oracle)
    where = ltml.Launch(launcher, jobs, ltml.parse_options(launch or ()))
    run_plan(plan, out, where, dry_run=dry_run, as_json=as_json)
