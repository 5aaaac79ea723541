"""Run stage 2 on a user's own embeddings: without images and backbone, and so without an E step."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ltml.checksums import is_finished
from ltml.data.dataset import Dataset
from ltml.errors import InputError, first_few
from ltml.files import lock_folder, remove_partial_files, write_text
from ltml.gaussians.resampler import GaussianResampler
from ltml.metrics.patient_inputs import NO_PATIENTS
from ltml.models.classifier import BIAS, WEIGHT, PerClassLinear
from ltml.recipe.schema import Recipe
from ltml.registry import REBALANCING
from ltml.stages.build import checkpoint_metadata
from ltml.stages.checks import check_labels
from ltml.stages.evaluate import score_run, scored_splits, write_predictions
from ltml.stages.external_features import FeatureFile, join_feature_files, read_feature_file
from ltml.stages.predict import to_predictions
from ltml.stages.provenance import locate_run
from ltml.stages.refit import ClassifierRefit, classify, plan_epochs, validate
from ltml.stages.run_directory import RunDirectory, begin_run, record_environment, remove_stage
from ltml.stages.stage2 import save_gaussians
from ltml.training.checkpoint import save_weights
from ltml.training.devices import choose_device

log = logging.getLogger(__name__)


def run_on_features(recipe: Recipe, paths: Mapping[str, Path], out: Path, *, fresh: bool = False) -> RunDirectory:
    """Fit a logistic regression to real features as stage 1, then run the M step of stage 2; predict and score both.

    Args:
        recipe: the recipe. ``stage2``, ``metrics``, ``seeds``, and optimiser and batch size in ``train`` are used;
            data, backbone and head are not.
        paths: path of an ``.npz`` by split: train, val, and optionally test.
        out: root of the run directories.
        fresh: overwrite what is finished.

    Returns:
        Paths of the run.

    Raises:
        InputError: a file is damaged or does not fit, or a setting needs images.
    """
    if not {"train", "val"} <= paths.keys() <= {"train", "val", "test"}:
        raise InputError(
            f"stored features are needed for train and val, and may be given for test, not for {first_few(paths)}"
        )
    choose_device(recipe.train.device)
    allowed = [name for name in REBALANCING.names() if REBALANCING.get(name).moves != "everything"]
    if recipe.stage2.method not in allowed:
        raise InputError(
            f"stage2.method={recipe.stage2.method} does nothing on stored features; allowed here: {', '.join(allowed)}"
        )
    if recipe.stage2.rounds > 0:
        log.info("stage 2 on stored features: round 0, the M step alone; an E step would need the images")
        recipe = recipe.model_copy(update={"stage2": recipe.stage2.model_copy(update={"rounds": 0})})
    files = {split: read_feature_file(path, split) for split, path in paths.items()}
    dataset = join_feature_files(files)
    if not any(file.has_groups for file in files.values()):
        log.warning(NO_PATIENTS)
    check_labels(recipe, dataset)
    run = locate_run(recipe, dataset, out, on_features=True)
    with lock_folder(run.path):
        remove_partial_files(run.path)
        if fresh:
            remove_stage(run, 1)
        begin_run(run, recipe, dataset)
        if not all(map(is_finished, _outputs(run, dataset))):
            record_environment(run.path)
            _fit(recipe, dataset, files, run)
        for stage in (1, 2):
            score_run(recipe, dataset, run, stage=stage)
    return run


def _outputs(run: RunDirectory, dataset: Dataset) -> list[Path]:
    """Return the paths of the weights and predictions of both stages."""
    predictions = [run.predictions(stage, split) for stage in (1, 2) for split in scored_splits(dataset)]
    return [run.checkpoint1, run.checkpoint2, *predictions]


def _fit(recipe: Recipe, dataset: Dataset, files: Mapping[str, FeatureFile], run: RunDirectory) -> None:
    """Fit and save both stages."""
    from ltml.stages.probe import fit_probe  # slow to import: scipy; a run on images needs no probe

    train, val = files["train"].store, files["val"].store
    classifier = fit_probe(train, l2=recipe.stage2.m_step.l2).to(choose_device(recipe.train.device))
    _save(recipe, dataset, files, run, classifier, stage=1)
    refit = ClassifierRefit(recipe, dataset, classifier)
    log_lines = []
    for epoch in plan_epochs(recipe.stage2):
        record = refit.run_epoch(epoch, lambda: train)
        log_lines.append({"round": epoch.round, "step": epoch.step, "number": epoch.number} | record)
    if isinstance(refit.sampler, GaussianResampler):
        save_gaussians(run, refit.sampler, dataset.label_names)
    select = recipe.train.select
    log.info("stage 2: val %s %.4f", select, validate(refit.classifier, val, dataset, select))
    refit.restore_prior()
    write_text(run.path / "stage2" / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log_lines))
    _save(recipe, dataset, files, run, refit.classifier, stage=2)


def _save(
    recipe: Recipe,
    dataset: Dataset,
    files: Mapping[str, FeatureFile],
    run: RunDirectory,
    classifier: PerClassLinear,
    *,
    stage: int,
) -> None:
    """Write predictions, then the checkpoint, which marks the stage as finished."""
    for split in scored_splits(dataset):
        predictions = to_predictions(classify(classifier, files[split].store), dataset, split)
        write_predictions(run.predictions(stage, split), predictions)
    weights: dict[str, Tensor] = {WEIGHT: classifier.weight.detach(), BIAS: classifier.bias.detach()}
    path = run.checkpoint1 if stage == 1 else run.checkpoint2
    save_weights(path, weights, checkpoint_metadata(recipe, dataset, stage))
