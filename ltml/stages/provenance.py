"""Record what a run was made from when a stage begins, and compare it when the run is found again."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from ltml.arrays import Digests
from ltml.checksums import check_file, is_finished, read_recorded_json, write_recorded, write_recorded_json
from ltml.data.dataset import Dataset
from ltml.errors import InputError, first_few, first_line
from ltml.files import hash_file, hash_json
from ltml.recipe.components import component_code
from ltml.recipe.load import identity, identity_by_content
from ltml.recipe.schema import Recipe
from ltml.stages.build import text_modes
from ltml.stages.run_directory import (
    RunDirectory,
    last_stage,
    read_recipe_file,
    read_run,
    recipe_in,
    run_folder,
    warn_if_unverified,
)

TRAIN_AGAIN = "give another --out, or train again with --fresh."
"""Remedy for a stage 1 that cannot be used."""

Inputs = Mapping[str, Mapping[str, str]]
"""SHA-256 by path of the files of each thing that a stage is trained from, such as weights or a loss."""


def progress_of(recipe: Recipe, out: Path) -> Literal["done", "begun", "to do"]:
    """Return how far a recipe's run under `out` is, by its files; a run of another recipe counts as ``to do``."""
    path = run_folder(recipe, out)
    try:
        saved = read_recipe_file(path)
        if saved is None or identity(recipe_in(saved, path)) != identity(recipe):
            return "to do"
    except InputError:  # damaged, as below
        return "begun"
    run = RunDirectory(path, path / saved["stage1"])
    last = last_stage(recipe)
    files = list((run.shared if last == 1 else run.path / "stage2").glob("predictions_*.csv"))
    scored = all(is_finished(run.metrics(last, file.stem.removeprefix("predictions_"))) for file in files)
    complete = run.predictions(last, "test").is_file() and scored and all(map(is_finished, files))
    try:
        return "done" if complete and (last == 1 or is_of_this_stage1(run)) else "begun"
    except InputError:  # a damaged file, which the run itself will refuse by name
        return "begun"


def locate_run(
    recipe: Recipe, dataset: Dataset, out: Path, *, on_features: bool = False, redone: Collection[int] = ()
) -> RunDirectory:
    """Find the folder of a recipe's run under `out`, and check that a run in it has the same origin. Write nothing.

    Args:
        recipe: the recipe.
        dataset: its data.
        out: root of the run directories.
        on_features: whether the data are stored features; each data set then has its own folder and stage 1.
        redone: stages that will be overwritten, whose images, weights and code may therefore differ.

    Raises:
        InputError: the folder holds the run of another recipe or of other data, or a stage was trained on other
            images, from other weights or by other code of a plugin; the message names what differs.
    """
    path = run_folder(recipe, out)
    if on_features:
        path = path.parent.with_name(f"{path.parent.name}-features-{dataset.fingerprint()[:8]}") / path.name
        run = RunDirectory(path, shared=path / "stage1")
    else:
        run = RunDirectory(path, out / recipe.name / "_stage1" / _stage1_hash(recipe, dataset))
    if 1 not in redone and not on_features:
        _refuse_earlier_version(run)
    _refuse_another_run(run, recipe)
    if 1 not in redone and not on_features:
        _refuse_changed_images(run, dataset)
        _refuse_changed_inputs(run.shared, _inputs_of_stage1(recipe), 1)
    if not redone:
        _refuse_changed_inputs(run.path / "stage2", _inputs_of_stage2(recipe), 2)
    warn_if_unverified(run)
    return run


def record_inputs(run: RunDirectory, recipe: Recipe, dataset: Dataset) -> None:
    """Record the images, local weights and plugin code that a stage 1 is about to be trained from.

    ``images.npy`` has 8 bytes per image: a hash of the file's bytes, or of the pixels where images come in arrays, in
    the order of the rows.
    """
    write_recorded(run.images, lambda path: np.save(path, dataset.image_digests))
    if inputs := _inputs_of_stage1(recipe):
        write_recorded_json(run.shared / "inputs.json", inputs)


def record_stage1(run: RunDirectory, recipe: Recipe) -> None:
    """Record which stage 1 a stage 2 starts from, and the plugin code that it uses."""
    if inputs := _inputs_of_stage2(recipe):
        write_recorded_json(run.path / "stage2" / "inputs.json", inputs)
    write_recorded_json(run.path / "stage2" / "stage1.json", _hashes_of_stage1(run))


def is_of_this_stage1(run: RunDirectory) -> bool:
    """Return whether stage 2, if it has begun, started from the weights and images that stage 1 has now.

    Raises:
        InputError: the weights or the record of stage 2 are damaged.
    """
    path = run.path / "stage2" / "stage1.json"
    if not is_finished(path):
        return not (run.path / "stage2").exists()
    check_file(run.checkpoint1)
    check_file(run.images, TRAIN_AGAIN)
    remedy = "redo stage 2: `ltml stage2` with the same recipe and --fresh"
    return read_recorded_json(path, remedy, {"checkpoint": str}) == _hashes_of_stage1(run)


def _hashes_of_stage1(run: RunDirectory) -> dict[str, str]:
    files = {"checkpoint": run.checkpoint1, "images": run.images}
    return {name: hash_file(path) for name, path in files.items() if path.is_file()}


