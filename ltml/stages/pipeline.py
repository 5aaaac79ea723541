"""Run stage 1, stage 2, or both, from a recipe to saved scores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from ltml.data.check import refuse_unreadable
from ltml.data.dataset import Dataset
from ltml.errors import InputError
from ltml.files import lock_folder, remove_partial_files
from ltml.processes.bars import begin_step, plan_steps
from ltml.processes.collectives import barrier, local_rank_zero_first, process_group, rank_zero_only
from ltml.processes.main_guard import refuse_second_start
from ltml.processes.world import SINGLE_PROCESS, World
from ltml.recipe.schema import Recipe
from ltml.stages.build import build_dataset
from ltml.stages.checks import check_labels, check_out, check_recipe
from ltml.stages.evaluate import RunResult, collect, save_changes
from ltml.stages.provenance import locate_run, progress_of
from ltml.stages.refit import plan_epochs
from ltml.stages.run_directory import RunDirectory
from ltml.stages.stage1 import run_stage1
from ltml.stages.stage2 import run_stage2
from ltml.stages.stage2_on_features import run_on_features
from ltml.training.devices import choose_device
from ltml.training.loop import TRAINING_WORK

OUT = "runs"


def stage1(recipe: Recipe, out: str | os.PathLike[str] = OUT, *, fresh: bool = False) -> RunResult:
    """Train stage 1 of a recipe, extract its features, predict and score.

    Args:
        recipe: recipe from `ltml.load_recipe`.
        out: root of the run directories.
        fresh: overwrite what is finished.

    Returns:
        Folder and scores of the run, including those of an earlier stage 2.

    Raises:
        InputError: the recipe, the data or the folder do not allow it.
        LtmlError: training failed; a later call resumes.
    """
    return _run_stages(recipe, Path(out), stages=(1,), fresh=fresh)


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
        features: path of an ``.npz`` by split (train, val, and optionally test) in place of a stage 1, with
            ``features`` ``(N, C, D)`` or ``(N, D)``, ``targets`` ``(N, C)``, ``label_names`` and optionally ``ids`` and
            ``groups``. Stage 1 is then a logistic regression per class.
    """
    if features is None:
        return _run_stages(recipe, Path(out), stages=(2,), fresh=fresh)
    refuse_second_start()
    check_out(Path(out))
    if World.from_environment().size > 1:
        raise InputError("stage 2 on stored features trains no images and needs one process; start it without torchrun")
    run_dir = run_on_features(recipe, {split: Path(path) for split, path in features.items()}, Path(out), fresh=fresh)
    return _collect_result(run_dir)


def run(recipe: Recipe, out: str | os.PathLike[str] = OUT, *, fresh: bool = False) -> RunResult:
    """Run stage 1, and stage 2 if the recipe has one; see `stage1` for arguments and errors."""
    return _run_stages(recipe, Path(out), stages=(1, 2) if recipe.stage2.enabled else (1,), fresh=fresh)


def _run_stages(recipe: Recipe, out: Path, *, stages: tuple[int, ...], fresh: bool) -> RunResult:
    refuse_second_start()
    check_recipe(recipe)
    check_out(out)
    world = World.from_environment()
    _check_world(recipe, world)
    with process_group(choose_device(recipe.train.device, world), world):
        dataset = local_rank_zero_first(partial(build_dataset, recipe), world)
        check_labels(recipe, dataset)
        run_dir = local_rank_zero_first(partial(_locate, recipe, dataset, out, stages=stages, fresh=fresh), world)
        with _locked(run_dir.path, world), plan_steps(_expected_work(recipe, dataset, stages)):
            rank_zero_only(partial(remove_partial_files, run_dir.path), world)
            if 1 in stages:
                begin_step("stage 1")
                with _locked(run_dir.shared, world):  # runs that differ in stage 2 alone share it
                    rank_zero_only(partial(remove_partial_files, run_dir.shared), world)
                    run_stage1(recipe, dataset, run_dir, fresh=fresh)
            if 2 in stages:
                begin_step("stage 2")
                run_stage2(recipe, dataset, run_dir, fresh=fresh)
            return _collect_result(run_dir, world)


def _expected_work(recipe: Recipe, dataset: Dataset, stages: tuple[int, ...]) -> dict[str, float]:
    """Return the work of every step, in images passed through the model; an M step works on features and counts 0."""
    images = {split: len(rows) for split, rows in dataset.splits.items()}
    epoch, both = TRAINING_WORK * images["train"], images["train"] + images["val"]
    work: dict[str, float] = {}
    if 1 in stages:
        work["stage 1"] = recipe.train.epochs * (epoch + images["val"])
        if recipe.stage2.enabled:
            work["features"] = both
        work["scores 1"] = sum(images.values()) - images["train"]
    if 2 in stages and recipe.stage2.enabled:
        trained = [epoch.round for epoch in plan_epochs(recipe.stage2) if epoch.step in ("E", "bce")]
        work["stage 2"] = len(trained) * epoch + len(set(trained)) * both
        work["scores 2"] = sum(images.values()) - images["train"]
    return work


def _locate(recipe: Recipe, dataset: Dataset, out: Path, *, stages: tuple[int, ...], fresh: bool) -> RunDirectory:
    """Return the paths of the run, after checking that all images that it still needs can be read."""
    if fresh or progress_of(recipe, out) != "done":
        refuse_unreadable(dataset)
    return locate_run(recipe, dataset, out, redone=stages if fresh else ())


@contextmanager
def _locked(folder: Path, world: World) -> Iterator[None]:
    """Lock a folder in rank 0 on behalf of all processes, which wait for it."""
    with lock_folder(folder) if world.is_first else nullcontext():
        barrier(world)
        yield


def _check_world(recipe: Recipe, world: World) -> None:
    """Raise if there are more processes than images in a step."""
    if recipe.train.batch_size < world.size:
        raise InputError(
            f"train.batch_size={recipe.train.batch_size} images are shared by {world.size} processes, so some would "
            "get none; raise it or start fewer processes"
        )


def _collect_result(run_dir: RunDirectory, world: World = SINGLE_PROCESS) -> RunResult:
    result = collect(run_dir)
    if result.stage2 is not None and world.is_first:
        save_changes(run_dir, result)
    return result
