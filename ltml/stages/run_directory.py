"""Paths of a run on disk, and the files that say what the run is.

``runs/<recipe>/_stage1/<hash>/`` holds stage 1 and its features, shared by every run whose stage 1 is the same;
``runs/<recipe>/<method>[+<variant>]/seed<k>/`` is one run; its ``recipe.yaml`` names its stage 1.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

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
from ltml.errors import InputError, first_line
from ltml.files import write_json, write_utf8
from ltml.processes.world import World
from ltml.recipe.load import identity, recipe_from_dict
from ltml.recipe.schema import Recipe

WRITTEN_AGAIN = "run the same recipe again, which writes the file"
"""Remedy for a damaged file that a run can write again from its other files."""
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
"""Packages whose versions are recorded with a run."""

Stage = Literal[1, 2]


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
        """Path of the weights after stage 1."""
        return self.shared / "checkpoint.safetensors"

    @property
    def checkpoint2(self) -> Path:
        """Path of the weights after stage 2."""
        return self.path / "stage2" / "checkpoint.safetensors"

    def checkpoint(self, stage: Stage) -> Path:
        """Return the path of the weights after a stage."""
        return self.checkpoint1 if stage == 1 else self.checkpoint2

    @property
    def features(self) -> Path:
        """Folder of the stored features of stage 1."""
        return self.shared / "features"

    @property
    def images(self) -> Path:
        """Path of the hashes of the images that stage 1 was trained on."""
        return self.shared / "images.npy"

    @property
    def gaussians(self) -> Path:
        """Path of the Gaussians of the chosen round of stage 2."""
        return self.path / "gaussians.safetensors"

    def predictions(self, stage: int, split: str) -> Path:
        """Return the path of the predictions CSV of a split after a stage."""
        folder = self.shared if stage == 1 else self.path / "stage2"
        return folder / f"predictions_{split}.csv"

    def metrics(self, stage: int, split: str) -> Path:
        """Return the path of the scores of a split after a stage; ``metrics.json`` is the split ``test``."""
        name = "metrics.json" if split == "test" else f"metrics_{split}.json"
        return self.path / f"stage{stage}" / name

    def calibration(self, stage: int) -> Path:
        """Return the path of the temperatures and thresholds fitted on val after a stage."""
        return self.path / f"stage{stage}" / "calibration.json"

    def calibrated(self, stage: int, split: str) -> Path:
        """Return the path of the calibrated scores of a split; ``calibrated.json`` is the split ``test``."""
        name = "calibrated.json" if split == "test" else f"calibrated_{split}.json"
        return self.path / f"stage{stage}" / name


def run_folder(recipe: Recipe, out: Path) -> Path:
    """Return the folder of a recipe's run on its own data under `out`."""
    method = (recipe.method or "custom") + (f"+{recipe.variant}" if recipe.variant else "")
    return out / recipe.name / method / f"seed{recipe.seeds.train}"


def last_stage(recipe: Recipe) -> Stage:
    """Return the last stage of a recipe's run."""
    return 2 if recipe.stage2.enabled else 1


def read_train_counts(run: RunDirectory) -> TrainCounts:
    """Read the known training labels of every class, as `begin_run` saved them.

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
    """Read what `begin_run` saved about the data: ``label_files`` and ``left_out``.

    Raises:
        InputError: the file is missing or damaged.
    """
    return read_recorded_json(run.path / "data.json", WRITTEN_AGAIN, {"label_files": dict, "left_out": dict})


def read_fingerprint(path: Path) -> str:
    """Read the fingerprint of a run's data.

    Raises:
        InputError: the folder holds no run.
    """
    return str(_require_recipe_file(path)["data_fingerprint"])


def begin_run(run: RunDirectory, recipe: Recipe, dataset: Dataset) -> None:
    """Write recipe, split, label counts and environment of a run; for the same run, only files that are damaged."""
    origin = {"stage1": os.path.relpath(run.shared, run.path), "data_fingerprint": dataset.fingerprint()}
    saved = read_recipe_file(run.path) or {}
    same = saved.items() >= origin.items() and identity(recipe_in(saved, run.path)) == identity(recipe)
    if not saved:
        begin_checksums(run.path)
    _record_data(run, dataset, overwrite=not same)
    if same:
        return
    record_environment(run.path)
    text = yaml.safe_dump(recipe.to_dict() | origin, sort_keys=False, allow_unicode=True)
    write_recorded(run.path / "recipe.yaml", lambda path: write_utf8(path, text))  # last: it marks the folder as a run


def begin_stage1(run: RunDirectory) -> None:
    """Start the checksums of a stage 1's folder, unless the stage is being resumed."""
    if not (run.shared / "state.pt").is_file():
        begin_checksums(run.shared)


