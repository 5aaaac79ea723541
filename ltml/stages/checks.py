"""Find what is wrong with a recipe, its data or its output folder before any work is done."""

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
    """Check what needs neither data nor the machine of the run: backbone, transforms, objectives, losses, classifier.

    Raises:
        InputError: one of them does not exist or does not suit another setting.
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
        if OBJECTIVES.get(term.type).needs_strong and not recipe.data.views.strong:
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
    """Raise if the root for run directories cannot be a folder.

    Raises:
        InputError: it, or a folder above it, is a file.
    """
    for folder in (out, *out.parents):
        if folder.exists():
            if not folder.is_dir():
                raise InputError(f"--out {out}: {folder} is a file, not a folder; give another folder")
            return


def check_labels(recipe: Recipe, dataset: Dataset) -> None:
    """Check the settings that depend on the labels; warn of classes that cannot be learned or scored.

    Raises:
        InputError: a loss needs counts that are not known, a group names a label that does not exist, the prior has
            another length, or no checkpoint can be chosen on val.
    """
    _check_losses(recipe, dataset)
    make_groups(dataset.label_names, dataset.class_counts().tolist(), recipe.metrics.groups.model_dump())
    prior, classes = recipe.stage2.prior, len(dataset.label_names)
    if recipe.stage2.solver == "expected" and not isinstance(prior, str) and {0.0, 1.0} & set(prior):
        raise InputError(
            "stage2.solver=expected needs a prior between 0 and 1 for every class, because the bias of a class with "
            f"only one label diverges. stage2.prior is {list(prior)}"
        )
    if not isinstance(prior, str) and len(prior) != classes:
        raise InputError(
            f"stage2.prior has {len(prior)} numbers; the data have {classes} classes: give one number for each"
        )
    _check_two_sided(recipe, dataset)
    for split in dataset.splits:
        positives, known = dataset.class_counts(split), dataset.known_counts(split)
        effect = "cannot be learned and is left out of all means" if split == "train" else "is undefined there"
        for outcome, counts in (("positive", positives), ("negative", known - positives)):
            if without := [name for name, count in zip(dataset.label_names, counts, strict=True) if count == 0]:
                log.warning("no known %s in %s, so the class %s: %s", outcome, split, effect, first_few(without))


def _check_losses(recipe: Recipe, dataset: Dataset) -> None:
    """Raise if a loss cannot be built, or that of the M step has parameters, which no optimiser would train."""
    build_loss(recipe.loss, dataset)
    refit = recipe.stage2.m_step.loss
    if next(build_loss(refit, dataset).parameters(), None) is not None:
        raise InputError(
            f"stage2.m_step.loss.type={refit.type} has parameters of its own, but the M step trains the classifier "
            "alone. Use another loss there."
        )


def _check_two_sided(recipe: Recipe, dataset: Dataset) -> None:
    """Raise if too few classes have both labels for training, for choosing a checkpoint, or for eq. 12."""
    learned, defined = _two_sided(dataset, "train"), _two_sided(dataset, "val")
    train = int(learned.sum())
    if train == 0:
        raise InputError("nothing can be learned: no class has both a known positive and a known negative in train")
    if not (learned & defined).any():
        raise InputError(
            f"macro {recipe.train.select} on val is undefined, so no checkpoint can be chosen: no class has both a "
            "known positive and a known negative in train and in val. Use more images, or another split (seeds.split)."
        )
    if train == 1 and recipe.stage2.enabled and recipe.stage2.prior == "eq12":
        raise InputError(
            "stage2.prior=eq12 divides a probability of 1 among the classes, and only one class has both labels in "
            "train, so all its virtual samples would be positive. Set stage2.prior=uniform."
        )


def _two_sided(dataset: Dataset, split: str) -> BoolArray:
    """Return which classes have a known positive and a known negative in a split, bool ``(C,)``."""
    rows = dataset.splits[split]
    known, present = dataset.known[rows], dataset.targets[rows] == 1
    both: BoolArray = (known & present).any(axis=0) & (known & ~present).any(axis=0)
    return both
