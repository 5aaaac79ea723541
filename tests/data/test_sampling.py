"""Frequencies of the orders against their formulas, and what several processes draw of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ltml.data.batches import EpochSampler
from ltml.data.dataset import Dataset
from ltml.data.sampling import Draw, choose_order, class_aware, repeat_factors, repeated
from ltml.errors import InputError
from ltml.processes.world import World
from ltml.recipe.load import load_recipe
from ltml.stages.build import build_dataset


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    sizes = ["data.train_size=400", "data.val_size=20", "data.test_size=20", "data.imbalance_ratio=30"]
    made = build_dataset(load_recipe("digits", sizes))
    known = made.known & (np.random.default_rng(0).random(made.known.shape) > 0.2)
    return replace(made, known=known, targets=made.targets * known)


def _epochs(dataset: Dataset, draw: Draw, count: int) -> np.ndarray:
    """How often each row of train is drawn, mean over epochs."""
    sampler = EpochSampler(choose_order(dataset, "train", draw, 0.2), 16, 3)
    drawn = []
    for epoch in range(count):
        sampler.epoch = epoch
        drawn += [row for batch in sampler for row, *_ in batch]
    return np.bincount(drawn, minlength=len(dataset.table))[dataset.splits["train"]] / count


def test_classes_come_equally_often_and_their_positives_too(dataset: Dataset) -> None:
    rows = dataset.splits["train"]
    positive = (dataset.targets[rows] == 1) & dataset.known[rows]
    counts = positive.sum(axis=0)
    expected = len(rows) / (counts > 0).sum() * (positive / np.maximum(counts, 1)).sum(axis=1)
    found = _epochs(dataset, "class_aware", 60)
    assert found[~positive.any(axis=1)].sum() == 0
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(expected.max() / 60))
    assert found.sum() == pytest.approx(len(rows), abs=1)


def test_within_an_epoch_no_class_and_no_positive_is_ahead_of_another() -> None:
    members = [np.array([1, 2, 3]), np.array([4]), np.array([5, 6])]
    rows, times = class_aware(members, 18, np.random.default_rng(0))
    counts = np.bincount(rows)
    assert [counts[own].tolist() for own in members] == [[2, 2, 2], [6], [3, 3]]
    for row in set(rows.tolist()):
        assert times[rows == row].tolist() == list(range(counts[row]))


def test_repeat_factors_by_their_formula(dataset: Dataset) -> None:
    rows = dataset.splits["train"]
    factors = repeat_factors(dataset, rows, 0.2)
    for row, factor in zip(rows[:100], factors, strict=False):
        best = 1.0
        for c in range(10):
            known = dataset.known[rows, c]
            share = (dataset.targets[rows, c] * known).sum() / known.sum()
            if dataset.known[row, c] and dataset.targets[row, c] == 1:
                best = max(best, (0.2 / share) ** 0.5)
        assert factor == pytest.approx(best)
    found = _epochs(dataset, "repeat_factor", 80)
    assert (np.abs(found - factors) <= 1).all()
    assert found.mean() == pytest.approx(factors.mean(), rel=0.01)
    np.testing.assert_allclose(found, factors, atol=0.3)


def test_fractions_are_by_chance_and_whole_parts_certain() -> None:
    rows, factors = np.array([10, 20, 30]), np.array([1.0, 2.5, 3.0])
    drawn, times = repeated(rows, factors, np.random.default_rng(1))
    counts = [int((drawn == row).sum()) for row in rows]
    assert counts[0] == 1
    assert counts[1] in (2, 3)
    assert counts[2] == 3
    assert sorted(times[drawn == 30].tolist()) == [0, 1, 2]
    assert repeated(rows, factors, None)[0].tolist() == [10, 20, 20, 30, 30, 30]


@pytest.mark.parametrize("draw", ["natural", "equal", "proportional", "class_aware", "repeat_factor"])
@pytest.mark.parametrize("count", [2, 3])
def test_shares_of_processes_together_are_the_batches_of_one(dataset: Dataset, draw: Draw, count: int) -> None:
    order = choose_order(dataset, "train", draw, 0.2)

    def drawn(world: World) -> list[list[tuple[int, int, int]]]:
        sampler = EpochSampler(order, 16, 5, world=world)
        sampler.epoch = 2
        assert len(sampler) == len(list(sampler))
        return list(sampler)

    shares = [drawn(World(rank, count)) for rank in range(count)]
    together = [[index for part in parts for index in part] for parts in zip(*shares, strict=True)]
    assert together == drawn(World())
    assert len({index for batch in together for index in batch}) == sum(map(len, together))  # views of repeats differ


@pytest.mark.parametrize("draw", ["class_aware", "repeat_factor"])
def test_an_epoch_is_the_same_whatever_came_before_it(dataset: Dataset, draw: Draw) -> None:
    order = choose_order(dataset, "train", draw, 0.2)
    resumed, through = EpochSampler(order, 16, 5), EpochSampler(order, 16, 5)
    for epoch in range(3):
        through.epoch = epoch
        batches = list(through)
    resumed.epoch = 2
    assert list(resumed) == batches


def test_classes_without_positives_are_passed_over_and_none_at_all_is_refused(dataset: Dataset) -> None:
    nothing = replace(dataset, targets=np.zeros_like(dataset.targets))
    with pytest.raises(InputError, match="data.draw=class_aware draws known positives and train has none"):
        choose_order(nothing, "train", "class_aware", 0.1)
    one = dataset.targets.copy()
    one[:, 1:] = 0
    order = choose_order(replace(dataset, targets=one), "train", "class_aware", 0.1)
    rows, _ = order(np.random.default_rng(0))
    assert (one[rows, 0] == 1).all()


@pytest.mark.parametrize("draw", ["class_aware", "repeat_factor"])
def test_recipes_train_with_them(cli, tmp_path, draw: str) -> None:
    small = ("train.epochs=1", "data.train_size=60", "data.val_size=40", "data.test_size=30", "method=bce")
    result = cli("stage1", "digits_tiny", f"data.draw={draw}", *small, "--out", tmp_path)
    assert result.exit_code == 0, result.output
