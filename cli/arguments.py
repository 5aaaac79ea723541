"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ltml.recipe.schema import Recipe

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="name (`ltml recipes ls`) or path of a .yaml file")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="e.g. train.epochs=3")]
JsonFlag = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]
Resamples = Annotated[int | None, typer.Option("--resamples", min=100, help="how often patients are drawn anew (1000)")]
ResampleSeed = Annotated[int | None, typer.Option("--seed", min=0, help="of the resamples (0)")]
TrustPlugins = Annotated[
    bool, typer.Option("--trust-plugins", help="import the plugins that the file names, which runs their code")
]


def resampling(resamples: int | None, seed: int | None) -> dict[str, int]:
    """What the command line says of resamples, by the library's names; the rest is the library's to choose."""
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
    """The recipe with what the command line changes."""
    import ltml

    changes = list(overrides or [])
    changes += [] if seed is None else [f"seeds.train={seed}", f"seeds.sample={seed}"]
    changes += [] if device is None else [f"train.device={device}"]
    return ltml.load_recipe(recipe, changes, trust_plugins=trust_plugins)
