"""From the recipe's sections to the objects they describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ltml.data.batches import BatchLoader
from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.faults import Faults
from ltml.data.subset import hold_out, keep_sources
from ltml.data.table import load_dataset
from ltml.data.views import build_view
from ltml.errors import InputError
from ltml.models.backbones import Backbone, normalization
from ltml.models.context import HeadContext, PairCounts
from ltml.models.model import Stage1Model
from ltml.models.text import TextConfig, check_encoder, embed_prompts
from ltml.objectives.objective import Objective, Term, TrainingContext
from ltml.processes.world import SINGLE_PROCESS, World
from ltml.recipe.schema import LossSection, Recipe
from ltml.registry import HEADS, LOSSES, OBJECTIVES, create

CROPS = 10

WORDS = ("head.words", "head.classifier.words")
"""Where a checkpoint keeps the word embeddings, if it has any."""
GRAPH = "head.classifier.graph"
"""Where it keeps the graph of labels, if it has one."""


def build_context(recipe: Recipe, faults: Faults | None = None, *, labels_only: bool = False) -> DataContext:
    """What the recipe tells every loader; faults are raised unless they are to be collected."""
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
    """Table, labels, splits and image reader of the recipe's data; with `labels_only` image files need not be there."""
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
    """Batches of a split: shuffled with the training view, and the strong one if asked for, or in order as fixed.

    Several processes train on as many images in a step as one would, and predict as many each.
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
    """Batches of a split for final predictions: in order, with the fixed view or, for ten crops, as they are."""
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
    """Images that a process can take at once: no fewer than in training, for which it has the memory."""
    return max(-(-recipe.train.batch_size // world.size), 64)


def embed_labels(recipe: Recipe, label_names: Sequence[str]) -> Tensor | None:
    """Word embeddings ``(M, D')`` of the recipe's prompts, if its head reads any."""
    if not text_modes(recipe):
        return None
    return embed_prompts(TextConfig(**dict(recipe.text)), label_names)


def check_text(recipe: Recipe) -> None:
    """Check what can be known of the recipe's text encoder without loading it, if its head reads prompts.

    Raises:
        InputError: it has no name, or its file is not there.
    """
    if text_modes(recipe):
        check_encoder(TextConfig(**dict(recipe.text)))


def text_modes(recipe: Recipe) -> tuple[str, ...]:
    """The values of ``text.mode`` whose word embeddings the recipe's head reads; most heads read none."""
    modes: tuple[str, ...] = getattr(HEADS.get(recipe.head.type), "text_modes", ())
    return modes


def count_pairs(recipe: Recipe, dataset: Dataset) -> PairCounts | None:
    """Co-occurrence of the training labels, if the recipe's head reads it."""
    if not getattr(HEADS.get(recipe.head.type), "reads_pairs", False):
        return None
    return PairCounts.of(dataset.masked_targets("train"))


def build_model(
    recipe: Recipe,
    label_names: Sequence[str],
    words: Tensor | None,
    *,
    pretrained: bool,
    images_per_row: int = 1,
    pairs: PairCounts | None = None,
) -> Stage1Model:
    """The recipe's backbone and head, initialised from torch's current seed.

    Args:
        recipe: the recipe.
        label_names: the ``C`` labels.
        words: word embeddings of the prompts, or None.
        pretrained: False builds the architecture only, to load a checkpoint into.
        images_per_row: of the dataset.
        pairs: co-occurrence of the training labels; None to load a checkpoint into, which has what came of it.
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
    """The model of a checkpoint; needs neither the text encoder nor pretrained weights.

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


def build_loss(section: LossSection, dataset: Dataset) -> nn.Module:
    """The loss that a section of the recipe describes, with what it needs to know of the training labels.

    Raises:
        InputError: it needs something that is not known.
    """
    facts = {"class_counts": dataset.class_counts(), "num_samples": dataset.known_counts()}
    loss: nn.Module = create(LOSSES, section.type, section.options, facts)
    return loss


def build_objective(recipe: Recipe, dataset: Dataset, model: Stage1Model, world: World = SINGLE_PROCESS) -> Objective:
    """The weighted sum of the recipe's objective terms, for a model that is to be trained on a dataset."""
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
    """Shape of the features and width of the pooled map of one row, by a blank one."""
    size, channels = recipe.data.image_size, recipe.data.channels * dataset.images_per_row
    model.eval()
    blank = torch.zeros(1, channels, size, size, dtype=torch.uint8, device=model.mean.device)
    output = model(blank)
    model.train()
    assert output.pooled is not None
    return tuple(output.features.shape[1:]), output.pooled.shape[1]


def checkpoint_about(recipe: Recipe, dataset: Dataset, stage: int) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {"stage": stage, "label_names": list(dataset.label_names), "recipe": recipe.name, "head": recipe.head.type}
