"""Stage 1: train features and classifier by the recipe's objective (LDRNet, MM 2024, section 3.3, and others)."""

from __future__ import annotations

import logging
import time
from functools import partial

import torch
from torch import Tensor

from ltml.checksums import is_finished
from ltml.data.batches import BatchLoader
from ltml.data.dataset import Dataset
from ltml.objectives.objective import Step
from ltml.processes.bars import begin_step, track
from ltml.processes.collectives import broadcast, rank_zero_only
from ltml.recipe.schema import Recipe
from ltml.seeds import derive_seed
from ltml.stages.build import (
    build_loader,
    build_model,
    build_objective,
    checkpoint_metadata,
    count_pairs,
    embed_labels,
    rebuild_model,
)
from ltml.stages.evaluate import score_learned, score_run, train_counts
from ltml.stages.features import SPLITS, extract_features, has_features
from ltml.stages.inputs import missing_inputs, raise_missing
from ltml.stages.predict import describe_batch, predict, predict_missing
from ltml.stages.provenance import record_inputs
from ltml.stages.run_directory import RunDirectory, begin_run, begin_stage1, record_environment, remove_stage
from ltml.stages.warm_start import load_initial_weights
from ltml.training.checkpoint import load_weights, save_weights
from ltml.training.devices import Compute, choose_compute
from ltml.training.loop import TRAINING_WORK, seed_epoch, train_epoch
from ltml.training.optim import make_optimizer, make_schedule, step_schedule
from ltml.training.resume import TrainingState
from ltml.types import Batch

log = logging.getLogger(__name__)


def run_stage1(recipe: Recipe, dataset: Dataset, run: RunDirectory, *, fresh: bool = False) -> None:
    """Train, extract features, predict and score. Finished parts are skipped unless `fresh`.

    Args:
        recipe: the recipe.
        dataset: its data.
        run: paths of the run.
        fresh: overwrite what is finished.

    Raises:
        InputError: an input is missing, or a setting does not suit the data.
        LtmlError: weights cannot be fetched, or training fails; a later call resumes.
    """
    compute = choose_compute(recipe.train.device, recipe.train.precision)
    world = compute.world
    if fresh or not is_finished(run.checkpoint1):
        if fresh or not (run.shared / "state.pt").is_file():
            raise_missing(missing_inputs(recipe, lambda: dataset.label_names))
        training = Stage1Training(recipe, dataset, run, compute, fresh=fresh)
        rank_zero_only(partial(_begin, recipe, dataset, run, fresh=fresh), world)
        training.fit()
    else:
        rank_zero_only(partial(begin_run, run, recipe, dataset), world)
    if world.is_first:
        (run.shared / "state.pt").unlink(missing_ok=True)
    if recipe.stage2.enabled and not has_features(run.features):
        begin_step("features")
        weights, _ = load_weights(run.checkpoint1)
        model = compute.place(rebuild_model(recipe, dataset, weights, stage=1))
        for split in SPLITS:
            loader = build_loader(recipe, dataset, split, compute.device, world=world)
            extract_features(model, loader, dataset, split, run.features, compute, dtype=recipe.train.feature_dtype)
    begin_step("scores 1")
    predict_missing(run, 1, recipe, dataset, compute)
    rank_zero_only(partial(score_run, recipe, dataset, run, stage=1), world)


def _begin(recipe: Recipe, dataset: Dataset, run: RunDirectory, *, fresh: bool) -> None:
    """Write the records of the run, once the recipe has been checked by building everything it describes."""
    if fresh:
        remove_stage(run, 1)
    begin_stage1(run)
    record_inputs(run, recipe, dataset)
    record_environment(run.shared)
    begin_run(run, recipe, dataset)


