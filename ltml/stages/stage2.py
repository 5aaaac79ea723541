"""Stage 2: reconstruct the label distribution (LDRNet, MM 2024, section 3.4).

Two Gaussians per class are fitted to the class-aware features of stage 1 (eqs. 9-10); virtual features are drawn from
them with rare classes favoured (eqs. 12-14). The M step trains the classifier on those; the E step trains encoder and
backbone on real images against the frozen classifier, by the multi-label generalised cross entropy. Eq. 15 as printed
feeds virtual features to the E step, which would leave the encoder without a gradient; it must mean real images.

Which samples the M step draws, or which formula takes its place, is up to the stage-2 method (`ltml.rebalancing`).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltml.checksums import forget_missing, is_finished, write_recorded, write_recorded_json
from ltml.data.batches import BatchLoader
from ltml.data.dataset import Dataset
from ltml.errors import InputError
from ltml.files import write_atomically
from ltml.gaussians.resampler import GaussianResampler
from ltml.losses.bce import bce_loss
from ltml.losses.gce import gce_loss
from ltml.processes.bars import begin_step, track
from ltml.processes.collectives import broadcast, gather_rows, rank_zero_only
from ltml.recipe.schema import Recipe
from ltml.registry import REBALANCING
from ltml.stages.build import build_loader, checkpoint_metadata, rebuild_model
from ltml.stages.evaluate import score_run
from ltml.stages.features import extract_features, has_features, load_features, open_features
from ltml.stages.predict import describe_batch, predict_missing
from ltml.stages.provenance import is_of_this_stage1, record_stage1
from ltml.stages.refit import ClassifierRefit, Epoch, plan_epochs, validate
from ltml.stages.run_directory import RunDirectory, begin_run, record_environment, remove_stage
from ltml.training.checkpoint import load_weights, save_weights
from ltml.training.devices import Compute, choose_compute
from ltml.training.loop import TRAINING_WORK, seed_epoch, train_epoch
from ltml.training.optim import make_optimizer
from ltml.training.resume import TrainingState
from ltml.types import Batch, FeatureSet

log = logging.getLogger(__name__)


def run_stage2(recipe: Recipe, dataset: Dataset, run: RunDirectory, *, fresh: bool = False) -> None:
    """Refit the classifier of a finished stage 1, predict and score. Finished parts are skipped unless `fresh`.

    Args:
        recipe: the recipe.
        dataset: its data.
        run: paths of the run.
        fresh: overwrite what is finished.

    Raises:
        InputError: the recipe has no stage 2, or its stage 1 is not finished.
    """
    if not recipe.stage2.enabled:
        raise InputError(
            f"stage2.method=none (method '{recipe.method}'): there is no stage 2 to run; set stage2.method=NAME "
            f"({', '.join(REBALANCING.names())}) or choose a method that has a stage 2"
        )
    if not (is_finished(run.checkpoint1) and has_features(run.features)):
        raise InputError(f"there is no finished stage 1 in {run.shared}: run `ltml stage1` with the same recipe first")
    compute = choose_compute(recipe.train.device, recipe.train.precision)
    world = compute.world
    stale = not fresh and not is_of_this_stage1(run)
    if fresh or stale or not is_finished(run.checkpoint2):
        training = Stage2Training(recipe, dataset, run, compute)
        if stale:
            log.info("stage 2: stage 1 has changed since, so stage 2 starts over")
        rank_zero_only(partial(_begin, recipe, dataset, run, overwrite=fresh or stale), world)
        training.fit()
    rank_zero_only(partial(_finish, recipe, dataset, run), world)
    begin_step("scores 2")
    predict_missing(run, 2, recipe, dataset, compute)
    rank_zero_only(partial(score_run, recipe, dataset, run, stage=2), world)


def _begin(recipe: Recipe, dataset: Dataset, run: RunDirectory, *, overwrite: bool) -> None:
    """Write the records of the run and of the stage 1 that it starts from."""
    if overwrite:
        remove_stage(run, 2)
    begin_run(run, recipe, dataset)
    record_environment(run.path)
    record_stage1(run, recipe)


def _finish(recipe: Recipe, dataset: Dataset, run: RunDirectory) -> None:
    """Score stage 1 for this run, and remove what only an unfinished stage 2 needs."""
    score_run(recipe, dataset, run, stage=1)
    (run.path / "stage2" / "state.pt").unlink(missing_ok=True)
    shutil.rmtree(run.path / "stage2" / "features", ignore_errors=True)
    forget_missing(run.path)


class Stage2Training:
    """Run all rounds of stage 2 on one model; resumable after every epoch.

    Several processes share the images of the E step. Each runs the whole M step, which reads stored features only; the
    result of rank 0 is broadcast.

    Args:
        recipe: the recipe.
        dataset: its data.
        run: paths of the run, whose stage 1 is finished.
        compute: device, precision, processes.

    Raises:
        InputError: the settings do not suit the head or the classes.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, run: RunDirectory, compute: Compute) -> None:
        self.recipe, self.dataset, self.run, self.compute = recipe, dataset, run, compute
        self.settings = recipe.stage2
        self.moved, self.extracted = False, set[str]()  # since stage 1; splits whose features are up to date
        weights, _ = load_weights(run.checkpoint1)
        self.model = rebuild_model(recipe, dataset, weights, stage=1)
        self.model.make_classifier_linear()
        compute.place(self.model)
        self.refit = ClassifierRefit(recipe, dataset, self.model.classifier)
        self.model.head.classifier = self.refit.classifier
        moves_all = self.refit.method.moves == "everything"
        train, e_step = recipe.train, self.settings.e_step
        self.e_optimizer = make_optimizer(
            train.optimizer,
            self.model.parameters() if moves_all else self.model.encoder_parameters(),
            lr=e_step.lr,
            weight_decay=e_step.weight_decay,
            betas=train.betas,
            momentum=train.momentum,
        )

    def fit(self) -> None:
        """Run the planned epochs and keep the round that is best on validation; stage 1 itself is not a candidate."""
        select, folder, world = self.recipe.train.select, self.run.path / "stage2", self.compute.world
        parts: dict[str, Any] = {
            "model": self.model,
            "m_optimizer": self.refit.optimizer,
            "e_optimizer": self.e_optimizer,
        }
        state = TrainingState.load(folder, parts)
        if state.done:
            log.info("stage 2: resuming after epoch %d", state.done)
        self.moved = any(line["step"] in ("E", "bce") for line in state.history)
        for epoch in plan_epochs(self.settings)[state.done :]:
            started = time.monotonic()
            record = epoch._asdict() | self.run_epoch(epoch)
            if epoch.ends_round:
                value = record[f"val_{select}"] = validate(
                    self.model.classifier, self.features("val"), self.dataset, select
                )
                log.info("stage 2, round %d: val %s %.4f", epoch.round, select, value)
                if state.update_best(value, epoch.round, self.model) and world.is_first:
                    self._save_gaussians()
            state.finish_epoch(record | {"seconds": time.monotonic() - started}, folder, parts, world)
        log.info("stage 2: best val %s %.4f in round %d", select, state.best, state.best_at)
        self.model.load_state_dict(state.weights)
        self.refit.restore_prior()
        metadata = checkpoint_metadata(self.recipe, self.dataset, 2) | {"round": state.best_at}
        rank_zero_only(partial(save_weights, self.run.checkpoint2, self.model.state_dict(), metadata), world)

    def run_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Run one epoch and return its entries for the log."""
        if epoch.step in ("E", "bce"):
            self.moved, self.extracted, self.refit.sampler = True, set(), None
            return {"loss": self.e_step(epoch) if epoch.step == "E" else self.plain_step(epoch)}
        self.model.classifier.requires_grad_(True)
        record = self.refit.run_epoch(epoch, partial(self.features, "train"))
        broadcast(self.model.classifier.parameters(), self.compute.world)
        return record

    def e_step(self, epoch: Epoch) -> float:
        """Train encoder and backbone on real images through the frozen classifier (eq. 16, see `gce_loss`)."""
        self.model.classifier.requires_grad_(False)
        settings = self.settings.e_step
        loss: Callable[..., Tensor] = partial(gce_loss, q=settings.q) if settings.loss == "gce" else bce_loss
        natural = torch.from_numpy(self.refit.shift.log_odds).float().to(self.compute.device)
        offset = natural if settings.loss == "bce_offset" else torch.zeros_like(natural)
        number = (epoch.round - 1) * settings.epochs + epoch.number
        return self._train_on_images(
            f"stage 2, round {epoch.round}, E step",
            lambda logits, targets, known: loss(logits - offset, targets, known),
            "e-step",
            number,
        )

    def plain_step(self, epoch: Epoch) -> float:
        """Train everything on real images by the method's loss, as if stage 1 went on."""
        return self._train_on_images(
            f"stage 2, round {epoch.round}, {epoch.step.upper()}",
            self.refit.method.image_loss,
            self.settings.method,
            plan_epochs(self.settings).index(epoch),
        )

    def features(self, split: str) -> FeatureSet:
        """Return current features: the stored ones until an E step has changed the encoder, then fresh ones."""
        if not self.moved:
            return self._saved_features(split)
        folder = self.run.path / "stage2" / "features"
        if split not in self.extracted:
            loader = self._load(split)
            dtype = self.recipe.train.feature_dtype
            extract_features(
                self.model, loader, self.dataset, split, folder, self.compute, dtype=dtype, write=write_atomically
            )
            self.extracted.add(split)
        return open_features(folder, split)

    def _saved_features(self, split: str) -> FeatureSet:
        """Return the features that stage 1 stored; raise if they are of other rows."""
        store = load_features(self.run.features, split)
        if store.ids.tolist() != self.dataset.ids(split).astype(str).tolist():
            raise InputError(
                f"the features of '{split}' in {self.run.features} belong to other rows than this split has; remove "
                "that folder and run the same recipe again, which extracts them"
            )
        return store

    def _load(self, split: str, *, training: bool = False) -> BatchLoader:
        compute = self.compute
        return build_loader(self.recipe, self.dataset, split, compute.device, training=training, world=compute.world)

    def _train_on_images(self, title: str, loss: Callable[..., Tensor], purpose: str, number: int) -> float:
        """Train for one pass over the training images, with views and dropout that no earlier pass has drawn.

        Args:
            title: title of the progress bar.
            loss: scalar loss of logits, targets and known labels ``(B, C)`` of all processes together.
            purpose: name of the random stream.
            number: number of the pass, from 0.

        Returns:
            Mean loss.
        """
        batches, world = self._load("train", training=True), self.compute.world
        seed_epoch(self.recipe.seeds.train, purpose, number, world=world)

        def loss_of(batch: Batch) -> Tensor:
            with self.compute.autocast():
                output = self.model(batch.images)
            return loss(*gather_rows([output.logits, batch.targets, batch.known], world))

        self.model.train()
        work = TRAINING_WORK * len(self.dataset.splits["train"])
        return train_epoch(
            track(
                batches.epoch(self.recipe.train.epochs + number),
                len(batches),
                title,
                work=work,
            ),  # goes on after stage 1
            loss_of,
            self.e_optimizer,
            model=self.model,
            world=world,
            clip_norm=self.recipe.train.clip_norm,
            describe=lambda batch: describe_batch(batch, self.dataset, self.model, world),
        )

    def _save_gaussians(self) -> None:
        if isinstance(self.refit.sampler, GaussianResampler):
            save_gaussians(self.run, self.refit.sampler, self.dataset.label_names)


def save_gaussians(run: RunDirectory, resampler: GaussianResampler, label_names: Sequence[str]) -> None:
    """Write the Gaussians, and beside them the settings and label counts that they were fitted to."""
    write_recorded(run.gaussians, resampler.save)
    labels = [
        {"label": name, "n_absent": int(absent), "n_present": int(present), "p_present": _or_none(chance)}
        for name, (absent, present), chance in zip(
            label_names, resampler.counts_, resampler.probabilities_, strict=True
        )
    ]
    settings = {"covariance": resampler.covariance, "borrow": resampler.borrow, "prior": resampler.prior}
    write_recorded_json(run.gaussians.with_suffix(".json"), settings | {"labels": labels})


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
