"""Predict the rows or units of a split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from ltml.arrays import IntArray
from ltml.checksums import is_finished
from ltml.data.batches import BatchLoader
from ltml.data.dataset import Dataset
from ltml.errors import LtmlError, first_few
from ltml.metrics.predictions import Predictions
from ltml.models.model import Stage1Model
from ltml.processes.bars import track
from ltml.processes.collectives import gather_rows
from ltml.processes.world import World
from ltml.recipe.schema import Recipe
from ltml.stages.build import build_final_loader, rebuild_model
from ltml.stages.evaluate import scored_splits, write_predictions
from ltml.stages.run_directory import RunDirectory, Stage
from ltml.training.checkpoint import load_weights
from ltml.training.devices import Compute
from ltml.types import Batch


class NonFiniteLogitsError(LtmlError):
    """The logits of a model are NaN or infinite."""


@torch.inference_mode()
def predict(
    model: Stage1Model, loader: BatchLoader, dataset: Dataset, split: str, compute: Compute, *, crop: int | None = None
) -> Predictions:
    """Predict every row or unit of a split, in the split's order: the float64 sigmoid of the logits.

    Each of several processes predicts its share; all of them return all predictions.

    Args:
        model: the model; in eval mode afterwards.
        loader: batches of the split in order, for the same processes.
        dataset: data that the loader reads.
        split: name of the split.
        compute: device, precision, processes.
        crop: side in pixels of ten crops whose probabilities are averaged; None to predict the images as loaded.

    Returns:
        Probabilities, labels, ids and groups of the split.

    Raises:
        NonFiniteLogitsError: the model has diverged.
    """
    model.eval()
    shares: list[Tensor] = []
    for batch in track(loader.epoch(), len(loader), f"predict {split}", work=len(dataset.splits[split])):
        views = (batch.images,) if crop is None else _ten_crops(batch.images, crop)
        with compute.autocast():
            logits = torch.stack([model(view).logits.double().cpu() for view in views])
        probs = logits.sigmoid().mean(dim=0).where(logits.isfinite().all(dim=0), torch.nan)
        shares += gather_rows([probs], compute.world)
    probs = torch.cat(shares)
    if not bool(probs.isfinite().all()):
        raise NonFiniteLogitsError(
            f"the model's logits on {split} are not finite: training has diverged. Lower the learning rate, set "
            "train.clip_norm, or use train.precision=float32; the changed recipe is another run and starts over."
        )
    return to_predictions(probs.numpy(), dataset, split)


def predict_missing(run: RunDirectory, stage: Stage, recipe: Recipe, dataset: Dataset, compute: Compute) -> None:
    """Predict every scored split whose predictions a finished stage has not written yet, and write them.

    Args:
        run: the run, whose checkpoint of the stage is finished.
        stage: 1 or 2.
        recipe: recipe of the run.
        dataset: data of the run.
        compute: device, precision, processes.

    Raises:
        InputError: the checkpoint does not fit the recipe's model.
        NonFiniteLogitsError: the model has diverged.
    """
    missing = [split for split in scored_splits(dataset) if not is_finished(run.predictions(stage, split))]
    if not missing:
        return
    weights, _ = load_weights(run.checkpoint(stage))
    model = compute.place(rebuild_model(recipe, dataset, weights, stage=stage))
    crop = recipe.data.image_size if recipe.data.ten_crop else None
    for split in missing:
        loader = build_final_loader(recipe, dataset, split, compute.device, compute.world)
        predictions = predict(model, loader, dataset, split, compute, crop=crop)
        if compute.world.is_first:
            write_predictions(run.predictions(stage, split), predictions)


def _ten_crops(images: Tensor, side: int) -> Sequence[Tensor]:
    """Return corners and centre of each image, and their mirror images: ten tensors ``(B, channels, side, side)``."""
    from torchvision.transforms.v2.functional import ten_crop  # slow to import

    crops: Sequence[Tensor] = ten_crop(images, [side])
    return crops


def to_predictions(probs: npt.NDArray[np.float64], dataset: Dataset, split: str) -> Predictions:
    """Join probabilities ``(n, C)`` of the rows of a split with their ids, groups and labels.

    If the dataset has units (such as patients with an image of each eye), a unit's probability is the mean over its
    rows, or the highest or lowest of them where its ``choice`` says so.
    """
    rows, units = dataset.splits[split], dataset.units
    groups = dataset.table["group"].iloc[rows].astype(str)
    if units is None:
        ids, targets = dataset.ids(split).astype(str).tolist(), dataset.masked_targets(split)
        return Predictions(dataset.label_names, ids, groups.tolist(), probs, targets, _novel(dataset, rows))
    unit, chosen = pd.factorize(units.of_row[rows])
    codes = units.codes[chosen]
    return Predictions(
        label_names=dataset.label_names,
        ids=units.ids[chosen].tolist(),
        groups=groups[~pd.Series(unit, index=groups.index).duplicated()].tolist(),
        probs=_join_rows(probs, unit, None if units.choice is None else units.choice[chosen]),
        targets=np.where(codes >= 0, codes, np.nan),
        novel=_novel(dataset, chosen),
    )


def _join_rows(
    probs: npt.NDArray[np.float64], unit: IntArray, choice: npt.NDArray[np.int8] | None
) -> npt.NDArray[np.float64]:
    """Return probabilities ``(U, C)`` of units from those of rows ``(n, C)``; `unit` holds the unit of each row."""
    rows = pd.DataFrame(probs).groupby(unit)
    mean: npt.NDArray[np.float64] = rows.mean().to_numpy()
    if choice is None:
        return mean
    return np.select([choice > 0, choice < 0], [rows.max().to_numpy(), rows.min().to_numpy()], mean)


def _novel(dataset: Dataset, index: IntArray) -> dict[str, npt.NDArray[np.float64]]:
    """Return the labels held out of training of some rows or units, NaN where unknown."""
    return {name: np.where(codes >= 0, codes, np.nan)[index] for name, codes in dataset.novel.items()}


@torch.no_grad()
def describe_batch(batch: Batch, dataset: Dataset, model: Stage1Model, world: World) -> str:
    """Return the ids of a batch and its largest logit, for the message about a loss that is not finite."""
    rows, sizes = gather_rows([batch.rows, model(batch.images).logits.abs().cpu()], world)
    ids = dataset.table["id"].iloc[rows.tolist()]
    largest = sizes.max().item()
    return f", largest logit {largest:.3g}, images {first_few(ids, most=32)}"
