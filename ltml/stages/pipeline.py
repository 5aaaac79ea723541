"""Whole commands: stage 1, stage 2, or both, from a recipe to saved scores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ltml.files import held, remove_partial_files
from ltml.recipe.schema import Recipe
from ltml.stages.build import build_dataset
from ltml.stages.checks import check_labels, check_out, check_recipe
from ltml.stages.evaluate import collect, save_changes
from ltml.stages.from_features import run_on_features
from ltml.stages.run_directory import RunDirectory, locate_run
from ltml.stages.stage1 import run_stage1
from ltml.stages.stage2 import run_stage2
from ltml.types import RunResult

OUT = "runs"


def stage1(recipe: Recipe, out: str | os.PathLike[str] = OUT, *, fresh: bool = False) -> RunResult:
    """Train stage 1 of a recipe, extract its features, predict and score.

    Args:
        recipe: from `ltml.load_recipe`.
        out: root of the run directories.
        fresh: redo what is done already.

    Returns:
        The run's folder and scores, those of a stage 2 that was done before included.

    Raises:
        InputError: the recipe, the data or the folder do not allow it.
        LtmlError: something failed on the way; a later call resumes.
    """
    return _work(recipe, Path(out), stages=(1,), fresh=fresh)


def stage2(
    recipe: Recipe,
    out: str | os.PathLike[str] = OUT,
    *,
    fresh: bool = False,
    features: Mapping[str, str | os.PathLike[str]] | None = None,
) -> RunResult:
    """Run stage 2 on a finished stage 1; see `stage1` for arguments and errors.

    Args:
        recipe: as in `stage1`.
        out: as in `stage1`.
        fresh: as in `stage1`.
        features: instead of a stage 1, an ``.npz`` by split (train, val, and test if there is one) with ``features``
            ``(N, C, D)`` or ``(N, D)``, ``targets`` ``(N, C)``, ``label_names`` and optionally ``ids`` and ``groups``;
            what stands for stage 1 is then a logistic regression per class.
    """
    if features is None:
        return _work(recipe, Path(out), stages=(2,), fresh=fresh)
    check_out(Path(out))
    place = run_on_features(recipe, {split: Path(path) for split, path in features.items()}, Path(out), fresh=fresh)
    return _result(place)


def run(recipe: Recipe, out: str | os.PathLike[str] = OUT, *, fresh: bool = False) -> RunResult:
    """Stage 1, stage 2 if the recipe has one, and their scores; see `stage1` for arguments and errors."""
    return _work(recipe, Path(out), stages=(1, 2) if recipe.stage2.method != "none" else (1,), fresh=fresh)


def _work(recipe: Recipe, out: Path, *, stages: tuple[int, ...], fresh: bool) -> RunResult:
    check_recipe(recipe)
    check_out(out)
    dataset = build_dataset(recipe)
    check_labels(recipe, dataset)
    place = locate_run(recipe, dataset, out)
    with held(place.path):
        for folder in (place.path, place.shared):
            remove_partial_files(folder)
        if 1 in stages:
            with held(place.shared):  # runs that differ in stage 2 alone share it
                run_stage1(recipe, dataset, place, fresh=fresh)
        if 2 in stages:
            run_stage2(recipe, dataset, place, fresh=fresh)
        return _result(place)


def _result(place: RunDirectory) -> RunResult:
    result = collect(place)
    if result.stage2 is not None:
        save_changes(place, result)
    return result
