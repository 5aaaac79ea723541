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
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltml.errors import InputError
from ltml.files import write_atomically, write_json, write_text
from ltml.gaussians.resampler import GaussianResampler
from ltml.losses.bce import bce_loss
from ltml.losses.gce import gce_loss
from ltml.metrics.table import score
from ltml.models.model import Stage1Model
from ltml.recipe.schema import Recipe, Stage2Section
from ltml.seeds import derive_seed
from ltml.stages.build import build_loader, checkpoint_about, rebuild_model
from ltml.stages.evaluate import score_run, scored_splits, write_predictions
from ltml.stages.features import SPLITS, extract_features, has_features, load_features
from ltml.stages.log import to_lines
from ltml.stages.predict import predict
from ltml.stages.run_directory import RunDirectory, begin_run, remove_stage
from ltml.stages.stage1 import describe_batch
from ltml.training.checkpoint import copy_to_cpu, load_state, load_weights, save_state, save_weights
from ltml.training.devices import autocast, choose_device, use_bfloat16
from ltml.training.loop import seed_epoch, train_epoch
from ltml.training.optim import make_optimizer
from ltml.training.progress import track
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
    device = choose_device(recipe.train.device)
    bfloat16 = use_bfloat16(recipe.train.precision, device)
    if fresh or not run.checkpoint2.is_file():
        reconstruction = Reconstruction(recipe, dataset, run, device, bfloat16)
        if fresh:
            remove_stage(run, 2)
        begin_run(run, recipe, dataset)
        reconstruction.fit()
    score_run(recipe, dataset, run, stage=1)
    (run.path / "stage2" / "state.pt").unlink(missing_ok=True)
    shutil.rmtree(run.path / "stage2" / "features", ignore_errors=True)
    unpredicted = [split for split in scored_splits(dataset) if not run.predictions(2, split).is_file()]
    if unpredicted:
        weights, _ = load_weights(run.checkpoint2)
        model = rebuild_model(recipe, dataset.label_names, weights, stage=2).to(device)
        for split in unpredicted:
            loader = build_loader(recipe, dataset, split, device)
            answers = predict(model, loader, dataset, split, device=device, bfloat16=bfloat16)
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


@dataclass
class _Progress:
    """What the alternation remembers between epochs."""

    done: int = 0
    best: float = -1.0
    best_round: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


class Reconstruction:
    """The EM alternation over one model, resumable after every epoch.

    Args:
        recipe: the recipe.
        dataset: its data.
        run: where stage 1 lies and stage 2 goes.
        device: where to compute.
        bfloat16: whether forward passes through the backbone run in bfloat16.
    """

    def __init__(
        self, recipe: Recipe, dataset: Dataset, run: RunDirectory, device: torch.device, bfloat16: bool
    ) -> None:
        self.recipe, self.dataset, self.run = recipe, dataset, run
        self.device, self.bfloat16 = device, bfloat16
        self.settings = recipe.stage2
        weights, _ = load_weights(run.checkpoint1)
        self.model: Stage1Model = rebuild_model(recipe, dataset.label_names, weights, stage=1)
        self.model.make_classifier_linear()
        self.model.to(device)
        settings = recipe.train
        optimizer = partial(make_optimizer, settings.optimizer, betas=settings.betas, momentum=settings.momentum)
        m_step, e_step = self.settings.m_step, self.settings.e_step
        self.m_optimizer = optimizer(self.model.classifier.parameters(), lr=m_step.lr, weight_decay=m_step.weight_decay)
        self.e_optimizer = optimizer(self.model.encoder_parameters(), lr=e_step.lr, weight_decay=e_step.weight_decay)

    def fit(self) -> None:
        """Alternate; keep the round that is best on validation (stage 1 itself is not a candidate)."""
        parts: dict[str, Any] = {"model": self.model, "m_optimizer": self.m_optimizer, "e_optimizer": self.e_optimizer}
        progress = self._resume(parts)
        resampler: GaussianResampler | None = None
        validation: FeatureSet | None = None
        for epoch in alternation(self.settings)[progress.done :]:
            started = time.monotonic()
            if epoch.step == "E":
                resampler = None
                loss = self.e_step(epoch)
            else:
                if resampler is None:
                    train, validation = self._features(epoch.round)
                    resampler = self.reconstruct(train, first=epoch.round == 0)
                loss = self.m_step(epoch, resampler)
            record: dict[str, Any] = epoch._asdict() | {"loss": loss}
            if epoch.ends_round and validation is not None and resampler is not None:
                value = self._validate(validation)
                record[f"val_{self.recipe.train.select}"] = value
                log.info("stage 2, round %d: val %s %.4f", epoch.round, self.recipe.train.select, value)
                if value > progress.best:
                    progress.best, progress.best_round = value, epoch.round
                    progress.weights = copy_to_cpu(self.model.state_dict())
                    self._save_gaussians(resampler)
            progress.done += 1
            progress.history.append(record | {"seconds": time.monotonic() - started})
            state = {key: part.state_dict() for key, part in parts.items()}
            save_state(self.run.path / "stage2" / "state.pt", state | vars(progress))
            write_text(self.run.path / "stage2" / "log.jsonl", to_lines(progress.history))
        log.info(
            "stage 2: best val %s %.4f in round %d",
            self.recipe.train.select,
            progress.best,
            progress.best_round,
        )
        about = checkpoint_about(self.recipe, self.dataset, 2) | {"round": progress.best_round}
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
                yield torch.as_tensor(features).to(self.device), torch.as_tensor(targets).to(self.device)

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
        batches = build_loader(self.recipe, self.dataset, "train", self.device, training=True)
        number = (epoch.round - 1) * settings.epochs + epoch.number
        seed_epoch(self.recipe.seeds.train, "e-step", number)

        def loss_of(batch: Batch) -> Tensor:
            with autocast(self.device, self.bfloat16):
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

    def _features(self, round_: int) -> tuple[FeatureSet, FeatureSet]:
        """Train and val features of the encoder as it is now: stage 1's store in round 0, extracted afterwards."""
        folder = self.run.features
        if round_ > 0:
            folder = self.run.path / "stage2" / "features"
            for split in SPLITS:
                loader = build_loader(self.recipe, self.dataset, split, self.device)
                extract_features(
                    self.model, loader, self.dataset, split, folder,
                    dtype=self.recipe.train.feature_dtype, device=self.device, bfloat16=self.bfloat16,
                )  # fmt: skip
        return load_features(folder, "train"), load_features(folder, "val")

    @torch.inference_mode()
    def _validate(self, features: FeatureSet) -> float:
        chunks = np.array_split(np.arange(len(features.ids)), -(-len(features.ids) // 1024))
        logits = [
            self.model.classifier(torch.from_numpy(np.array(features.features[rows])).float().to(self.device))
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

    def _resume(self, parts: dict[str, Any]) -> _Progress:
        state = load_state(self.run.path / "stage2" / "state.pt")
        if state is None:
            return _Progress()
        for key, part in parts.items():
            part.load_state_dict(state[key])
        progress = _Progress(**{name: state[name] for name in vars(_Progress())})
        log.info("stage 2: resuming after %d of %d epochs", progress.done, len(alternation(self.settings)))
        return progress


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
