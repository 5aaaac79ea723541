"""Where a run lies on disk, and what belongs to whom.

``runs/<recipe>/_stage1/<hash>/`` holds stage 1 and its features, shared by every run whose stage 1 is the same;
``runs/<recipe>/<method>[+<variant>]/seed<k>/`` is one run and names its stage 1 in ``recipe.yaml``.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml

from ltml.arrays import Digests
from ltml.checksums import (
    begin_checksums,
    check_file,
    forget_missing,
    is_finished,
    is_intact,
    keeps_checksums,
    read_recorded_json,
    say_unverified,
    write_recorded,
    write_recorded_json,
)
from ltml.class_counts import TrainCounts
from ltml.data.dataset import Dataset
from ltml.errors import InputError, first_few, first_line
from ltml.files import hash_file, hash_json, write_json, write_utf8
from ltml.processes.world import World
from ltml.recipe.components import component_code
from ltml.recipe.load import identity, identity_by_content, recipe_from_dict
from ltml.recipe.schema import Recipe
from ltml.stages.build import text_modes

WRITTEN_AGAIN = "run the same recipe again, which writes the file"
"""How to get back a damaged file that a run makes of what it still has."""
PACKAGES = (
    "ltml",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "open-clip-torch",
    "transformers",
)


AGAIN = "give another --out, or train again with --fresh."
"""What to do where a stage 1 cannot be used."""


Stage = Literal[1, 2]
Inputs = Mapping[str, Mapping[str, str]]
"""What a stage is trained from, such as weights or a loss: SHA-256 by path of its files."""


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run.

    Attributes:
        path: the run's own folder.
        shared: the folder of its stage 1.
    """

    path: Path
    shared: Path

    @property
    def checkpoint1(self) -> Path:
        """Weights after stage 1."""
        return self.shared / "checkpoint.safetensors"

    @property
    def checkpoint2(self) -> Path:
        """Weights after stage 2."""
        return self.path / "stage2" / "checkpoint.safetensors"

    def checkpoint(self, stage: Stage) -> Path:
        """Return the path of the weights after a stage."""
        return self.checkpoint1 if stage == 1 else self.checkpoint2

    @property
    def features(self) -> Path:
        """Stored features of stage 1."""
        return self.shared / "features"

    @property
    def images(self) -> Path:
        """Hashes of the images that stage 1 was trained on."""
        return self.shared / "images.npy"

    @property
    def gaussians(self) -> Path:
        """The Gaussians that the chosen round of stage 2 drew from."""
        return self.path / "gaussians.safetensors"

    def predictions(self, stage: int, split: str) -> Path:
        """Predictions CSV of a split after a stage."""
        folder = self.shared if stage == 1 else self.path / "stage2"
        return folder / f"predictions_{split}.csv"

    def metrics(self, stage: int, split: str) -> Path:
        """Scores of a split after a stage; ``metrics.json`` is the split ``test``."""
        name = "metrics.json" if split == "test" else f"metrics_{split}.json"
        return self.path / f"stage{stage}" / name

    def calibration(self, stage: int) -> Path:
        """Temperatures and thresholds fitted to the predictions of val after a stage."""
        return self.path / f"stage{stage}" / "calibration.json"

    def calibrated(self, stage: int, split: str) -> Path:
        """Scores of a split with them; ``calibrated.json`` is the split ``test``."""
        name = "calibrated.json" if split == "test" else f"calibrated_{split}.json"
        return self.path / f"stage{stage}" / name


def run_folder(recipe: Recipe, out: Path) -> Path:
    """Where a recipe's run on its own data lies under `out`."""
    method = (recipe.method or "custom") + (f"+{recipe.variant}" if recipe.variant else "")
    return out / recipe.name / method / f"seed{recipe.seeds.train}"


def last_stage(recipe: Recipe) -> Stage:
    """The stage that a run of a recipe ends with."""
    return 2 if recipe.stage2.enabled else 1