class Stage1Training:
    """Minimise the objective and keep the epoch that is best on validation; resumable after every epoch.

    Args:
        recipe: the recipe.
        dataset: its data.
        run: paths of the run.
        compute: device, precision, processes.
        fresh: start over instead of resuming an interrupted training.

    Raises:
        InputError: text encoder, backbone or head do not fit together or to the data.
        LtmlError: weights cannot be fetched.
    """

    def __init__(
        self, recipe: Recipe, dataset: Dataset, run: RunDirectory, compute: Compute, *, fresh: bool = False
    ) -> None:
        self.recipe, self.dataset, self.run, self.compute = recipe, dataset, run, compute
        prompts = embed_labels(recipe, dataset.label_names)
        torch.manual_seed(derive_seed(recipe.seeds.train, "weights"))
        model = build_model(
            recipe,
            dataset.label_names,
            prompts,
            pretrained=recipe.init_from is None,
            images_per_row=dataset.images_per_row,
            pairs=count_pairs(recipe, dataset),
        )
        resumed = not fresh and (run.shared / "state.pt").is_file()
        if recipe.init_from is not None and not resumed:
            load_initial_weights(model, dataset.label_names, recipe.init_from)
        self.model = compute.place(model)
        self.objective = build_objective(recipe, dataset, self.model, compute.world).to(compute.device)
        started = [*self.model.parameters(), *self.model.buffers(), *self.objective.parameters()]
        broadcast(started, compute.world)
        settings, schedule = recipe.train, recipe.train.schedule
        self.optimizer = make_optimizer(
            settings.optimizer,
            [*self.model.parameters(), *self.objective.shared_parameters()],
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            betas=settings.betas,
            momentum=settings.momentum,
        )
        self.schedule = make_schedule(
            schedule.type,
            self.optimizer,
            epochs=settings.epochs,
            milestones=schedule.milestones,
            factor=schedule.factor,
            patience=schedule.patience,
        )

    def fit(self) -> None:
        """Train epoch by epoch; write the best weights when done."""
        settings, select, world = self.recipe.train, self.recipe.train.select, self.compute.world
        load = partial(build_loader, self.recipe, self.dataset, device=self.compute.device, world=world)
        parts = {
            "model": self.model,
            "objective": self.objective,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        batches = load("train", training=True, strong=self.objective.needs_strong())
        validation = load("val")
        for loader in (batches, validation):
            loader.check_views()
        counts = train_counts(self.dataset)
        state = TrainingState.load(self.run.shared, parts)
        if state.done:
            log.info("stage 1: resuming after epoch %d", state.done)
        while state.done < settings.epochs and not self._out_of_patience(state):
            started, epoch = time.monotonic(), state.done
            loss = self.train_epoch(batches, epoch)
            predictions = predict(self.model, validation, self.dataset, "val", self.compute)
            value = score_learned(predictions, counts, select)
            step_schedule(self.schedule, value)
            state.update_best(value, epoch, self.model)
            record = {"epoch": epoch, "loss": loss, f"val_{select}": value, **self.objective.report()}
            record["seconds"] = time.monotonic() - started
            state.finish_epoch(record, self.run.shared, parts, world)
            log.info("stage 1, epoch %d/%d: loss %.4f, val %s %.4f", epoch + 1, settings.epochs, loss, select, value)
        log.info("stage 1: best val %s %.4f after epoch %d", select, state.best, state.best_at + 1)
        metadata = checkpoint_metadata(self.recipe, self.dataset, 1)
        rank_zero_only(partial(save_weights, self.run.checkpoint1, state.weights, metadata), world)

    def train_epoch(self, batches: BatchLoader, epoch: int) -> float:
        """Train for one pass over the training images and return the mean loss."""
        needs_strong, world = self.objective.needs_strong(epoch), self.compute.world

        def loss_of(batch: Batch) -> Tensor:
            with self.compute.autocast():
                output = self.model(batch.images)
                strong = self.model(batch.strong) if batch.strong is not None and needs_strong else None
            loss: Tensor = self.objective(Step(batch, output, epoch, strong).gathered(world))
            return loss

        seed_epoch(self.recipe.seeds.train, "epoch", epoch, world=world)
        self.model.train()
        work = TRAINING_WORK * len(self.dataset.splits["train"])
        return train_epoch(
            track(
                batches.epoch(epoch),
                len(batches),
                f"stage 1, epoch {epoch + 1}/{self.recipe.train.epochs}",
                work=work,
            ),
            loss_of,
            self.optimizer,
            model=self.model,
            world=world,
            clip_norm=self.recipe.train.clip_norm,
            describe=lambda batch: describe_batch(batch, self.dataset, self.model, world),
        )

    def _out_of_patience(self, state: TrainingState) -> bool:
        """Return whether validation has not improved for ``train.early_stop`` epochs."""
        patience = self.recipe.train.early_stop
        return patience is not None and state.done - 1 - state.best_at >= patience
