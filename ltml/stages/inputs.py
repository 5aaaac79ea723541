"""Find the weights and word embeddings that a stage 1 starts from before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ltml.errors import InputError, LtmlError
from ltml.models.backbones import check_file, check_pretrained
from ltml.models.hub import ELSEWHERE, NotHereError, can_fetch
from ltml.recipe.schema import Recipe
from ltml.stages.build import check_text, embed_labels, text_modes
from ltml.stages.warm_start import find_start


def missing_inputs(recipe: Recipe, label_names: Callable[[], Sequence[str]]) -> list[LtmlError]:
    """Return an error for each input of a stage 1 that is neither local nor can be fetched.

    If a hub can be reached, its files count as available.

    Args:
        recipe: the recipe.
        label_names: returns the labels; called only if word embeddings of their prompts may be in the cache.
    """
    checks: list[Callable[[], object]] = []
    if recipe.init_from is not None:
        checks.append(partial(find_start, recipe.init_from))
    elif recipe.backbone.weights is not None:
        checks.append(partial(check_file, recipe.backbone.weights))
    elif recipe.backbone.pretrained:
        checks.append(partial(check_pretrained, recipe.backbone.name))
    if text_modes(recipe):
        checks.append(partial(_find_words, recipe, label_names))
    return [error for error in map(_error_of, checks) if error is not None]


def raise_missing(errors: Sequence[LtmlError]) -> None:
    """Raise one error for all missing inputs; do nothing without any.

    Raises:
        InputError: the user has to provide all of them.
        LtmlError: some could not be fetched.
    """
    if len(errors) == 1:
        raise errors[0]
    lines = [f"({number}) {_in_short(error)}" for number, error in enumerate(errors, start=1)]
    if errors and all(isinstance(error, InputError) for error in errors):
        raise InputError(f"{len(errors)} things are missing: {'; '.join(lines)}")
    if errors:
        raise LtmlError(f"{len(errors)} things are neither local nor reachable: {'; '.join(lines)}. {ELSEWHERE}")


def _in_short(error: LtmlError) -> str:
    return f"cannot {error.what}: {error.remedy}" if isinstance(error, NotHereError) else str(error).rstrip(".")


def _error_of(check: Callable[[], object]) -> LtmlError | None:
    """Return the error that a check raises; None if it raises none."""
    try:
        check()
    except LtmlError as error:
        return error
    return None


def _find_words(recipe: Recipe, label_names: Callable[[], Sequence[str]]) -> None:
    """Raise if the text encoder is missing and its embeddings of the labels are not in the cache."""
    check_text(recipe)
    text = recipe.text
    is_of_hub = text.encoder in ("open_clip", "transformers")
    if is_of_hub and not any(name and Path(name).exists() for name in (text.name, text.weights)) and not can_fetch():
        embed_labels(recipe, label_names())
