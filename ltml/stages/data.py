"""Check, describe, cache or assemble the data of a recipe, as ``ltml data`` does."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ltml.class_counts import not_learned
from ltml.data.assemble import assemble_table
from ltml.data.cache import CacheReport, fill_cache, source_files
from ltml.data.check import CheckReport, check_dataset
from ltml.data.faults import Faults, in_one_line
from ltml.data.stats import describe_labels, describe_sizes
from ltml.data.table import load_dataset
from ltml.errors import InputError
from ltml.files import write_atomically
from ltml.metrics.groups import describe_rule, make_groups
from ltml.processes.world import World
from ltml.recipe.schema import Recipe
from ltml.stages.build import build_context, build_dataset
from ltml.stages.evaluate import train_counts

log = logging.getLogger(__name__)

MAX_FAULTS = 20
"""Number of faults that are listed if the data cannot be loaded."""


def check_data(recipe: Recipe, *, fresh: bool = False, labels_only: bool = False) -> CheckReport:
    """Check labels, splits and every image of a recipe's data; see `ltml.data.check.check_dataset`.

    Args:
        recipe: the recipe.
        fresh: whether to check images again that have not changed since the last check.
        labels_only: whether to check labels and splits alone; image files may be missing.

    Raises:
        InputError: the data cannot be loaded, e.g. because the label file is missing.
    """
    faults = Faults(collect=True)
    context = build_context(recipe, faults, labels_only=labels_only)
    try:
        dataset = load_dataset(recipe.data.type, context, **recipe.data.options)
    except InputError as error:
        if not faults.found:
            raise
        for fault in faults.found[:MAX_FAULTS]:
            log.warning("%s: %s", fault.where, fault.message)
        raise InputError(f"{in_one_line(faults.found)}. Without them: {error}") from error
    return check_dataset(dataset, faults, fresh=fresh, labels_only=labels_only)


def data_stats(recipe: Recipe) -> dict[str, Any]:
    """Return label counts, imbalance, co-occurrence, head/medium/tail and the sizes of the images that exist.

    Returns:
        The result of `ltml.data.stats.describe_labels`, with ``groups`` (labels that can be learned, by group),
        ``groups_by`` (rule of the groups), ``not_learned`` (labels without a positive or a negative in train) and
        ``sizes``.
    """
    dataset, rule = build_dataset(recipe, labels_only=True), recipe.metrics.groups.model_dump()
    groups = make_groups(dataset.label_names, dataset.class_counts().tolist(), rule)
    apart = not_learned(dataset.label_names, train_counts(dataset))
    learning = {
        "groups": {group: [name for name in members if name not in apart] for group, members in groups.items()},
        "groups_by": describe_rule(rule),
        "not_learned": apart,
    }

    return describe_labels(dataset) | learning | {"sizes": describe_sizes(dataset)}


def cache_images(recipe: Recipe, *, fresh: bool = False) -> Sequence[CacheReport]:
    """Decode the images of a recipe's data once, at its size, into one cache per source.

    Raises:
        InputError: the images are in memory already, or several processes were started.
        UnreadableImageError: some images cannot be decoded; the others are cached.
    """
    if World.from_environment().size > 1:
        raise InputError("one process fills the image cache with all cores; run `ltml data cache` without torchrun")
    readers = [reader for reader in source_files(build_dataset(recipe).images) if reader.paths]
    if not readers:
        raise InputError(f"the images of '{recipe.data.type}' do not come from files, so nothing can be cached")
    return [fill_cache(reader, fresh=fresh) for reader in readers]


def assemble_labels(recipe: Recipe, out: str | os.PathLike[str]) -> Path | None:
    """Write the partial labels of a recipe's data as a CSV.

    Returns:
        The folder that its image paths are relative to; None if images do not come from files.

    Raises:
        InputError: the target is not a ``.csv``, or exists.
    """
    path = Path(out)
    if path.suffix != ".csv":
        raise InputError(f"cannot write the labels to '{path}': give the name of a .csv file")
    if path.exists():
        raise InputError(f"{path} exists already; give another name or remove it first")
    table, root = assemble_table(build_dataset(recipe))
    write_atomically(path, lambda temporary: table.to_csv(temporary, index=False))
    return root
