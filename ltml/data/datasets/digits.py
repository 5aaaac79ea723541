"""`digits`: long-tailed multi-label canvases of real handwritten digits, embedded, no download.

scikit-learn's `load_digits` holds 1,797 scans of 8×8 pixels by 43 writers (Alpaydin & Kaynak, UCI 1998). Each
canvas shows one to three different digits at random sizes and places; its labels are the digits present. Digit 0 is
the most frequent, digit 9 the rarest. Scans are split before composing, so no scan is in two splits.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from pydantic import Field

from ltml.arrays import UInt8Array
from ltml.data.context import DataContext
from ltml.data.pixels import resize
from ltml.data.table import LabelTable
from ltml.errors import InputError
from ltml.registry import DATASETS

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CANVAS = 32
SCAN_SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
SIZES = (9, 15)
"""Smallest and largest side of a digit on the canvas, px."""
NEGATIVE_WHITE = np.uint8(200)
"""Brightness of the paper in the rendering ``negative``, whose ink is half as strong."""


@DATASETS.register("digits")
def load(
    context: DataContext,
    *,
    train_size: Annotated[int, Field(gt=0, description="training canvases")] = 2500,
    val_size: Annotated[int, Field(gt=0, description="validation canvases, long-tailed as training")] = 1000,
    test_size: Annotated[int, Field(gt=0, description="canvases of each test set, balanced and natural")] = 2000,
    imbalance_ratio: Annotated[
        float, Field(ge=1, description="draws of digit 0 per draw of digit 9; 75 makes 55 times the positives")
    ] = 75.0,
    most_in_train: Annotated[
        int, Field(ge=1, le=3, description="digits on a canvas of train or val at most; 1: single labels")
    ] = 3,
    most_in_test: Annotated[int, Field(ge=1, le=3, description="digits on a canvas of the tests at most")] = 3,
    rendering: Annotated[
        Literal["plain", "negative"], Field(description="negative: dark on light, less contrast; as another scanner")
    ] = "plain",
) -> LabelTable:
    """Handwritten digits on canvases, 1 to 3 each, long-tailed; embedded, no download.

    Splits: ``train``, ``val`` and ``test_natural`` are long-tailed, ``test`` is balanced.
    Options and `context.seed` determine all canvases.

    Raises:
        InputError: another split is asked for.
    """
    if context.split_file is not None or not context.given_split:
        raise InputError(
            "digits is split before its canvases are composed, so that no scan is in two splits; leave data.split.use "
            "and data.split.file as they are (seeds.split makes another split)"
        )
    long_tailed = imbalance_ratio ** -(np.arange(10) / 9)
    balanced = np.ones(10)
    plan = {
        "train": ("train", train_size, long_tailed),
        "val": ("val", val_size, long_tailed),
        "test": ("test", test_size, balanced),
        "test_natural": ("test", test_size, long_tailed),
    }
    scans = split_scans(context.seed)
    pixels, targets, rows = [], [], {}
    start = 0
    for number, (split, (source, count, weights)) in enumerate(plan.items()):
        rng = np.random.default_rng([context.seed, 1 + number])
        most = most_in_test if source == "test" else most_in_train
        canvases, labels = compose(*scans[source], weights / weights.sum(), count, rng, most)
        pixels.append(canvases if rendering == "plain" else NEGATIVE_WHITE - canvases // 2)
        targets.append(labels)
        rows[split] = np.arange(start, start + count)
        start += count
    ids = [f"{split}-{i:05d}" for split, (_, count, _) in plan.items() for i in range(count)]
    return LabelTable(
        name="digits",
        label_names=NAMES,
        codes=np.concatenate(targets).astype(np.int8),
        rows=pd.DataFrame({"id": ids, "group": ids, "source": "digits"}),
        where="digits",
        pixels=np.concatenate(pixels),
        splits=rows,
    )


def split_scans(seed: int) -> dict[str, tuple[UInt8Array, npt.NDArray[np.int64]]]:
    """Return scans ``(n, 8, 8)`` uint8 and digits ``(n,)`` per split, each digit divided in the same shares."""
    from sklearn.datasets import load_digits  # slow to import, and every dataset's module is looked at

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    rng = np.random.default_rng([seed, 0])
    rows: dict[str, list[npt.NDArray[np.int64]]] = {split: [] for split in SCAN_SHARES}
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(bunch.target == digit))
        ends = np.round(np.cumsum(list(SCAN_SHARES.values())) * len(members)).astype(int)
        for split, part in zip(SCAN_SHARES, np.split(members, ends[:-1]), strict=True):
            rows[split].append(part)
    return {
        split: (images[index], bunch.target[index].astype(np.int64))
        for split, index in ((split, np.concatenate(parts)) for split, parts in rows.items())
    }


def compose(
    scans: UInt8Array,
    digits: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
    most: int = 3,
) -> tuple[UInt8Array, UInt8Array]:
    """Draw canvases.

    Args:
        scans: uint8 ``(n, 8, 8)``.
        digits: the digit on each scan, ``(n,)``.
        weights: probability of each digit in a draw, ``(10,)``.
        count: number of canvases.
        rng: generator of all random numbers.
        most: largest number of digits on a canvas.

    Returns:
        Canvases uint8 ``(count, 32, 32)`` and targets uint8 ``(count, 10)``.
    """
    canvases = np.zeros((count, CANVAS, CANVAS), dtype=np.uint8)
    targets = np.zeros((count, 10), dtype=np.uint8)
    scans_of = [np.flatnonzero(digits == digit) for digit in range(10)]
    for canvas, target in zip(canvases, targets, strict=True):
        for digit in rng.choice(10, size=rng.integers(1, most + 1), replace=False, p=weights):
            size = int(rng.integers(SIZES[0], SIZES[1] + 1))
            scan = resize(Image.fromarray(scans[rng.choice(scans_of[digit])]), size)
            place = free_place(canvas, size, rng)
            np.maximum(place, scan, out=place)
            target[digit] = 1
    return canvases, targets


def free_place(canvas: UInt8Array, size: int, rng: np.random.Generator, tries: int = 20) -> UInt8Array:
    """Return the square of the canvas with the least ink among random ones."""
    corners = rng.integers(0, CANVAS - size + 1, size=(tries, 2))
    places = [canvas[top : top + size, left : left + size] for top, left in corners]
    ink = [int(place.sum()) for place in places]
    return places[ink.index(min(ink))]
