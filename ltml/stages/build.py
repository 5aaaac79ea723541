"""Build the objects that a recipe's sections describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ltml.data.batches import BatchLoader
from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.faults import Faults
from ltml.data.subset import hold_out, keep_sources
from ltml.data.table import load_dataset
from ltml.data.views import build_view
from ltml.errors import InputError
from ltml.losses.loss import Loss
from ltml.models.backbones import Backbone, normalization
from ltml.models.context import HeadContext, PairCounts
from ltml.models.heads.head import Head
from ltml.models.model import Stage1Model
from ltml.models.text import TextConfig, check_encoder, embed_prompts
from ltml.objectives.objective import Objective, Term, TrainingContext
from ltml.processes.world import SINGLE_PROCESS, World
from ltml.recipe.schema import LossSection, Recipe
from ltml.registry import HEADS, LOSSES, OBJECTIVES, create

CROPS = 10
"""Number of crops of an image with ``data.ten_crop``."""

WORDS = ("head.words", "head.classifier.words")
"""Names under which a checkpoint may hold word embeddings."""
GRAPH = "head.classifier.graph"
"""Name under which a checkpoint may hold the graph of labels."""


def build_context(recipe: Recipe, faults: Faults | None = None, *, labels_only: bool = False) -> DataContext:
    """Return the settings of the recipe that every loader reads.

    Args:
        recipe: the recipe.
        faults: collector of faults; by default the first fault is raised.
        labels_only: whether image files may be missing.
    """
    data = recipe.data
    return DataContext(
        root=data.root,
        size=data.resize or data.image_size,
        channels=data.channels,
        ratio=data.split.ratio,
        seed=recipe.seeds.split,
        given_split=data.split.use == "given",
        split_file=data.split.file,
        stratify=data.split.stratify,
        max_pixels=data.max_pixels,
        labels_only=labels_only,
        skip_unreadable=data.unreadable == "skip",
        roots=data.roots,
        faults=faults or Faults(),
    )


def build_dataset(recipe: Recipe, *, labels_only: bool = False) -> Dataset:
    """Load the recipe's data: table, labels, splits, image reader. With `labels_only`, image files may be missing."""
    data = recipe.data
    dataset = load_dataset(data.type, build_context(recipe, labels_only=labels_only), **data.options)
    dataset = keep_sources(dataset, data.train_on, data.test_on)
    return hold_out(dataset, data.novel) if data.novel else dataset


def build_loader(
    recipe: Recipe,
    dataset: Dataset,
    split: str,
    device: torch.device,
    *,
    training: bool = False,
    strong: bool = False,
    world: World = SINGLE_PROCESS,
) -> BatchLoader:
    """Return batches of a split: shuffled training views, with strong views if `strong`, or evaluation views in order.

    A training step has ``train.batch_size`` images over all processes; for prediction each process has its own batch.
    """
    name = "train" if training else "eval"
    view = build_view(getattr(recipe.data.views, name), f"data.views.{name}")
    return BatchLoader(
        dataset,
        split,
        view,
        size=recipe.data.image_size,
        batch_size=recipe.train.batch_size if training else _images_without_gradient(recipe, world) * world.size,
        device=device,
        seed=recipe.seeds.train if training else None,
        draw=recipe.data.draw if training else "natural",
        repeat_threshold=recipe.data.repeat_threshold,
        strong=build_view(recipe.data.views.strong, "data.views.strong") if strong else None,
        workers=recipe.data.workers,
        world=world,
    )


