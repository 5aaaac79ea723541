"""What can be known to be wrong before any work is done."""

from __future__ import annotations

import logging

from ltml.data.views import build_view
from ltml.errors import InputError, first_few
from ltml.metrics.groups import make_groups
from ltml.models.backbones import check_backbone_name
from ltml.recipe.schema import Recipe
from ltml.types import Dataset

log = logging.getLogger(__name__)


def check_recipe(recipe: Recipe) -> None:
    """Check the names that other libraries give: backbone and transforms.

    Raises:
        InputError: one of them does not exist.
    """
    check_backbone_name(recipe.backbone.name)
    build_view(recipe.data.views.train, "data.views.train")
    build_view(recipe.data.views.eval, "data.views.eval")


def check_labels(recipe: Recipe, dataset: Dataset) -> None:
    """Check what the recipe says of labels; warn of classes that cannot be learned or scored.

    Raises:
        InputError: a group names a label that does not exist, the prior has another length, or no checkpoint can be
            chosen on val.
    """
    make_groups(dataset.label_names, dataset.class_counts().tolist(), recipe.metrics.groups.model_dump())
    prior, classes = recipe.stage2.prior, len(dataset.label_names)
    if not isinstance(prior, str) and len(prior) != classes:
        raise InputError(f"stage2.prior has {len(prior)} numbers; the data have {classes} classes, one number for each")
    _refuse_undefined_selection(recipe, dataset)
    for split in dataset.splits:
        positives = dataset.class_counts(split)
        without = [name for name, count in zip(dataset.label_names, positives, strict=True) if count == 0]
        effect = "cannot be learned" if split == "train" else "is undefined there"
        if without:
            log.warning("no known positive in %s, so the class %s: %s", split, effect, first_few(without))


def _refuse_undefined_selection(recipe: Recipe, dataset: Dataset) -> None:
    rows = dataset.splits["val"]
    known, present = dataset.known[rows], dataset.targets[rows] == 1
    if not bool(((known & present).any(axis=0) & (known & ~present).any(axis=0)).any()):
        raise InputError(
            f"macro {recipe.train.select} on val is undefined, so no checkpoint can be chosen: no class has both a "
            "known positive and a known negative there. Use more images, or another split (seeds.split)."
        )
