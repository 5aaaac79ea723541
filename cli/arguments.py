"""Arguments and options shared by several commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ltml.recipe.schema import Recipe

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="recipe: a name (`ltml recipes ls`) or the path of a .yaml file")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="recipe fields to change, e.g. train.epochs=3 or method=mine.yaml"),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]
Resamples = Annotated[
    int | None, typer.Option("--resamples", min=100, help="number of bootstrap resamples of patients (1000)")
]
ResampleSeed = Annotated[int | None, typer.Option("--seed", min=0, help="seed of the resamples (0)")]
TrustPlugins = Annotated[
    bool, typer.Option("--trust-plugins", help="import the plugins that the file names; this runs their code")
]


def resampling(resamples: int | None, seed: int | None) -> dict[str, int]:
    """Return the given resampling options by the library's names; the library has defaults for the others."""
    given = {"resamples": resamples, "seed": seed}
    return {key: value for key, value in given.items() if value is not None}


def load(
    recipe: str,
    overrides: list[str] | None,
    seed: int | None = None,
    device: str | None = None,
    *,
    trust_plugins: bool = True,
) -> Recipe:
    """Load a recipe with the changes of the command line."""
    import ltml

    changes = list(overrides or [])
    changes += [] if seed is None else [f"seeds.train={seed}", f"seeds.sample={seed}"]
    changes += [] if device is None else [f"train.device={device}"]
    return ltml.load_recipe(recipe, changes, trust_plugins=trust_plugins)
