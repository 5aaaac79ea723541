"""Stage 1: train class-aware features (LDRNet, MM 2024, section 3.3, and the methods compared with it)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ltml.errors import first_few
from ltml.files import write_text
from ltml.metrics.table import score
from ltml.models.model import Stage1Model
from ltml.objectives.objective import Step
from ltml.recipe.schema import Recipe
from ltml.seeds import derive_seed
from ltml.stages.build import (
    build_loader,
    build_model,
    build_objective,
    checkpoint_about,
    embed_labels,
    rebuild_model,
)
from ltml.stages.evaluate import score_run, scored_splits, write_predictions
from ltml.stages.features import SPLITS, extract_features, has_features
from ltml.stages.log import to_lines
from ltml.stages.predict import predict
from ltml.stages.run_directory import RunDirectory, begin_run, remove_stage
from ltml.training.checkpoint import copy_to_cpu, load_state, load_weights, save_state, save_weights
from ltml.training.devices import autocast, choose_device, use_bfloat16
from ltml.training.loop import seed_epoch, train_epoch
from ltml.training.optim import make_optimizer, make_schedule, step_schedule
from ltml.training.progress import track
from ltml.types import Batch, Dataset

log = logging.getLogger(__name__)


def run_stage1(recipe: Recipe, dataset: Dataset, run: RunDirectory, *, fresh: bool = False) -> None:
    """Train, extract features, predict and score; what is there already is not made again unless `fresh`."""
    device = choose_device(recipe.train.device)
    bfloat16 = use_bfloat16(recipe.train.precision, device)
    if fresh or not run.checkpoint1.is_file():
        _train(recipe, dataset, run, device, bfloat16, fresh=fresh)
    (run.shared / "state.pt").unlink(missing_ok=True)
    begin_run(run, recipe, dataset)
    needs_features = recipe.stage2.method != "none" and not has_features(run.features)
    unpredicted = [split for split in scored_splits(dataset) if not run.predictions(1, split).is_file()]
    if needs_features or unpredicted:
        weights, _ = load_weights(run.checkpoint1)
        model = rebuild_model(recipe, dataset.label_names, weights, stage=1).to(device)
        for split in SPLITS if needs_features else ():
            loader = build_loader(recipe, dataset, split, device)
            extract_features(
                model, loader, dataset, split, run.features,
                dtype=recipe.train.feature_dtype, device=device, bfloat16=bfloat16,
            )  # fmt: skip
        for split in unpredicted:
            loader = build_loader(recipe, dataset, split, device)
            answers = predict(model, loader, dataset, split, device=device, bfloat16=bfloat16)
            write_predictions(run.predictions(1, split), answers)
    score_run(recipe, dataset, run, stage=1)


@dataclass
class _Progress:
    """What a training run remembers between epochs."""

    epoch: int = 0
    best: float = -1.0
    best_epoch: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def _train(
    recipe: Recipe, dataset: Dataset, run: RunDirectory, device: torch.device, bfloat16: bool, *, fresh: bool
) -> None:
    """Minimise the objective; keep the weights of the epoch that is best on validation."""
    words = embed_labels(recipe, dataset.label_names)
    torch.manual_seed(derive_seed(recipe.seeds.train, "weights"))
    model = build_model(recipe, dataset.label_names, words, pretrained=True).to(device)
    if fresh:  # only now that what can be wrong with the recipe has been found
        remove_stage(run, 1)
    begin_run(run, recipe, dataset)
    settings = recipe.train
    objective = build_objective(recipe).to(device)
    optimizer = make_optimizer(
        settings.optimizer, [*model.parameters(), *objective.parameters()],
        lr=settings.lr, weight_decay=settings.weight_decay, betas=settings.betas, momentum=settings.momentum,
    )  # fmt: skip
    schedule = make_schedule(
        settings.schedule.type, optimizer, epochs=settings.epochs, milestones=settings.schedule.milestones,
        factor=settings.schedule.factor, patience=settings.schedule.patience,
    )  # fmt: skip
    batches = build_loader(recipe, dataset, "train", device, training=True)
    validation = build_loader(recipe, dataset, "val", device)
    parts: dict[str, Any] = {"model": model, "objective": objective, "optimizer": optimizer, "schedule": schedule}
    progress = _resume(run, parts)

    while progress.epoch < settings.epochs and not _out_of_patience(progress, settings.early_stop):
        started = time.monotonic()
        epoch = progress.epoch
        seed_epoch(recipe.seeds.train, "epoch", epoch)

        def loss_of(batch: Batch, epoch: int = epoch) -> Tensor:
            with autocast(device, bfloat16):
                output = model(batch.images)
            return objective(Step(batch, output, epoch))  # type: ignore[no-any-return]

        model.train()
        shown = track(batches.epoch(epoch), len(batches), f"stage 1, epoch {epoch + 1}/{settings.epochs}")
        loss = train_epoch(
            shown, loss_of, optimizer, clip_norm=settings.clip_norm,
            describe=lambda batch: describe_batch(batch, dataset, model),
        )  # fmt: skip
        answers = predict(model, validation, dataset, "val", device=device, bfloat16=bfloat16)
        value = score(answers.probs, answers.targets).macro[settings.select]
        step_schedule(schedule, value)
        if value > progress.best:
            progress.best, progress.best_epoch, progress.weights = (
                value,
                epoch,
                copy_to_cpu(model.state_dict()),
            )
        progress.epoch += 1
        progress.history.append(
            {
                "epoch": epoch,
                "loss": loss,
                f"val_{settings.select}": value,
                "seconds": time.monotonic() - started,
            }
        )
        save_state(run.shared / "state.pt", {key: part.state_dict() for key, part in parts.items()} | vars(progress))
        write_text(run.shared / "log.jsonl", to_lines(progress.history))
        log.info(
            "stage 1, epoch %d/%d: loss %.4f, val %s %.4f",
            epoch + 1,
            settings.epochs,
            loss,
            settings.select,
            value,
        )
    log.info("stage 1: best val %s %.4f after epoch %d", settings.select, progress.best, progress.best_epoch + 1)
    save_weights(run.checkpoint1, progress.weights, checkpoint_about(recipe, dataset, 1))


def _resume(run: RunDirectory, parts: dict[str, Any]) -> _Progress:
    state = load_state(run.shared / "state.pt")
    if state is None:
        return _Progress()
    for key, part in parts.items():
        part.load_state_dict(state[key])
    progress = _Progress(**{name: state[name] for name in vars(_Progress())})
    log.info("stage 1: resuming after epoch %d", progress.epoch)
    return progress


def _out_of_patience(progress: _Progress, patience: int | None) -> bool:
    return patience is not None and progress.epoch - 1 - progress.best_epoch >= patience


@torch.no_grad()
def describe_batch(batch: Batch, dataset: Dataset, model: Stage1Model) -> str:
    """The ids of a batch and its largest logit, for the message about a loss that is not finite."""
    ids = dataset.table["id"].iloc[batch.rows.tolist()]
    largest = model(batch.images).logits.abs().max().item()
    return f", largest logit {largest:.3g}, images {first_few(ids, most=32)}"
