"""``ltml sweep``: run one recipe over values of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ltml.errors import InputError

from .arguments import JsonFlag, RecipeName
from .compare import DryRun, Jobs, Launcher, LaunchOptions, MeasureName, Name, Out, run_plan, show_result
from .errors import guarded

Settings = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY=VALUES…",
        help="values to try: stage2.alpha=0.1..1.0 or train.lr=1e-4,1e-3; KEY=VALUE holds for all runs",
    ),
]
Seeds = Annotated[str, typer.Option("--seeds", help="training seeds: 0..4 (five seeds) or 0,1,7")]
Oracle = Annotated[
    bool, typer.Option("--oracle", help="choose on the test split, which biases the result; the table says so")
]
Trials = Annotated[
    int | None,
    typer.Option("--trials", min=1, help="number of values that Optuna proposes (pip install 'ltml\\[search]')"),
]
SearchSeed = Annotated[int | None, typer.Option("--search-seed", min=0, help="seed of the proposals of --trials")]


@guarded
def sweep(
    recipe: RecipeName,
    settings: Settings,
    seeds: Seeds = "0",
    trials: Trials = None,
    search_seed: SearchSeed = None,
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
    """Run every value of the settings, choose on validation, and score the choice on test.

    With --trials, Optuna proposes values: whole numbers for 1..9, decimals for 0.1..1.0, on a log scale for 1e-5..1e-2.
    """
    from ltml.comparison.launch import Launch, parse_options
    from ltml.comparison.search import plan_search, search
    from ltml.comparison.sweep import plan_sweep

    where = Launch(launcher, jobs, parse_options(launch or ()))
    asked: dict[str, Any] = {"seeds": seeds, "name": name, "measure": measure or "auroc", "oracle": oracle}
    if trials is None:
        if search_seed is not None:
            raise InputError("--search-seed is for --trials: leave it out")
        run_plan(plan_sweep(recipe, settings, **asked), out, where, dry_run=dry_run, as_json=as_json)
        return
    asked |= {"trials": trials, "search_seed": search_seed or 0, "out": out}
    if dry_run:
        run_plan(plan_search(recipe, settings, **asked, jobs=jobs), out, where, dry_run=True, as_json=as_json)
        return
    show_result(search(recipe, settings, **asked, launch=where), as_json=as_json)