def _record_data(run: RunDirectory, dataset: Dataset, *, overwrite: bool) -> None:
    """Write the split, the label counts and the record of the data; skip files that are intact unless `overwrite`."""
    split = dataset.split_table()
    known = dataset.known[dataset.splits["train"]].sum(axis=0)
    counts = {
        name: {"train_pos": int(pos), "train_known": int(count)}
        for name, pos, count in zip(dataset.label_names, dataset.class_counts(), known, strict=True)
    }
    record = {"label_files": dict(dataset.label_files), "left_out": dict(dataset.left_out)}
    if overwrite or not is_intact(run.path / "split.csv"):
        write_recorded(run.path / "split.csv", lambda path: split.to_csv(path, index=False))
    for name, content in (("labels.json", counts), ("data.json", record)):
        if overwrite or not is_intact(run.path / name):
            write_recorded_json(run.path / name, content)


def record_environment(folder: Path) -> None:
    """Write machine and package versions to a folder, and the number of processes if there are several."""
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


def read_run(path: Path) -> tuple[RunDirectory, Recipe]:
    """Return the paths and the recipe of the run in a folder.

    Raises:
        InputError: the folder holds no run.
    """
    saved = _require_recipe_file(path)
    run = RunDirectory(path, (path / saved["stage1"]).resolve())
    warn_if_unverified(run)
    return run, recipe_in(saved, path)


def remove_stage(run: RunDirectory, stage: int) -> None:
    """Remove the files of a stage and their checksums; stage 2, which depends on stage 1, always goes with it."""
    for path in (run.gaussians, run.gaussians.with_suffix(".json"), run.path / "changes.json"):
        path.unlink(missing_ok=True)
    shutil.rmtree(run.path / "stage2", ignore_errors=True)
    if stage == 1:
        shutil.rmtree(run.path / "stage1", ignore_errors=True)
        shutil.rmtree(run.shared, ignore_errors=True)
    forget_missing(run.path)


def read_recipe_file(path: Path) -> dict[str, Any] | None:
    """Read the ``recipe.yaml`` of a run: the recipe's fields, ``stage1`` and ``data_fingerprint``.

    Returns:
        Its content; None if the folder has no such file.

    Raises:
        InputError: the file is damaged, or was not written by a run.
    """
    file = path / "recipe.yaml"
    if not is_finished(file):
        return None
    remedy = f"remove the folder {path} and run the same recipe again; a finished stage 1 is reused"
    check_file(file, remedy)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {file}: {first_line(error)}; {remedy}") from error
    if not isinstance(content, dict) or not {"stage1", "data_fingerprint"} <= content.keys():
        raise InputError(f"{file} was not written by a run; {remedy}, or give another --out")
    return content


def _require_recipe_file(path: Path) -> dict[str, Any]:
    """Read the ``recipe.yaml`` of a run; raise if the folder has none."""
    content = read_recipe_file(path)
    if content is None:
        raise InputError(f"{path} is not a run: it has no recipe.yaml. A run is a folder like runs/digits/ldrnet/seed0")
    return content


def warn_if_unverified(run: RunDirectory) -> None:
    """Warn once if the run or its stage 1 was saved without checksums, by an earlier version."""
    for folder, mark in ((run.path, "recipe.yaml"), (run.shared, "checkpoint.safetensors")):
        own = folder != run.path / "stage1"
        if own and (folder / mark).is_file() and not keeps_checksums(folder):
            say_unverified(folder)
            return


def recipe_in(content: dict[str, Any], path: Path) -> Recipe:
    """Return the recipe in the content of a run's ``recipe.yaml``; `path` is the run's folder, for messages."""
    fields = {key: value for key, value in content.items() if key not in ("stage1", "data_fingerprint")}
    return recipe_from_dict(fields, where=str(path / "recipe.yaml"))
