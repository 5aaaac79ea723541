"""The `ltml` command. Heavy imports wait inside the commands, so that help and listings are instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import guarded

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Long-tailed multi-label image classification: train, rebalance, compare.",
)
recipes_app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")
app.add_typer(recipes_app, name="recipes")

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="name (`ltml recipes ls`) or path of a .yaml file")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="e.g. train.epochs=3")]
Out = Annotated[Path, typer.Option("--out", help="root of the run directories")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="training and sampling seed")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 …")]
JsonFlag = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]
Fresh = Annotated[bool, typer.Option("--fresh", help="redo what is done already")]


STAGE_COMMANDS = {
    "run": "Stage 1, stage 2, and what changed between them.",
    "stage1": "Train class-aware features and score them.",
    "stage2": "Reconstruct the label distribution on a finished stage 1.",
}


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

        from .output import print_json, print_result

        changes = list(overrides or [])
        changes += [] if seed is None else [f"seeds.train={seed}", f"seeds.sample={seed}"]
        changes += [] if device is None else [f"train.device={device}"]
        result = getattr(ltml, name)(ltml.load_recipe(recipe, changes), out, fresh=fresh)
        print_json(result.to_json()) if as_json else print_result(result)


for _name, _text in STAGE_COMMANDS.items():
    _add_stage_command(_name, _text)


@app.command()
@guarded
def evaluate(
    target: Annotated[Path, typer.Argument(metavar="RUN|PREDICTIONS.csv", help="a run's folder or a predictions file")],
    as_json: JsonFlag = False,
) -> None:
    """Score saved predictions: a run's, or anyone's."""
    import ltml

    from .output import print_json, print_result, print_scores

    result = ltml.evaluate(target)
    if isinstance(result, dict):
        print_json(result) if as_json else print_scores(result)
    else:
        print_json(result.to_json()) if as_json else print_result(result)


@app.command("list")
@guarded
def list_components(
    kind: Annotated[str, typer.Argument(metavar="methods|heads|losses|datasets|backbones|encoders")],
    pattern: Annotated[str, typer.Argument(help="wildcard, e.g. 'resnet*'")] = "*",
    as_json: JsonFlag = False,
) -> None:
    """Components that a recipe can name."""
    from .listing import describe_components
    from .output import print_entries, print_json

    entries = describe_components(kind, pattern)
    print_json(entries) if as_json else print_entries(entries)


@recipes_app.command("ls")
@guarded
def recipes_ls(as_json: JsonFlag = False) -> None:
    """Names of the shipped recipes."""
    from ltml.recipe.catalog import describe_recipes

    from .output import print_entries, print_json

    print_json(describe_recipes()) if as_json else print_entries(describe_recipes())


@recipes_app.command("show")
@guarded
def recipes_show(recipe: RecipeName, overrides: Overrides = None, as_json: JsonFlag = False) -> None:
    """The resolved recipe, every field with its meaning."""
    import ltml
    from ltml.recipe.show import annotated_yaml

    from .output import print_json

    resolved = ltml.load_recipe(recipe, list(overrides or []))
    print_json(resolved.to_dict()) if as_json else typer.echo(annotated_yaml(resolved), nl=False)


@recipes_app.command("cp")
@guarded
def recipes_cp(
    recipe: RecipeName,
    target: Annotated[Path, typer.Argument(help="a new .yaml file, or a folder")] = Path(),
    as_json: JsonFlag = False,
) -> None:
    """Copy a shipped recipe to a file of your own."""
    from ltml.recipe.catalog import copy_recipe

    from .output import print_json

    path = str(copy_recipe(recipe, target))
    print_json({"recipe": path}) if as_json else typer.echo(path)


@recipes_app.command("validate")
@guarded
def recipes_validate(recipe: RecipeName, overrides: Overrides = None, as_json: JsonFlag = False) -> None:
    """Check a recipe without running it."""
    import ltml
    from ltml.stages.checks import check_recipe

    from .output import print_json

    resolved = ltml.load_recipe(recipe, list(overrides or []))
    check_recipe(resolved)
    print_json({"recipe": resolved.name, "valid": True}) if as_json else typer.echo(f"{resolved.name}: valid")


def main() -> None:
    """Entry point of the `ltml` command."""
    app()
