from __future__ import annotations

import numpy as np
import pytest

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.datasets.digits import CANVAS, NAMES, compose, split_scans
from ltml.data.table import load_dataset


def context(seed: int = 0, size: int = 32, channels: int = 1) -> DataContext:
    return DataContext(root=None, size=size, channels=channels, ratio=(7, 1, 2), seed=seed)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", context())


def test_splits_have_the_promised_sizes_and_shapes(digits: Dataset) -> None:
    assert {split: len(rows) for split, rows in digits.splits.items()} == {
        "train": 2500, "val": 1000, "test": 2000, "test_natural": 2000,
    }  # fmt: skip
    assert digits.label_names == NAMES
    assert digits.images.read(0).shape == (CANVAS, CANVAS, 1)
    assert digits.table["id"].is_unique
    assert digits.known.all()


def test_long_tailed_by_about_fifty_with_tens_of_tail_positives(digits: Dataset) -> None:
    counts = digits.class_counts("train")
    assert 40 <= counts.max() / counts.min() <= 65
    assert counts.min() >= 20
    assert list(np.argsort(-counts)) == list(range(10))
    balanced = digits.class_counts("test")
    assert balanced.max() / balanced.min() < 1.4
    natural = digits.class_counts("test_natural") / 2000
    np.testing.assert_allclose(natural, counts / 2500, atol=0.05)


def test_each_canvas_shows_one_to_three_digits(digits: Dataset) -> None:
    per_canvas = digits.targets.sum(axis=1)
    assert set(per_canvas) == {1, 2, 3}
    assert all(digits.images.read(row).max() > 100 for row in range(0, 7500, 500))


def test_no_scan_is_in_two_splits() -> None:
    scans = split_scans(0)
    seen = {split: {scan.tobytes() for scan in images} for split, (images, _) in scans.items()}
    assert sum(len(images) for images, _ in scans.values()) == 1797
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["val"]
    assert not seen["val"] & seen["test"]


def test_labels_are_the_digits_whose_ink_is_on_the_canvas() -> None:
    """Each digit's scan is a full square of its own grey, so a canvas tells what was put on it."""
    scans = np.stack([np.full((8, 8), 20 * (digit + 1), dtype=np.uint8) for digit in range(10)])
    rng = np.random.default_rng(0)
    canvases, targets = compose(scans, np.arange(10), np.full(10, 0.1), 300, rng)
    for canvas, target in zip(canvases, targets, strict=True):
        shown = set(np.unique(canvas)) - {0}
        present = {20 * (digit + 1) for digit in np.flatnonzero(target)}
        assert shown <= present
        assert max(present) in shown


def test_a_pure_function_of_its_seed(digits: Dataset) -> None:
    again, other = load_dataset("digits", context()), load_dataset("digits", context(seed=1))
    assert again.fingerprint() == digits.fingerprint() != other.fingerprint()
    assert all(np.array_equal(again.images.read(row), digits.images.read(row)) for row in range(0, 7500, 250))


def test_other_sizes_and_colour() -> None:
    options = {"train_size": 5, "val_size": 5, "test_size": 5}
    big = load_dataset("digits", context(size=48, channels=3), **options)
    assert big.images.read(3).shape == (48, 48, 3)
