"""Select and order the rows of an epoch: naturally, by source, by class, or with rare rows repeated.

An order is a function of a generator alone, so that every process and every resumed run draws the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from ltml.arrays import Float64Array, IntArray
from ltml.data.dataset import Dataset
from ltml.errors import InputError

Draw = Literal["natural", "equal", "proportional", "class_aware", "repeat_factor"]

Order = Callable[[np.random.Generator | None], tuple[IntArray, IntArray]]
"""Returns the rows of an epoch in order and the number of earlier draws of each; shuffles only with a generator."""


def choose_order(dataset: Dataset, split: str, draw: Draw, threshold: float) -> Order:
    """Return the order of a split that ``data.draw`` names.

    Args:
        dataset: the data.
        split: split whose rows are drawn.
        draw: ``natural`` takes all rows as one source; see the functions of this module for the others.
        threshold: threshold of `repeat_factors`.

    Raises:
        InputError: ``class_aware`` without any known positive.
    """
    rows = dataset.splits[split]
    if draw == "class_aware":
        positive = (dataset.targets == 1) & dataset.known
        members = [rows[column] for column in positive[rows].T if column.any()]
        if not members:
            raise InputError(f"data.draw=class_aware draws known positives and {split} has none")
        return partial(class_aware, members, len(rows))
    if draw == "repeat_factor":
        return partial(repeated, rows, repeat_factors(dataset, rows, threshold))
    sources = [rows] if draw == "natural" else _by_source(dataset, rows)
    return partial(by_source, sources, draw == "equal")


def by_source(sources: Sequence[IntArray], equal: bool, rng: np.random.Generator | None) -> tuple[IntArray, IntArray]:
    """Draw all rows of every source, each source evenly spread over the epoch.

    With `equal` every part of the epoch contains equally many rows of each source, up to one row. The epoch is one pass
    over the largest source, during which smaller ones are repeated.
    """
    longest = max(map(len, sources))
    streams = [_stream(rows, longest if equal else len(rows), rng) for rows in sources]
    places = np.concatenate([(np.arange(len(rows)) + 0.5) / len(rows) for rows, _ in streams])
    order = np.argsort(places, kind="stable")  # evenly spread, whatever their lengths
    rows, passes = (np.concatenate(parts)[order] for parts in zip(*streams, strict=True))
    return rows, passes


def class_aware(members: Sequence[IntArray], count: int, rng: np.random.Generator | None) -> tuple[IntArray, IntArray]:
    """Draw every class equally often, and the positives of a class equally often (Shen et al., ECCV 2016).

    Rows without a known positive are never drawn; give them a class ("No Finding") if they matter.

    Args:
        members: rows of known positives, by class.
        count: number of rows of the epoch.
        rng: generator of all random numbers.
    """
    classes, _ = _stream(np.arange(len(members)), count, rng)
    rows = np.empty(count, dtype=np.int64)
    for number, own in enumerate(members):
        places = np.flatnonzero(classes == number)
        rows[places] = _stream(own, len(places), rng)[0]
    return rows, _times_before(rows)


def repeated(rows: IntArray, factors: Float64Array, rng: np.random.Generator | None) -> tuple[IntArray, IntArray]:
    """Draw every row as often as its factor says, with its fraction as a probability (Gupta et al., CVPR 2019, LVIS).

    Args:
        rows: rows of the split.
        factors: factors from `repeat_factors`, one per row.
        rng: generator that shuffles; without one fractions are dropped.
    """
    whole = np.floor(factors).astype(np.int64)
    if rng is None:
        drawn = np.repeat(rows, whole)
    else:
        drawn = rng.permutation(np.repeat(rows, whole + (rng.random(len(rows)) < factors - whole)))
    return drawn, _times_before(drawn)


def repeat_factors(dataset: Dataset, rows: IntArray, threshold: float) -> Float64Array:
    """Return ``r = max over its classes of max(1, sqrt(t / f_c))``, ``f_c`` the share of known positives.

    A row without known positives has 1.

    Args:
        dataset: the data.
        rows: rows that are drawn from and that define the shares.
        threshold: ``t``: classes with a larger share are not repeated.

    Returns:
        Float64, one per row.
    """
    known = dataset.known[rows]
    positive = (dataset.targets[rows] == 1) & known
    share = positive.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    of_class = np.sqrt(threshold / np.maximum(share, 1e-12)).clip(min=1)
    factors: Float64Array = np.where(positive, of_class, 1.0).max(axis=1)
    return factors


def _stream(rows: IntArray, length: int, rng: np.random.Generator | None) -> tuple[IntArray, IntArray]:
    """Return `length` rows from repeated passes, each shuffled again, and the pass of each row."""
    count = -(-length // len(rows))
    passes = [rows if rng is None else rng.permutation(rows) for _ in range(count)]
    order = np.concatenate(passes) if passes else rows[:0]
    return order[:length], np.repeat(np.arange(count), len(rows))[:length]


def _times_before(rows: IntArray) -> IntArray:
    counts: IntArray = pd.Series(rows).groupby(rows).cumcount().to_numpy()
    return counts


def _by_source(dataset: Dataset, rows: IntArray) -> list[IntArray]:
    numbers, names = pd.factorize(dataset.table["source"].iloc[rows], sort=True)
    return [rows[numbers == number] for number in range(len(names))]
