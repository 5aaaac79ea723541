"""The `ltml` command. Heavy modules are imported inside the commands, so that help and listings are instant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltml.errors import InputError

from .arguments import JsonFlag, Overrides, RecipeName, Resamples, ResampleSeed, TrustPlugins, load, resampling
from .calibrate import calibrate
from .compare import compare
from .data import data_app
from .errors import degrade_output, end_as_shells_expect, guarded, with_help_explained
from .listing import KINDS, ListFormat, describe_components, markdown_table
from .output import say, suggest_next
from .relations import relations
from .report import report
from .sweep import sweep

if TYPE_CHECKING:
    from ltml.stages.evaluate import RunResult

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Long-tailed multi-label image classification: train, rebalance, compare.",
)
recipes_app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")
app.add_typer(recipes_app, name="recipes")
app.add_typer(data_app, name="data")

Out = Annotated[Path, typer.Option("--out", help="root folder of the runs")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="seed of training and sampling")]
Device = Annotated[str | None, typer.Option("--device", help="device to train on: auto, cpu, cuda, cuda:1 …")]
TrainFeatures = Annotated[Path | None, typer.Option("--features", help="features of train, an .npz file")]
ValFeatures = Annotated[Path | None, typer.Option("--val", help="features of val, an .npz file")]
TestFeatures = Annotated[Path | None, typer.Option("--test", help="features of test, an .npz file")]
Fresh = Annotated[bool, typer.Option("--fresh", help="start over instead of reusing finished parts")]
Intervals = Annotated[
    bool, typer.Option("--ci", help="also compute 95 % intervals of AUC and AP by a bootstrap over patients")
]


def _print_version(asked: bool) -> None:
    """Print the installed version and stop; importing the library would take longer."""
    if asked:
        from importlib.metadata import version

        say(f"ltml {version('ltml')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and stop")
    ] = False,
) -> None:
    """Hold the options of `ltml` itself; each command has further ones."""


STAGE_COMMANDS = {
    "run": "Run stage 1 and stage 2, and print what changed between them.",
    "stage1": "Train class-aware features (stage 1) and score them.",
}


def _print(result: RunResult, *, as_json: bool) -> None:
    from .output import print_json, print_result

    print_json(result.to_json()) if as_json else print_result(result)


def _add_stage_command(name: str, text: str) -> None:
    @app.command(name, help=text)
    @guarded
    def command(
        recipe: RecipeName,
        overrides: Overrides = None,
        out: Out = Path("runs"),
        seed: Seed = None,
        device: Device = None,
        fresh: Fresh = False,
        as_json: JsonFlag = False,
    ) -> None:
        import ltml

        resolved = load(recipe, overrides, seed, device)
        result = getattr(ltml, name)(resolved, out, fresh=fresh)
        _print(result, as_json=as_json)
        if as_json:
            return
        if result.stage2 is None and resolved.stage2.enabled:
            settings = {"--out": out if out != Path("runs") else None, "--seed": seed, "--device": device}
            options = [word for item in settings.items() if item[1] is not None for word in item]
            suggest_next("stage2", recipe, *(overrides or []), *options)
        else:
            suggest_next("report", result.run_dir)


for _name, _text in STAGE_COMMANDS.items():
    _add_stage_command(_name, _text)


@app.command()
@guarded
def stage2(
    recipe: RecipeName,
    overrides: Overrides = None,
    features: TrainFeatures = None,
    val: ValFeatures = None,
    test: TestFeatures = None,
    out: Out = Path("runs"),
    seed: Seed = None,
    device: Device = None,
    fresh: Fresh = False,
    as_json: JsonFlag = False,
) -> None:
    """Run stage 2 on a finished stage 1, or on stored features (--features, --val)."""
    import ltml

    files = {split: path for split, path in (("train", features), ("val", val), ("test", test)) if path is not None}
    loaded = load(recipe, overrides, seed, device)
    result = ltml.stage2(loaded, out, fresh=fresh, features=files or None)
    _print(result, as_json=as_json)
    if not as_json:
        suggest_next("report", result.run_dir)


@app.command()
@guarded
def evaluate(
    target: Annotated[
        Path, typer.Argument(metavar="RUN|PREDICTIONS.csv", help="folder of a run, or a prediction file")
    ],
    novel: Annotated[str | None, typer.Option("--novel", help="score how well this held-out label is detected")] = None,
    ci: Intervals = False,
    resamples: Resamples = None,
    seed: ResampleSeed = None,
    trust_plugins: TrustPlugins = False,
    as_json: JsonFlag = False,
) -> None:
    """Score the saved predictions of a run, or a prediction file of any origin."""
    import ltml
    from ltml.recipe.load import trusting_plugins
    from ltml.stages.evaluate import evaluate_novel

    drawing = resampling(resamples, seed)
    if ci and novel is not None:
        raise InputError("--novel has no intervals: leave --ci out")
    if drawing and not ci:
        raise InputError(f"--{next(iter(drawing))} is for intervals: add --ci, or leave it out")
    if novel is not None:
        from .output import print_novel

        with trusting_plugins(trust_plugins):
            found = evaluate_novel(target, novel)
        print_novel(found, as_json=as_json)
        return
    from .output import print_json, print_result, print_scores

    with trusting_plugins(trust_plugins):
        result = ltml.evaluate(target, ci=ci, **drawing)
    if isinstance(result, dict):
        print_json(result) if as_json else print_scores(result)
    else:
        print_json(result.to_json()) if as_json else print_result(result)
    if not as_json:
        what = ["compare", "--predictions", target, "OTHER.csv"] if isinstance(result, dict) else ["report", target]
        suggest_next(*what)


@app.command()
@guarded
def gaussians(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")],
    trust_plugins: TrustPlugins = False,
    as_json: JsonFlag = False,
) -> None:
    """Describe the two Gaussians per class of stage 2, and the distance between them."""
    from ltml.recipe.load import trusting_plugins
    from ltml.stages.describe_gaussians import describe_gaussians

    from .output import print_gaussians, print_json

    with trusting_plugins(trust_plugins):
        described = describe_gaussians(run_dir)
    print_json(described) if as_json else print_gaussians(described)


app.command()(compare)
app.command()(sweep)
app.command()(report)
app.command()(calibrate)
app.command()(relations)


@app.command("list")
@guarded
def list_components(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"one of {', '.join(KINDS)}")],
    pattern: Annotated[str, typer.Argument(help="wildcard, e.g. 'resnet*'")] = "*",
    form: Annotated[ListFormat, typer.Option("--format", help="aligned text, or a Markdown table")] = ListFormat.text,
    as_json: JsonFlag = False,
) -> None:
    """List the components that a recipe can name."""
    from .output import print_entries, print_json

    if form is ListFormat.md and not as_json:
        say(markdown_table(kind, pattern))
        return
    entries = describe_components(kind, pattern)
    print_json(entries) if as_json else print_entries(entries)


@recipes_app.command("ls")
@guarded
def recipes_ls(as_json: JsonFlag = False) -> None:
    """List the shipped recipes."""
    from ltml.recipe.catalog import describe_recipes

    from .output import print_entries, print_json

    print_json(describe_recipes()) if as_json else print_entries(describe_recipes())


@recipes_app.command("show")
@guarded
def recipes_show(
    recipe: RecipeName, overrides: Overrides = None, trust_plugins: TrustPlugins = False, as_json: JsonFlag = False
) -> None:
    """Print the resolved recipe, every field with its meaning."""
    from ltml.recipe.show import annotated_yaml

    from .output import print_json

    resolved = load(recipe, overrides, trust_plugins=trust_plugins)
    print_json(resolved.to_dict()) if as_json else say(annotated_yaml(resolved), nl=False)


@recipes_app.command("cp")
@guarded
def recipes_cp(
    recipe: RecipeName,
    target: Annotated[Path, typer.Argument(help="new .yaml file, or a folder")] = Path(),
    as_json: JsonFlag = False,
) -> None:
    """Copy a shipped recipe to a file of your own."""
    from ltml.recipe.catalog import copy_recipe

    from .output import print_json

    path = str(copy_recipe(recipe, target))
    print_json({"recipe": path}) if as_json else say(path)


@recipes_app.command("validate")
@guarded
def recipes_validate(
    recipe: RecipeName, overrides: Overrides = None, trust_plugins: TrustPlugins = False, as_json: JsonFlag = False
) -> None:
    """Check a recipe without running it."""
    from ltml.stages.checks import check_recipe

    from .output import print_json

    resolved = load(recipe, overrides, trust_plugins=trust_plugins)
    check_recipe(resolved)
    print_json({"recipe": resolved.name, "valid": True}) if as_json else say(f"{resolved.name}: valid")


def main() -> None:
    """Run the `ltml` command, in an environment that the processes it starts inherit."""
    # Waiting threads would spin, which is ten times slower beside other processes. Set it before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # no file of the current folder hides a module
    degrade_output()
    end_as_shells_expect()
    with_help_explained(app)