def progress_of(recipe: Recipe, out: Path) -> Literal["done", "begun", "to do"]:
    """How far a recipe's run under `out` is, by its files; a run of another recipe counts as not begun."""
    path = run_folder(recipe, out)
    try:
        about = _read_recipe(path)
        if about is None or identity(_recipe_of(about, path)) != identity(recipe):
            return "to do"
    except InputError:  # damaged, as below
        return "begun"
    run = RunDirectory(path, path / about["stage1"])
    last = last_stage(recipe)
    answers = list((run.shared if last == 1 else run.path / "stage2").glob("predictions_*.csv"))
    scored = all(is_finished(run.metrics(last, file.stem.removeprefix("predictions_"))) for file in answers)
    complete = run.predictions(last, "test").is_file() and scored and all(map(is_finished, answers))
    try:
        return "done" if complete and (last == 1 or is_of_this_stage1(run)) else "begun"
    except InputError:  # a damaged file, which the run itself will refuse by name
        return "begun"


def locate_run(
    recipe: Recipe, dataset: Dataset, out: Path, *, on_features: bool = False, redone: Collection[int] = ()
) -> RunDirectory:
    """The folder of a recipe's run under `out`; nothing is written.

    Args:
        recipe: the recipe.
        dataset: its data.
        out: root of the run directories.
        on_features: the data are stored features; the run then has a stage 1 of its own, and a folder per data.
        redone: stages that will be made again, so other images, weights or code than before are no obstacle.

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
    _say_if_unverified(run)
    return run


def read_train_counts(run: RunDirectory) -> TrainCounts:
    """Known training labels of every class, as `begin_run` saved them.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = run.path / "labels.json"
    content = read_recorded_json(path, WRITTEN_AGAIN, {})
    try:
        keys = ("train_pos", "train_known")
        return TrainCounts(*({name: int(entry[key]) for name, entry in content.items()} for key in keys))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no labels of a run; {WRITTEN_AGAIN}") from error


def read_data_record(run: RunDirectory) -> dict[str, Any]:
    """What `begin_run` saved of the data: ``label_files`` and ``left_out``.

    Raises:
        InputError: the file is missing or damaged.
    """
    return read_recorded_json(run.path / "data.json", WRITTEN_AGAIN, {"label_files": dict, "left_out": dict})


def read_fingerprint(path: Path) -> str:
    """The fingerprint of a run's data.

    Raises:
        InputError: the folder is not that of a run.
    """
    return str(_need_recipe(path)["data_fingerprint"])


def begin_run(run: RunDirectory, recipe: Recipe, dataset: Dataset) -> None:
    """Write what the run is: recipe, split, label counts, environment; of what is there already what is damaged."""
    about = {"stage1": os.path.relpath(run.shared, run.path), "data_fingerprint": dataset.fingerprint()}
    there = _read_recipe(run.path) or {}
    same = there.items() >= about.items() and identity(_recipe_of(there, run.path)) == identity(recipe)
    if not there:
        begin_checksums(run.path)
    _record_data(run, dataset, anew=not same)
    if same:
        return
    record_environment(run.path)
    text = yaml.safe_dump(recipe.to_dict() | about, sort_keys=False, allow_unicode=True)
    write_recorded(run.path / "recipe.yaml", lambda path: write_utf8(path, text))  # last: it marks the folder as a run


def begin_stage1(run: RunDirectory) -> None:
    """Let the folder of a stage 1 that is about to begin keep checksums; one that goes on stays as it is."""
    if not (run.shared / "state.pt").is_file():
        begin_checksums(run.shared)


def _record_data(run: RunDirectory, dataset: Dataset, *, anew: bool) -> None:
    """Write the split, the label counts and the data's record, `anew` or where they are not there and intact."""
    split = dataset.split_table()
    known = dataset.known[dataset.splits["train"]].sum(axis=0)
    counts = {
        name: {"train_pos": int(pos), "train_known": int(all_known)}
        for name, pos, all_known in zip(dataset.label_names, dataset.class_counts(), known, strict=True)
    }
    record = {"label_files": dict(dataset.label_files), "left_out": dict(dataset.left_out)}
    if anew or not is_intact(run.path / "split.csv"):
        write_recorded(run.path / "split.csv", lambda path: split.to_csv(path, index=False))
    for name, content in (("labels.json", counts), ("data.json", record)):
        if anew or not is_intact(run.path / name):
            write_recorded_json(run.path / name, content)


def record_inputs(run: RunDirectory, recipe: Recipe, dataset: Dataset) -> None:
    """Write beside a stage 1 that is about to be trained its images, local weights and code of plugins.

    ``images.npy`` has 8 bytes per image: a hash of the file's bytes, or of the pixels where images come in arrays, in
    the order of the rows.
    """
    write_recorded(run.images, lambda path: np.save(path, dataset.image_digests))
    if inputs := _inputs_of_stage1(recipe):
        write_recorded_json(run.shared / "inputs.json", inputs)


