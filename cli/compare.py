"""``ltml compare``: run recipes × methods × seeds, or repeat the table of a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltml.errors import InputError

from .arguments import JsonFlag, Resamples, ResampleSeed, resampling
from .errors import guarded
from .output import print_blocks, print_json, say, suggest_next

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ltml.comparison.launch import Launch
    from ltml.comparison.plan import Plan

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RECIPE…|EXPERIMENT [KEY=VALUE…]",
        help="recipes with --methods, or an experiment (`ltml list experiments`); then fields to change in every run. "
        "With --predictions: further files",
    ),
]
Methods = Annotated[
    str | None,
    typer.Option("--methods", help="method presets (names or .yaml files), the baseline first: bce,asl,mine.yaml"),
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="training seeds: 0..4 (five seeds) or 0,1,7")]
On = Annotated[str | None, typer.Option("--on", help="data on which to run the experiment, e.g. digits")]
Name = Annotated[
    str | None, typer.Option("--name", help="name of the comparison, whose folder is OUT/_comparisons/NAME")
]
MeasureName = Annotated[
    str | None, typer.Option("--measure", help="measure to compare by (`ltml list measures`), or novel")
]
Split = Annotated[str | None, typer.Option("--split", help="split that is scored")]
Out = Annotated[Path, typer.Option("--out", help="root folder of the runs")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="number of runs at the same time")]
Launcher = Annotated[
    str, typer.Option("--launcher", help="where runs are started: local, slurm (pip install 'ltml\\[slurm]'), submitit")
]
LaunchOptions = Annotated[
    list[str] | None,
    typer.Option("--launch", metavar="KEY=VALUE", help="option of the cluster: slurm_partition=gpu, timeout_min=600"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the planned runs and their state, and run nothing")]
PredictionFiles = Annotated[
    list[Path] | None, typer.Option("--predictions", help="compare saved prediction files instead of runs: a.csv b.csv")
]
MethodNames = Annotated[str | None, typer.Option("--names", help="names of the methods of --predictions: ours,theirs")]
PerClass = Annotated[bool, typer.Option("--per-class", help="also print a table per class")]


@guarded
def compare(
    words: Words = None,
    methods: Methods = None,
    seeds: Seeds = None,
    on: On = None,
    name: Name = None,
    measure: MeasureName = None,
    split: Split = None,
    out: Out = Path("runs"),
    jobs: Jobs = 1,
    launcher: Launcher = "local",
    launch: LaunchOptions = None,
    dry_run: DryRun = False,
    per_class: PerClass = False,
    predictions: PredictionFiles = None,
    names: MethodNames = None,
    resamples: Resamples = None,
    seed: ResampleSeed = None,
    as_json: JsonFlag = False,
) -> None:
    """Run methods × seeds on the same splits and test their differences; finished runs are reused.

    With --predictions, compare prediction files of any origin on the same samples; nothing is trained.
    """
    import ltml
    from ltml.comparison.launch import Launch, parse_options

    of_runs: dict[str, Any] = {"--methods": methods, "--seeds": seeds, "--on": on, "--name": name, "--measure": measure}
    of_runs |= {"--split": split, "--jobs": jobs > 1, "--dry-run": dry_run, "--per-class": per_class}
    drawing = resampling(resamples, seed)
    if predictions:
        _refuse(of_runs, "is for runs: leave it out with --predictions")
        paths = [*predictions, *(words or ())]
        compared = ltml.compare_predictions(paths, names.split(",") if names else None, **drawing)
        _print_predictions(compared, as_json=as_json)
        return
    _refuse({"--names": names}, "is for --predictions: leave it out")
    if not words:
        raise InputError("name recipes, an experiment (`ltml list experiments`), or files with --predictions")
    plan = ltml.plan_comparison(
        [word for word in words if "=" not in word],
        methods=methods.split(",") if methods else (),
        seeds=seeds,
        overrides=[word for word in words if "=" in word],
        on=on,
        name=name,
        measure=measure,
        split=split,
    )
    where = Launch(launcher, jobs, parse_options(launch or ()))
    run_plan(plan, out, where, drawing, dry_run=dry_run, per_class=per_class, as_json=as_json)


def run_plan(
    plan: Plan,
    out: Path,
    where: Launch,
    drawing: Mapping[str, int] | None = None,
    *,
    dry_run: bool,
    per_class: bool = False,
    as_json: bool,
) -> None:
    """Run a plan and print its tables, or print its grid only."""
    import ltml
    from ltml.comparison.compare import dry_run as list_runs

    if dry_run:
        _print_grid(list_runs(plan, out), as_json=as_json)
        return
    result = ltml.compare(plan, out, launch=where, **(drawing or {}))
    show_result(result, per_class=per_class, as_json=as_json)


def show_result(result: Mapping[str, Any], *, per_class: bool = False, as_json: bool) -> None:
    """Print the tables of a comparison; exit with code 1 if a run failed."""
    _print(result, per_class=per_class, as_json=as_json)
    if any(cell["state"] == "failed" for cell in result["cells"]):
        raise typer.Exit(1)


def _refuse(options: Mapping[str, Any], why: str) -> None:
    for option, value in options.items():
        if value:
            raise InputError(f"{option} {why}")


def _print_predictions(result: Mapping[str, Any], *, as_json: bool) -> None:
    from ltml.report.tables.predictions import predictions_blocks

    print_json(result) if as_json else print_blocks(predictions_blocks(result))
    for warning in [] if as_json else result["warnings"]:
        say(f"warning: {warning}", err=True)


def _print_grid(cells: list[dict[str, Any]], *, as_json: bool) -> None:
    from ltml.report.comparison.tables import grid_table

    print_json(cells) if as_json else print_blocks([grid_table(cells)])


def _print(result: Mapping[str, Any], *, per_class: bool, as_json: bool) -> None:
    from ltml.report.comparison.sections import terminal_blocks
    from ltml.report.comparison.tables import failures_table

    if as_json:
        print_json(result)
        return
    print_blocks(terminal_blocks(Path(result["folder"]), per_class=per_class))
    for warning in result["warnings"]:
        say(f"warning: {warning}", err=True)
    if failed := [cell for cell in result["cells"] if cell["state"] == "failed"]:
        print_blocks([failures_table(failed)], err=True)
    say(f"tables: {result['folder']}")
    suggest_next("report", result["folder"])
