"""What can be known to be wrong before any work is done."""

from __future__ import annotations

import logging
from pathlib import Path

from ltml.arrays import BoolArray
from ltml.data.dataset import Dataset
from ltml.data.views import build_view
from ltml.errors import InputError, first_few
from ltml.metrics.groups import make_groups
from ltml.metrics.measures import check_selection
from ltml.models.backbones import check_backbone_name
from ltml.models.context import HeadContext
from ltml.recipe.schema import Recipe
from ltml.registry import HEADS, OBJECTIVES
from ltml.stages.build import build_loss, text_modes
from ltml.stages.refit import check_classifier, elementwise

log = logging.getLogger(__name__)


def check_recipe(recipe: Recipe) -> None:
    """Check what needs neither data nor the machine it will run on: backbone, transforms, reduction.

    Raises:
        InputError: one of them does not exist or cannot be used.
    """
    check_backbone_name(recipe.backbone.name)
    check_selection(recipe.train.select, "train.select")
    build_view(recipe.data.views.train, "data.views.train")
    build_view(recipe.data.views.eval, "data.views.eval")
    build_view(recipe.data.views.strong, "data.views.strong")
    for term in recipe.objectives:
        if term.start_epoch >= recipe.train.epochs:
            log.warning(
                "the objective '%s' starts in epoch %d (from 0) and never takes part in %d epochs",
                term.type,
                term.start_epoch,
                recipe.train.epochs,
            )
        if getattr(OBJECTIVES.get(term.type), "needs_strong", False) and not recipe.data.views.strong:
            raise InputError(
                f"the objective '{term.type}' compares two views of an image and data.views.strong is empty; list its "
                "transforms there, e.g. data.views.strong=[{RandomErasing: {p: 1.0}}]"
            )
    for key, loss in (("loss", recipe.loss), ("stage2.m_step.loss", recipe.stage2.m_step.loss)):
        if loss.options.get("reduction") == "none":
            raise InputError(f"{key}.{loss.type}.reduction=none cannot be trained; allowed in a recipe: mean, sum")
    modes = text_modes(recipe)
    if modes and recipe.text.encoder != "none" and recipe.text.mode not in modes:
        raise InputError(
            f"head.type={recipe.head.type} cannot use text.mode={recipe.text.mode}; allowed: {', '.join(modes)}"
        )
    if recipe.stage2.solver == "expected":
        elementwise(recipe.stage2.m_step.loss)
    if recipe.stage2.enabled:
        small = HEADS.get(recipe.head.type)(HeadContext(16, ("a: x", "b: x")), **recipe.head.options)
        if not hasattr(small.classifier, "class_weights"):  # not linear, so stage 2 cannot make it so
            check_classifier(recipe.stage2, small.classifier, recipe.head.type)


def check_out(out: Path) -> None:
    """Refuse a root for run directories that cannot be one.

    Raises:
        InputError: a file stands in the way.
    """
    for folder in (out, *out.parents):
        if folder.exists():
            if not folder.is_dir():
                raise InputError(f"--out {out}: {folder} is a file, not a folder; give another folder")
            return


def check_labels(recipe: Recipe, dataset: Dataset) -> None:
    """Check what the recipe says of labels; warn of classes that cannot be learned or scored.

    Raises:
        InputError: a loss needs what is not known of the labels, a group names a label that does not exist, the prior
            has another length, or no checkpoint can be chosen on val.
    """
    _check_losses(recipe, dataset)
    make_groups(dataset.label_names, dataset.class_counts().tolist(), recipe.metrics.groups.model_dump())
    prior, classes = recipe.stage2.prior, len(dataset.label_names)
    if recipe.stage2.solver == "expected" and not isinstance(prior, str) and {0.0, 1.0} & set(prior):
        raise InputError(
            "stage2.solver=expected needs a prior between 0 and 1 for every class: with only one label drawn the bias "
            f"would run to infinity. stage2.prior is {list(prior)}"
        )
    if not isinstance(prior, str) and len(prior) != classes:
        raise InputError(f"stage2.prior has {len(prior)} numbers; the data have {classes} classes, one number for each")
    _check_two_sided(recipe, dataset)
    for split in dataset.splits:
        positives, known = dataset.class_counts(split), dataset.known_counts(split)
        effect = "cannot be learned and stands outside all means" if split == "train" else "is undefined there"
        for what, counts in (("positive", positives), ("negative", known - positives)):
            if without := [name for name, count in zip(dataset.label_names, counts, strict=True) if count == 0]:
                log.warning("no known %s in %s, so the class %s: %s", what, split, effect, first_few(without))


def _check_losses(recipe: Recipe, dataset: Dataset) -> None:
    """Whether both losses can be made, and the one of the M step without parameters, which nobody would train."""
    build_loss(recipe.loss, dataset)
    refit = recipe.stage2.m_step.loss
    if next(build_loss(refit, dataset).parameters(), None) is not None:
        raise InputError(
            f"stage2.m_step.loss.type={refit.type} has parameters of its own, which the M step does not train: it "
            "moves the classifier alone. Use another loss there."
        )


def _check_two_sided(recipe: Recipe, dataset: Dataset) -> None:
    """What training, the choice of a checkpoint and eq. 12 need of classes with both labels known."""
    learned, defined = _two_sided(dataset, "train"), _two_sided(dataset, "val")
    train = int(learned.sum())
    if train == 0:
        raise InputError("nothing can be learned: no class has both a known positive and a known negative in train")
    if not (learned & defined).any():
        raise InputError(
            f"macro {recipe.train.select} on val is undefined, so no checkpoint can be chosen: no class that "
            "train has both labels of has both a known positive and a known negative there. Use more images, or "
            "another split (seeds.split)."
        )
    if train == 1 and recipe.stage2.enabled and recipe.stage2.prior == "eq12":
        raise InputError(
            "stage2.prior=eq12 shares a probability of 1 among the classes, and only one class has both labels in "
            "train: its virtual samples would all be positive. Set stage2.prior=uniform."
        )


def _two_sided(dataset: Dataset, split: str) -> BoolArray:
    """Tell which classes have a known positive and a known negative in a split, bool ``(C,)``."""
    rows = dataset.splits[split]
    known, present = dataset.known[rows], dataset.targets[rows] == 1
    both: BoolArray = (known & present).any(axis=0) & (known & ~present).any(axis=0)
    return both
