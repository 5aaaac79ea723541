"""Datasets with less in them: sources to train and to test on."""

from __future__ import annotations

import numpy as np
import pytest

from ltml.data.dataset import Dataset
from ltml.data.subset import keep_sources
from ltml.errors import InputError
from ltml.recipe.load import load_recipe
from ltml.stages.build import build_dataset

SIZES = "train_size: 40, val_size: 20, test_size: 30"
SOURCES = (
    f"data.sources=[{{type: digits, name: plain, labels_kept: [zero, one], {SIZES}}}, "
    f"{{type: digits, name: negative, rendering: negative, labels_kept: [one, two], {SIZES}}}]"
)


@pytest.fixture(scope="module")
def union() -> Dataset:
    return _build()


def _build(*overrides: str) -> Dataset:
    small = ("data.image_size=32", "data.channels=1")
    return build_dataset(load_recipe("digits", ["data={type: union}", SOURCES, *small, *overrides]))


def _rows(dataset: Dataset, split: str) -> set[str]:
    return set(dataset.ids(split))


@pytest.mark.parametrize("choice", ["first", ("plain",)])
def test_training_on_a_source_keeps_its_rows_and_the_labels_that_it_knows(union: Dataset, choice: object) -> None:
    kept = keep_sources(union, choice, "all")
    assert kept.label_names == ("zero", "one")
    for split in ("train", "val"):
        assert _rows(kept, split) == {name for name in _rows(union, split) if name.startswith("plain:")}
    assert _rows(kept, "test") == _rows(union, "test")
    columns = [union.label_names.index(name) for name in kept.label_names]
    place = {name: row for row, name in enumerate(union.table["id"])}
    for row, name in enumerate(kept.table["id"]):
        assert (kept.targets[row] == union.targets[place[name], columns]).all()
        assert (kept.known[row] == union.known[place[name], columns]).all()
        assert (kept.images.read(row) == union.images.read(place[name])).all()


def test_testing_on_a_source_leaves_training_and_labels_alone(union: Dataset) -> None:
    kept = keep_sources(union, "all", ("negative",))
    assert kept.label_names == union.label_names
    assert _rows(kept, "train") == _rows(union, "train")
    assert _rows(kept, "test") == {name for name in _rows(union, "test") if name.startswith("negative:")}


def test_all_sources_are_the_dataset_itself(union: Dataset) -> None:
    assert keep_sources(union, "all", "all") is union


def test_the_recipe_says_which_sources() -> None:
    assert _build("data.train_on=[negative]", "data.test_on=first").label_names == ("one", "two")
    with pytest.raises(InputError, match=r"data.train_on names 'Plain', which is no source of the data: did you mean"):
        _build("data.train_on=[Plain]")
    with pytest.raises(InputError, match=r"data\.train_on"):
        _build("data.train_on=second")


def test_a_split_without_images_is_refused(union: Dataset) -> None:
    rows = union.table["source"].to_numpy() == "plain"
    test = union.splits["test"]
    untested = Dataset(**{**union.__dict__, "splits": {**union.splits, "test": test[rows[test]]}})
    with pytest.raises(InputError, match="no images for test; sources with some there: plain"):
        keep_sources(untested, "all", ("negative",))


def test_renderings_show_the_same_digits_differently() -> None:
    plain, negative = (_digits(rendering=name) for name in ("plain", "negative"))
    assert (plain.targets == negative.targets).all()
    for row in range(5):
        ink = plain.images.read(row).astype(int)
        assert (negative.images.read(row) == 200 - ink // 2).all()


def test_single_digits_in_training_and_several_in_the_test() -> None:
    dataset = _digits(most_in_train=1)
    counts = {split: dataset.targets[rows].sum(axis=1) for split, rows in dataset.splits.items()}
    for split in ("train", "val"):
        assert set(counts[split]) == {1}
    for split in ("test", "test_natural"):
        assert set(counts[split]) == {1, 2, 3}
    same = _digits()
    tests = np.concatenate([same.splits["test"], same.splits["test_natural"]])
    assert all((same.images.read(row) == dataset.images.read(row)).all() for row in tests.tolist())


def _digits(**options: object) -> Dataset:
    sizes = {"train_size": 40, "val_size": 20, "test_size": 30}
    return build_dataset(load_recipe("digits", [f"data.{key}={value}" for key, value in {**sizes, **options}.items()]))