def _stage1_hash(recipe: Recipe, dataset: Dataset) -> str:
    """Return sixteen hex digits over every field that stage 1 depends on, and the table of the data.

    The content of the images is left out: if it changes, the same folder is found, and `locate_run` refuses it.
    """
    prompts = bool(text_modes(recipe)) and recipe.text.encoder != "none"
    parts = {"data", "backbone", "head", "loss", "objectives", "train", "init_from"}
    parts |= {"text"} if prompts else set()
    fields = {key: value for key, value in identity_by_content(recipe).items() if key.split(".")[0] in parts}
    return hash_json([fields, recipe.seeds.split, recipe.seeds.train, dataset.table_fingerprint])[:16]


def _inputs_of_stage1(recipe: Recipe) -> Inputs:
    """Return the local weights that stage 1 starts from, if the files exist, and its plugin code."""
    names = [recipe.backbone.weights, recipe.text.name, recipe.text.weights]
    paths = [Path(name) for name in names if name is not None]
    if recipe.init_from is not None and (recipe.init_from / "recipe.yaml").is_file():
        paths.append(read_run(recipe.init_from)[0].checkpoint1)
    weights = {str(path): {str(path): hash_file(path)} for path in paths if path.is_file()}
    return weights | component_code(recipe, 1)


def _inputs_of_stage2(recipe: Recipe) -> Inputs:
    return component_code(recipe, 2) if recipe.stage2.enabled else {}


def _refuse_changed_inputs(folder: Path, inputs: Inputs, stage: int) -> None:
    """Raise if weights or code differ from those that the stage in a folder was trained from, whatever their names."""
    saved = folder / "inputs.json"
    remedy = f"remove it if the files that stage {stage} started from are still the same, else remove {folder}"
    before = read_recorded_json(saved, remedy, {}) if saved.is_file() else {}
    for what, files in inputs.items():
        then = before.get(what, files)
        changed = [path for path, digest in files.items() if digest not in then.values()]
        if changed or len(then) != len(files):
            raise InputError(
                f"{first_few(changed or files)} has changed since stage {stage} in {folder} was trained from it. Give "
                "the new file another name, or train again with --fresh."
            )


def _refuse_changed_images(run: RunDirectory, dataset: Dataset) -> None:
    """Raise if images have changed since stage 1 was trained on them."""
    if not _has_stage1(run.shared):
        return
    changed = np.argwhere(_read_images(run, dataset) != dataset.image_digests).tolist()
    if changed:
        images = (_name_image(dataset, *index) for index in changed)
        count = f" ({len(changed)} of {dataset.image_digests.size} images)" if len(changed) > 1 else ""
        raise InputError(
            f"{first_few(images, most=2)} {'has' if len(changed) == 1 else 'have'} changed since stage 1 in "
            f"{run.shared} was trained{count}. Put the images back, {TRAIN_AGAIN}"
        )


def _refuse_earlier_version(run: RunDirectory) -> None:
    """Raise if stage 1 was trained before images were recorded: whether they have changed cannot be known."""
    saved = read_recipe_file(run.path)
    for shared in (run.shared, *([] if saved is None else [Path(os.path.normpath(run.path / str(saved["stage1"])))])):
        if _has_stage1(shared) and not (shared / run.images.name).is_file():
            raise InputError(
                f"{shared} has no {run.images.name}, as if made by an earlier version of ltml, so whether images have "
                f"changed since its stage 1 was trained cannot be known: {TRAIN_AGAIN}"
            )


def _read_images(run: RunDirectory, dataset: Dataset) -> Digests:
    """Read the hashes of the images that stage 1 was trained on; raise if their number is not the dataset's."""
    check_file(run.images, TRAIN_AGAIN)
    try:
        digests: Digests = np.load(run.images)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {run.images} ({first_line(error)}): {TRAIN_AGAIN}") from error
    if digests.dtype != np.uint64 or digests.shape != dataset.image_digests.shape:
        raise InputError(f"{run.images} is damaged: {TRAIN_AGAIN}")
    return digests


def _name_image(dataset: Dataset, row: int, number: int) -> str:
    """Return the file of an image; for one that came in an array, a phrase with its id."""
    files = dataset.images.files(row)
    return str(files[number]) if files else f"the image '{dataset.table['id'].iloc[row]}'"


def _refuse_another_run(run: RunDirectory, recipe: Recipe) -> None:
    """Raise if the folder holds the run of another recipe or of other data."""
    differences = _differences(run, recipe) if _has_work(run.path) else []
    if differences:
        raise InputError(
            f"{run.path} holds the run of another recipe, which differs in {first_few(differences, most=3)}. "
            f"Give another --out, change the recipe's name, or remove {run.path}."
        )


def _differences(run: RunDirectory, recipe: Recipe) -> list[str]:
    """Return how the saved run, if there is one, differs from a recipe and the table of its data."""
    saved = read_recipe_file(run.path)
    if saved is None:
        return []
    ours, theirs = identity_by_content(recipe), identity_by_content(recipe_in(saved, run.path))
    keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    differences = [f"{key} (there {theirs.get(key)!r}, here {ours.get(key)!r})" for key in keys]
    other_table = saved["stage1"] != os.path.relpath(run.shared, run.path)
    return differences or ["the data (ids, labels or split have changed since)"] * other_table


def _has_work(path: Path) -> bool:
    """Return whether a run has finished an epoch; before that, nothing would be lost."""
    saved = read_recipe_file(path) or {}
    shared = path / str(saved.get("stage1", ""))
    return _has_stage1(shared) or (path / "stage1").exists() or (path / "stage2").exists()


def _has_stage1(shared: Path) -> bool:
    return (shared / "state.pt").exists() or (shared / "checkpoint.safetensors").exists()
