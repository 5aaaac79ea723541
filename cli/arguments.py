"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ltml.recipe.schema import Recipe

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="name (`ltml recipes ls`) or path of a .yaml file")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="e.g. train.epochs=3")]
JsonFlag = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


def load(recipe: str, overrides: list[str] | None, seed: int | None = None, device: str | None = None) -> Recipe:
    """The recipe with what the command line changes."""
    import ltml

    changes = list(overrides or [])
    changes += [] if seed is None else [f"seeds.train={seed}", f"seeds.sample={seed}"]
    changes += [] if device is None else [f"train.device={device}"]
    return ltml.load_recipe(recipe, changes)
