"""Stage 2: reconstruct the label distribution (LDRNet, MM 2024, section 3.4).

Two Gaussians per class are fitted to the class-aware features of stage 1 (eqs. 9-10); virtual features are drawn from
them with rare classes favoured (eqs. 12-14). The M step trains the classifier on those; the E step trains encoder and
backbone on real images against the frozen classifier, by the multi-label generalised cross entropy. Eq. 15 as printed
feeds virtual features to the E step, which would leave the encoder without a gradient; real images are meant.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltml.errors import InputError
from ltml.files import write_atomically, write_json
from ltml.gaussians.resampler import GaussianResampler
from ltml.losses.bce import bce_loss
from ltml.losses.gce import gce_loss
from ltml.metrics.table import score
from ltml.recipe.schema import Recipe, Stage2Section
from ltml.seeds import derive_seed
from ltml.stages.build import build_loader, checkpoint_about, rebuild_model
from ltml.stages.evaluate import score_run, scored_splits, write_predictions
from ltml.stages.features import SPLITS, extract_features, has_features, load_features
from ltml.stages.predict import describe_batch, predict
from ltml.stages.run_directory import (
    RunDirectory,
    begin_run,
    is_of_this_stage1,
    record_environment,
    record_stage1,
    remove_stage,
)
from ltml.training.checkpoint import load_weights, save_weights
from ltml.training.devices import Compute, choose_compute
from ltml.training.loop import seed_epoch, train_epoch
from ltml.training.optim import make_optimizer
from ltml.training.progress import track
from ltml.training.resume import Progress
from ltml.types import Batch, Dataset, FeatureSet

log = logging.getLogger(__name__)


def run_stage2(recipe: Recipe, dataset: Dataset, run: RunDirectory, *, fresh: bool = False) -> None:
    """Refit the classifier of a finished stage 1, predict and score; what is there already is not made again.

    Args:
        recipe: the recipe.
        dataset: its data.
        run: where stage 1 lies and stage 2 goes.
        fresh: make everything again.

    Raises:
        InputError: the recipe has no stage 2, or its stage 1 is not there.
    """
    if recipe.stage2.method == "none":
        raise InputError(
            f"the method '{recipe.method}' has no stage 2; set stage2.method=gaussian or choose a method that has one"
        )
    if not (run.checkpoint1.is_file() and has_features(run.features)):
        raise InputError(f"there is no finished stage 1 in {run.shared}: run `ltml stage1` with the same recipe first")
    compute = choose_compute(recipe.train.device, recipe.train.precision)
    stale = not is_of_this_stage1(run)
    if fresh or stale or not run.checkpoint2.is_file():
        reconstruction = Reconstruction(recipe, dataset, run, compute)
        if stale:
            log.info("stage 2: stage 1 has been trained again since, so it starts anew")
        if fresh or stale:
            remove_stage(run, 2)
        begin_run(run, recipe, dataset)
        record_environment(run.path)
        record_stage1(run)
        reconstruction.fit()
    score_run(recipe, dataset, run, stage=1)
    (run.path / "stage2" / "state.pt").unlink(missing_ok=True)
    shutil.rmtree(run.path / "stage2" / "features", ignore_errors=True)
    unpredicted = [split for split in scored_splits(dataset) if not run.predictions(2, split).is_file()]
    if unpredicted:
        weights, _ = load_weights(run.checkpoint2)
        model = compute.place(rebuild_model(recipe, dataset.label_names, weights, stage=2))
        for split in unpredicted:
            answers = predict(model, build_loader(recipe, dataset, split, compute.device), dataset, split, compute)
            write_predictions(run.predictions(2, split), answers)
    score_run(recipe, dataset, run, stage=2)


class Epoch(NamedTuple):
    """One epoch of the alternation."""

    round: int
    step: str
    number: int
    ends_round: bool


def alternation(settings: Stage2Section) -> list[Epoch]:
    """Round 0 is the M step alone; later ones are an E step, then Gaussians and classifier refitted."""
    epochs = []
    for round_ in range(settings.rounds + 1):
        e_epochs = settings.e_step.epochs if round_ > 0 else 0
        epochs += [Epoch(round_, "E", number, ends_round=False) for number in range(e_epochs)]
        last = settings.m_step.epochs - 1
        epochs += [Epoch(round_, "M", number, ends_round=number == last) for number in range(last + 1)]
    return epochs


class Reconstruction:
    """The EM alternation over one model, resumable after every epoch.

    Args:
        recipe: the recipe.
        dataset: its data.
        run: where stage 1 lies and stage 2 goes.
        compute: device and precision.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, run: RunDirectory, compute: Compute) -> None:
        self.recipe, self.dataset, self.run, self.compute = recipe, dataset, run, compute
        self.settings = recipe.stage2
        weights, _ = load_weights(run.checkpoint1)
        self.model = rebuild_model(recipe, dataset.label_names, weights, stage=1)
        self.model.make_classifier_linear()
        compute.place(self.model)
        train, m_step, e_step = recipe.train, self.settings.m_step, self.settings.e_step
        optimizer = partial(make_optimizer, train.optimizer, betas=train.betas, momentum=train.momentum)
        self.m_optimizer = optimizer(self.model.classifier.parameters(), lr=m_step.lr, weight_decay=m_step.weight_decay)
        self.e_optimizer = optimizer(self.model.encoder_parameters(), lr=e_step.lr, weight_decay=e_step.weight_decay)

    def fit(self) -> None:
        """Alternate; keep the round that is best on validation (stage 1 itself is not a candidate)."""
        select, folder = self.recipe.train.select, self.run.path / "stage2"
        parts: dict[str, Any] = {"model": self.model, "m_optimizer": self.m_optimizer, "e_optimizer": self.e_optimizer}
        progress = Progress.load(folder, parts)
        if progress.done:
            log.info("stage 2: resuming after epoch %d", progress.done)
        reconstructed: tuple[GaussianResampler, FeatureSet] | None = None
        for epoch in alternation(self.settings)[progress.done :]:
            started = time.monotonic()
            if epoch.step == "E":
                reconstructed = None
                record = epoch._asdict() | {"loss": self.e_step(epoch)}
            else:
                resampler, validation = reconstructed = reconstructed or self._reconstruct_round(epoch.round)
                record = epoch._asdict() | {"loss": self.m_step(epoch, resampler)}
                if epoch.ends_round:
                    value = record[f"val_{select}"] = self._validate(validation)
                    log.info("stage 2, round %d: val %s %.4f", epoch.round, select, value)
                    if progress.offer(value, epoch.round, self.model):
                        self._save_gaussians(resampler)
            progress.finish_epoch(record | {"seconds": time.monotonic() - started}, folder, parts)
        log.info("stage 2: best val %s %.4f in round %d", select, progress.best, progress.best_at)
        about = checkpoint_about(self.recipe, self.dataset, 2) | {"round": progress.best_at}
        save_weights(self.run.checkpoint2, progress.weights, about)

    def reconstruct(self, features: FeatureSet, *, first: bool = True) -> GaussianResampler:
        """Fit the label-0 and label-1 Gaussians of every class (eqs. 9-10); small groups are told of the first time."""
        try:
            resampler = GaussianResampler(
                covariance=self.settings.covariance,
                prior=self.settings.prior,
                alpha=self.settings.alpha,
                eps=self.settings.epsilon,
            )
            names = self.dataset.label_names
            return resampler.fit(features.features, features.masked_targets(), label_names=names, warn=first)
        except ValueError as error:
            raise InputError(f"stage2: {error}") from error

    def m_step(self, epoch: Epoch, resampler: GaussianResampler) -> float:
        """Train the classifier on fresh virtual features (eqs. 12-14); nothing else moves."""
        self.model.classifier.requires_grad_(True)
        settings = self.settings.m_step
        count = settings.samples or len(self.dataset.splits["train"])
        size = settings.batch_size or self.recipe.train.batch_size
        source = torch.Generator().manual_seed(
            derive_seed(self.recipe.seeds.sample, "virtual", epoch.round, epoch.number)
        )

        def draws() -> Iterator[tuple[Tensor, Tensor]]:
            for start in range(0, count, size):
                features, targets = resampler.sample(min(size, count - start), generator=source)
                yield (
                    torch.as_tensor(features).to(self.compute.device),
                    torch.as_tensor(targets).to(self.compute.device),
                )

        def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
            features, targets = batch
            return bce_loss(self.model.classifier(features), targets.nan_to_num(), ~targets.isnan())

        shown = track(draws(), -(-count // size), f"stage 2, round {epoch.round}, M step")
        return train_epoch(shown, loss_of, self.m_optimizer, clip_norm=self.recipe.train.clip_norm)

    def e_step(self, epoch: Epoch) -> float:
        """Train encoder and backbone on real images through the frozen classifier (eq. 16, see `gce_loss`)."""
        self.model.classifier.requires_grad_(False)
        settings = self.settings.e_step
        loss: Callable[..., Tensor] = bce_loss if settings.loss == "bce" else partial(gce_loss, q=settings.q)
        batches = build_loader(self.recipe, self.dataset, "train", self.compute.device, training=True)
        number = (epoch.round - 1) * settings.epochs + epoch.number
        seed_epoch(self.recipe.seeds.train, "e-step", number)

        def loss_of(batch: Batch) -> Tensor:
            with self.compute.autocast():
                output = self.model(batch.images)
            return loss(output.logits, batch.targets, batch.known)

        self.model.train()
        views = batches.epoch(self.recipe.train.epochs + number)  # goes on where stage 1 left off
        return train_epoch(
            track(views, len(batches), f"stage 2, round {epoch.round}, E step"),
            loss_of,
            self.e_optimizer,
            clip_norm=self.recipe.train.clip_norm,
            describe=lambda batch: describe_batch(batch, self.dataset, self.model),
        )

    def _reconstruct_round(self, round_: int) -> tuple[GaussianResampler, FeatureSet]:
        """Gaussians of the encoder as it is now, and its features of val: stage 1's store serves round 0."""
        folder = self.run.features
        if round_ > 0:
            folder = self.run.path / "stage2" / "features"
            for split in SPLITS:
                loader = build_loader(self.recipe, self.dataset, split, self.compute.device)
                dtype = self.recipe.train.feature_dtype
                extract_features(self.model, loader, self.dataset, split, folder, self.compute, dtype=dtype)
        return self.reconstruct(load_features(folder, "train"), first=round_ == 0), load_features(folder, "val")

    @torch.inference_mode()
    def _validate(self, features: FeatureSet) -> float:
        chunks = np.array_split(np.arange(len(features.ids)), -(-len(features.ids) // 1024))
        logits = [
            self.model.classifier(torch.from_numpy(np.array(features.features[rows])).float().to(self.compute.device))
            for rows in chunks
        ]
        probs = torch.cat(logits).double().sigmoid().cpu().numpy()
        return score(probs, features.masked_targets()).macro[self.recipe.train.select]

    def _save_gaussians(self, resampler: GaussianResampler) -> None:
        write_atomically(self.run.gaussians, resampler.save)
        labels = [
            {"label": name, "n_absent": int(absent), "n_present": int(present), "p_present": _or_none(chance)}
            for name, (absent, present), chance in zip(
                self.dataset.label_names, resampler.counts_, resampler.probabilities_, strict=True
            )
        ]
        about = {"covariance": self.settings.covariance, "prior": self.settings.prior, "labels": labels}
        write_json(self.run.gaussians.with_suffix(".json"), about)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