def record_environment(folder: Path) -> None:
    """Write which machine and packages are about to work for a folder, and how many processes if several."""
    processes = World.from_environment().size
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    environment = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "packages": {name: version(name) for name in PACKAGES},
    }
    several = {"processes": processes} if processes > 1 else {}
    write_json(folder / "environment.json", environment | several)


def record_stage1(run: RunDirectory, recipe: Recipe) -> None:
    """Write which stage 1 a stage 2 starts from, and the code of plugins that it takes."""
    if inputs := _inputs_of_stage2(recipe):
        write_recorded_json(run.path / "stage2" / "inputs.json", inputs)
    write_recorded_json(run.path / "stage2" / "stage1.json", _hashes_of_stage1(run))


def is_of_this_stage1(run: RunDirectory) -> bool:
    """Whether what stage 2 left, if anything, started from the weights and images that stage 1 has now.

    Raises:
        InputError: the weights, or the record of those that it started from, are damaged.
    """
    path = run.path / "stage2" / "stage1.json"
    if not is_finished(path):
        return not (run.path / "stage2").exists()
    check_file(run.checkpoint1)
    check_file(run.images, AGAIN)
    remedy = "redo stage 2: `ltml stage2` with the same recipe and --fresh"
    return read_recorded_json(path, remedy, {"checkpoint": str}) == _hashes_of_stage1(run)


def _hashes_of_stage1(run: RunDirectory) -> dict[str, str]:
    files = {"checkpoint": run.checkpoint1, "images": run.images}
    return {name: hash_file(path) for name, path in files.items() if path.is_file()}


def read_run(path: Path) -> tuple[RunDirectory, Recipe]:
    """A run by its folder.

    Raises:
        InputError: the folder is not that of a run.
    """
    about = _need_recipe(path)
    run = RunDirectory(path, (path / about["stage1"]).resolve())
    _say_if_unverified(run)
    return run, _recipe_of(about, path)


def remove_stage(run: RunDirectory, stage: int) -> None:
    """Take away what a stage left with its checksums; what stage 2 made of an older stage 1 goes first."""
    for path in (run.gaussians, run.gaussians.with_suffix(".json"), run.path / "changes.json"):
        path.unlink(missing_ok=True)
    shutil.rmtree(run.path / "stage2", ignore_errors=True)
    if stage == 1:
        shutil.rmtree(run.path / "stage1", ignore_errors=True)
        shutil.rmtree(run.shared, ignore_errors=True)
    forget_missing(run.path)


def _stage1_hash(recipe: Recipe, dataset: Dataset) -> str:
    """Sixteen hex digits over every field that stage 1 depends on, and the table of the data.

    What the images hold is left out: where they have changed, the same folder is found, and refused.
    """
    prompts = bool(text_modes(recipe)) and recipe.text.encoder != "none"
    parts = {"data", "backbone", "head", "loss", "objectives", "train", "init_from"}
    parts |= {"text"} if prompts else set()
    fields = {key: value for key, value in identity_by_content(recipe).items() if key.split(".")[0] in parts}
    return hash_json([fields, recipe.seeds.split, recipe.seeds.train, dataset.table_fingerprint])[:16]


def _inputs_of_stage1(recipe: Recipe) -> Inputs:
    """The local weights that stage 1 starts from, as far as they are (still) there, and its code of plugins."""
    names = [recipe.backbone.weights, recipe.text.name, recipe.text.weights]
    paths = [Path(name) for name in names if name is not None]
    if recipe.init_from is not None and (recipe.init_from / "recipe.yaml").is_file():
        paths.append(read_run(recipe.init_from)[0].checkpoint1)
    weights = {str(path): {str(path): hash_file(path)} for path in paths if path.is_file()}
    return weights | component_code(recipe, 1)


def _inputs_of_stage2(recipe: Recipe) -> Inputs:
    return component_code(recipe, 2) if recipe.stage2.enabled else {}


def _refuse_changed_inputs(folder: Path, inputs: Inputs, stage: int) -> None:
    """Refuse weights and code that are not those that the stage in a folder was trained from, whatever their names."""
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
    if not _has_stage1(run.shared):
        return
    changed = np.argwhere(_read_images(run, dataset) != dataset.image_digests).tolist()
    if changed:
        images = (_name_image(dataset, *index) for index in changed)
        count = f" ({len(changed)} of {dataset.image_digests.size} images)" if len(changed) > 1 else ""
        raise InputError(
            f"{first_few(images, most=2)} {'has' if len(changed) == 1 else 'have'} changed since stage 1 in "
            f"{run.shared} was trained{count}. Put the images back, {AGAIN}"
        )


