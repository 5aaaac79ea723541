"""Reduce a dataset: to some rows or sources, or by labels held out of training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from ltml.arrays import IntArray
from ltml.data.dataset import Dataset
from ltml.data.images import ChosenImages
from ltml.errors import InputError, suggest

log = logging.getLogger(__name__)

SourceChoice = Literal["all", "first"] | Sequence[str]
"""All sources, the first one, or some by name."""


def choose_splits(dataset: Dataset, splits: Mapping[str, IntArray], reason: str) -> Dataset:
    """Return the dataset with other splits; rows in none are left out, and the reason is recorded."""
    rows = np.sort(np.concatenate(list(splits.values())))
    left_out = {**dataset.left_out, reason: len(dataset.table) - len(rows)}
    log.info("%s: %d row(s) left out: %s", dataset.name, left_out[reason], reason)
    return replace(
        dataset,
        table=dataset.table.iloc[rows].reset_index(drop=True),
        targets=dataset.targets[rows],
        known=dataset.known[rows],
        splits={name: np.searchsorted(rows, numbers) for name, numbers in splits.items()},
        images=ChosenImages(dataset.images, rows),
        units=None if dataset.units is None else dataset.units.choose(rows),
        left_out=left_out,
        novel={name: codes if dataset.units else codes[rows] for name, codes in dataset.novel.items()},
    )


def hold_out(dataset: Dataset, novel: Sequence[str]) -> Dataset:
    """Hold labels out of training (Data-Assemble, Table 7): remove their classes and their rows from train and val.

    Args:
        dataset: dataset with those labels among its classes.
        novel: labels to hold out; their codes are kept in ``Dataset.novel``.

    Raises:
        InputError: a label does not exist, or none is left to train on.
    """
    for name in novel:
        if name not in dataset.label_names:
            hint = suggest(name, dataset.label_names, most=40)
            raise InputError(f"data.novel names '{name}', which is no label of the data: {hint}")
    kept = [c for c, name in enumerate(dataset.label_names) if name not in novel]
    if not kept:
        raise InputError("data.novel holds every label: there is nothing to train on")
    held = [c for c, name in enumerate(dataset.label_names) if name in novel]
    codes = np.where(dataset.known, dataset.targets.astype(np.int8), np.int8(-1))
    has_one = (codes[:, held] == 1).any(axis=1)
    splits = {
        split: rows if split.startswith("test") else rows[~has_one[rows]] for split, rows in dataset.splits.items()
    }
    of = codes if dataset.units is None else dataset.units.codes
    without = replace(_choose_classes(dataset, kept), novel={dataset.label_names[c]: of[:, c] for c in held})
    return choose_splits(without, splits, f"shows {' or '.join(novel)} in train or val (data.novel)")


def keep_sources(dataset: Dataset, train_on: SourceChoice, test_on: SourceChoice) -> Dataset:
    """Restrict training and validation to some sources, and tests to some.

    If some sources are not trained on, labels that no training row knows are removed from the classes.

    Args:
        dataset: dataset of several sources.
        train_on: sources whose rows stay in train and val.
        test_on: sources whose rows stay in the test splits.

    Raises:
        InputError: there is no such source, or a split would be empty.
    """
    if train_on == test_on == "all":
        return dataset
    source = dataset.table["source"]
    names = list(dict.fromkeys(source))
    of_train, of_test = (
        source.isin(_chosen_sources(choice, names, key)).to_numpy()
        for choice, key in ((train_on, "data.train_on"), (test_on, "data.test_on"))
    )
    splits = {
        split: rows[(of_test if split.startswith("test") else of_train)[rows]] for split, rows in dataset.splits.items()
    }
    if empty := [split for split, rows in splits.items() if not len(rows)]:
        raise InputError(
            f"data.train_on and data.test_on leave no images for {empty[0]}; sources with some there: "
            f"{', '.join(dict.fromkeys(source.iloc[dataset.splits[empty[0]]])) or 'none'}"
        )
    if train_on != "all":
        learnable = dataset.known[splits["train"]].any(axis=0)
        dataset = _choose_classes(dataset, np.flatnonzero(learnable).tolist())
    return choose_splits(dataset, splits, "of other sources (data.train_on, data.test_on)")


def _chosen_sources(choice: SourceChoice, names: Sequence[str], key: str) -> Sequence[str]:
    if choice == "all":
        return names
    if choice == "first":
        return names[:1]
    for name in choice:
        if name not in names:
            raise InputError(f"{key} names '{name}', which is no source of the data: {suggest(name, names)}")
    return list(choice)


def _choose_classes(dataset: Dataset, kept: Sequence[int]) -> Dataset:
    """Return the dataset with some of its classes, by number."""
    units = None if dataset.units is None else dataset.units.keep_labels(kept)
    return replace(
        dataset,
        label_names=tuple(dataset.label_names[c] for c in kept),
        targets=dataset.targets[:, kept],
        known=dataset.known[:, kept],
        units=units,
    )
