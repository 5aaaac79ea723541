"""``ltml compare``: recipes × methods × seeds, or a paper's table again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import JsonFlag
from .errors import guarded
from .output import print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ltml.comparison.launch import Launch
    from ltml.comparison.plan import Plan

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="RECIPE…|EXPERIMENT [KEY=VALUE…]",
        help="recipes with --methods, or an experiment (`ltml list experiments`); then what to change in every run",
    ),
]
Methods = Annotated[str | None, typer.Option("--methods", help="presets, the first is the baseline: bce,asl,ldrnet")]
Seeds = Annotated[str | None, typer.Option("--seeds", help="0..4 (five seeds) or 0,1,7")]
On = Annotated[str | None, typer.Option("--on", help="experiments: on which of their data, e.g. digits")]
Name = Annotated[str | None, typer.Option("--name", help="folder of the tables under OUT/_comparisons")]
MeasureName = Annotated[
    str | None, typer.Option("--measure", help="auroc, ap, macc, balanced_accuracy, kappa, f1, novel")
]
Split = Annotated[str | None, typer.Option("--split", help="which split is scored")]
Out = Annotated[Path, typer.Option("--out", help="root of the run directories")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="runs at the same time")]
Launcher = Annotated[str, typer.Option("--launcher", help="local, slurm (pip install 'ltml[slurm]'), submitit")]
LaunchOptions = Annotated[
    list[str] | None,
    typer.Option("--launch", metavar="KEY=VALUE", help="of slurm: slurm_partition=gpu, timeout_min=600"),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="redo what is done already")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the grid with the work left; run nothing")]
PerClass = Annotated[bool, typer.Option("--per-class", help="also a table of every class")]


@guarded
def compare(
    words: Words,
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
    fresh: Fresh = False,
    dry_run: DryRun = False,
    per_class: PerClass = False,
    as_json: JsonFlag = False,
) -> None:
    """Run methods × seeds on the same splits, and test their differences; what is done is not redone."""
    import ltml

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
    where = ltml.Launch(launcher, jobs, ltml.parse_options(launch or ()))
    run_plan(plan, out, where, fresh=fresh, dry_run=dry_run, per_class=per_class, as_json=as_json)


def run_plan(
    plan: Plan, out: Path, where: Launch, *, fresh: bool, dry_run: bool, per_class: bool = False, as_json: bool
) -> None:
    """Run a plan and print its tables, or only its grid; exit code 1 if a run failed."""
    import ltml

    if dry_run:
        _print_grid(ltml.dry_run(plan, out), as_json=as_json)
        return
    result = ltml.compare(plan, out, launch=where, fresh=fresh)
    _print(result, per_class=per_class, as_json=as_json)
    if any(cell["state"] == "failed" for cell in result["cells"]):
        raise typer.Exit(1)


def _print_grid(cells: list[dict[str, Any]], *, as_json: bool) -> None:
    from ltml.report.comparison_tables import grid_table

    print_json(cells) if as_json else typer.echo(grid_table(cells))


def _print(result: Mapping[str, Any], *, per_class: bool, as_json: bool) -> None:
    from ltml.report.comparison_tables import choice, claims_table, failures, label_tables, rows_table

    if as_json:
        print_json(result)
        return
    typer.echo(rows_table(result))
    if per_class:
        typer.echo(label_tables(result))
    if result["chosen"]:
        typer.echo(choice(result))
    if result["claims"]:
        typer.echo(claims_table(result))
    if lines := failures(result):
        typer.echo(lines, err=True)
    typer.echo(f"tables: {result['folder']}")