def _refuse_earlier_version(run: RunDirectory) -> None:
    """Refuse what was made before images were recorded: whether they have changed cannot be known."""
    about = _read_recipe(run.path)
    for shared in (run.shared, *([] if about is None else [Path(os.path.normpath(run.path / str(about["stage1"])))])):
        if _has_stage1(shared) and not (shared / run.images.name).is_file():
            raise InputError(
                f"{shared} has no {run.images.name}, as if made by an earlier version of ltml, so whether images have "
                f"changed since its stage 1 was trained cannot be known: {AGAIN}"
            )


def _read_images(run: RunDirectory, dataset: Dataset) -> Digests:
    """Hashes of the images that stage 1 was trained on, as many as the dataset has."""
    check_file(run.images, AGAIN)
    try:
        digests: Digests = np.load(run.images)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {run.images} ({first_line(error)}): {AGAIN}") from error
    if digests.dtype != np.uint64 or digests.shape != dataset.image_digests.shape:
        raise InputError(f"{run.images} is damaged: {AGAIN}")
    return digests


def _name_image(dataset: Dataset, row: int, number: int) -> str:
    """The file of an image, or what there is to say of one that came in an array."""
    files = dataset.images.files(row)
    return str(files[number]) if files else f"the image '{dataset.table['id'].iloc[row]}'"


def _refuse_another_run(run: RunDirectory, recipe: Recipe) -> None:
    differences = _differences(run, recipe) if _has_work(run.path) else []
    if differences:
        raise InputError(
            f"{run.path} holds the run of another recipe, which differs in {first_few(differences, most=3)}. "
            f"Give another --out, change the recipe's name, or remove {run.path}."
        )


def _differences(run: RunDirectory, recipe: Recipe) -> list[str]:
    """In what the run that lies there, if any, differs from this recipe and the table of its data."""
    about = _read_recipe(run.path)
    if about is None:
        return []
    ours, theirs = identity_by_content(recipe), identity_by_content(_recipe_of(about, run.path))
    keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    differences = [f"{key} (there {theirs.get(key)!r}, here {ours.get(key)!r})" for key in keys]
    other_table = about["stage1"] != os.path.relpath(run.shared, run.path)
    return differences or ["the data (ids, labels or split have changed since)"] * other_table


def _has_work(path: Path) -> bool:
    """Whether a run got as far as its first finished epoch; until then there is nothing to lose."""
    about = _read_recipe(path) or {}
    shared = path / str(about.get("stage1", ""))
    return _has_stage1(shared) or (path / "stage1").exists() or (path / "stage2").exists()


def _has_stage1(shared: Path) -> bool:
    return (shared / "state.pt").exists() or (shared / "checkpoint.safetensors").exists()


def _read_recipe(path: Path) -> dict[str, Any] | None:
    file = path / "recipe.yaml"
    if not is_finished(file):
        return None
    remedy = f"remove the folder {path}, and the run is made again, on its stage 1 as far as that is there"
    check_file(file, remedy)
    try:
        about = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {file}: {first_line(error)}; {remedy}") from error
    if not isinstance(about, dict) or not {"stage1", "data_fingerprint"} <= about.keys():
        raise InputError(f"{file} was not written by a run; {remedy}, or give another --out")
    return about


def _need_recipe(path: Path) -> dict[str, Any]:
    about = _read_recipe(path)
    if about is None:
        raise InputError(f"{path} is not a run: it has no recipe.yaml. A run is a folder like runs/digits/ldrnet/seed0")
    return about


def _say_if_unverified(run: RunDirectory) -> None:
    for folder, mark in ((run.path, "recipe.yaml"), (run.shared, "checkpoint.safetensors")):
        own = folder != run.path / "stage1"
        if own and (folder / mark).is_file() and not keeps_checksums(folder):
            say_unverified(folder)
            return


def _recipe_of(about: dict[str, Any], path: Path) -> Recipe:
    fields = {key: value for key, value in about.items() if key not in ("stage1", "data_fingerprint")}
    return recipe_from_dict(fields, where=str(path / "recipe.yaml"))