def build_final_loader(
    recipe: Recipe, dataset: Dataset, split: str, device: torch.device, world: World = SINGLE_PROCESS
) -> BatchLoader:
    """Return batches of a split in order for final predictions; for ten crops without the evaluation view."""
    if not recipe.data.ten_crop:
        return build_loader(recipe, dataset, split, device, world=world)
    return BatchLoader(
        dataset,
        split,
        None,
        size=recipe.data.resize or recipe.data.image_size,
        batch_size=max(1, _images_without_gradient(recipe, world) // CROPS) * world.size,
        device=device,
        workers=recipe.data.workers,
        world=world,
    )


def _images_without_gradient(recipe: Recipe, world: World) -> int:
    """Return how many images a process can predict at once: at least as many as in training, which fit its memory."""
    return max(-(-recipe.train.batch_size // world.size), 64)


def embed_labels(recipe: Recipe, label_names: Sequence[str]) -> Tensor | None:
    """Return word embeddings ``(M, D')`` of the recipe's prompts; None if its head reads none."""
    if not text_modes(recipe):
        return None
    return embed_prompts(TextConfig(**dict(recipe.text)), label_names)


def check_text(recipe: Recipe) -> None:
    """Check the recipe's text encoder as far as possible without loading it, if its head reads prompts.

    Raises:
        InputError: it has no name, or its file is missing.
    """
    if text_modes(recipe):
        check_encoder(TextConfig(**dict(recipe.text)))


def text_modes(recipe: Recipe) -> tuple[str, ...]:
    """Return the values of ``text.mode`` whose word embeddings the recipe's head reads; empty for most heads."""
    head: type[Head] = HEADS.get(recipe.head.type)
    return head.text_modes


def count_pairs(recipe: Recipe, dataset: Dataset) -> PairCounts | None:
    """Return the co-occurrence of the training labels; None if the recipe's head does not read it."""
    head: type[Head] = HEADS.get(recipe.head.type)
    return PairCounts.of(dataset.masked_targets("train")) if head.reads_pairs else None


def build_model(
    recipe: Recipe,
    label_names: Sequence[str],
    words: Tensor | None,
    *,
    pretrained: bool,
    images_per_row: int = 1,
    pairs: PairCounts | None = None,
) -> Stage1Model:
    """Return the recipe's backbone and head, initialised from torch's current seed.

    Args:
        recipe: the recipe.
        label_names: the ``C`` labels.
        words: word embeddings of the prompts, or None.
        pretrained: whether to load pretrained weights; False builds the architecture only, for a checkpoint.
        images_per_row: number of images per row of the dataset.
        pairs: co-occurrence of the training labels; None for a checkpoint, which holds the graph made from it.
    """
    backbone = Backbone(
        recipe.backbone.name,
        image_size=recipe.data.image_size,
        channels=recipe.data.channels,
        pretrained=pretrained and recipe.backbone.pretrained,
        weights=recipe.backbone.weights if pretrained else None,
        options=recipe.backbone.options,
        ibn=recipe.backbone.ibn,
    )
    context = HeadContext(backbone.width, tuple(label_names), words, images_per_row, pairs)
    head = HEADS.get(recipe.head.type)(context, **recipe.head.options)
    mean, std = normalization(recipe.backbone.name, recipe.data.channels)
    return Stage1Model(backbone, head, mean, std, images_per_row)


def rebuild_model(recipe: Recipe, dataset: Dataset, weights: Mapping[str, Tensor], *, stage: int) -> Stage1Model:
    """Return the model of a checkpoint, without loading the text encoder or pretrained weights.

    Raises:
        InputError: the checkpoint belongs to another architecture.
    """
    words = next((weights[name] for name in WORDS if name in weights), None)
    per_row = dataset.images_per_row
    model = build_model(recipe, dataset.label_names, words, pretrained=False, images_per_row=per_row)
    if stage == 2:
        model.make_classifier_linear()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"the checkpoint does not fit the recipe's model: {str(error).splitlines()[1].strip()}"
        ) from error
    return model


def build_loss(section: LossSection, dataset: Dataset) -> Loss:
    """Return the loss that a section of the recipe describes, with the label counts that it needs.

    Raises:
        InputError: it needs something else.
    """
    facts = {"class_counts": dataset.class_counts(), "num_samples": dataset.known_counts()}
    loss: Loss = create(LOSSES, section.type, section.options, facts)
    return loss


def build_objective(recipe: Recipe, dataset: Dataset, model: Stage1Model, world: World = SINGLE_PROCESS) -> Objective:
    """Return the weighted sum of the recipe's objective terms for training a model on a dataset."""
    loss = build_loss(recipe.loss, dataset)
    context = TrainingContext.of(dataset, recipe.train.epochs, *_output_shapes(recipe, dataset, model), world)
    return Objective(
        [
            Term(OBJECTIVES.get(term.type)(loss, context, **term.options), term.weight, term.start_epoch)
            for term in recipe.objectives
        ]
    )


@torch.no_grad()
def _output_shapes(recipe: Recipe, dataset: Dataset, model: Stage1Model) -> tuple[tuple[int, ...], int]:
    """Return the shape of the features and the width of the pooled map of one row, by predicting a blank one."""
    size, channels = recipe.data.image_size, recipe.data.channels * dataset.images_per_row
    model.eval()
    blank = torch.zeros(1, channels, size, size, dtype=torch.uint8, device=model.mean.device)
    output = model(blank)
    model.train()
    assert output.pooled is not None
    return tuple(output.features.shape[1:]), output.pooled.shape[1]


def checkpoint_metadata(recipe: Recipe, dataset: Dataset, stage: int) -> dict[str, Any]:
    """Return the metadata of a checkpoint."""
    return {"stage": stage, "label_names": list(dataset.label_names), "recipe": recipe.name, "head": recipe.head.type}
