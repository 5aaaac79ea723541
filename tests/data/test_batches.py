from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltml.data.batches import BatchLoader, EpochSampler, seeded
from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.sampling import by_source
from ltml.data.table import load_dataset
from ltml.data.views import build_view
from ltml.errors import InputError
from ltml.processes.world import World

AFFINE = [{"RandomAffine": {"degrees": 20, "interpolation": "bilinear"}}]


@pytest.fixture
def dataset(image_table: Callable[..., Path]) -> Dataset:
    context = DataContext(root=None, size=16, channels=1, ratio=(7, 1, 2), seed=0)
    return load_dataset("csv", context, file=image_table())


def loader(dataset: Dataset, *, workers: int = 0, seed: int | None = 0, view: object = AFFINE) -> BatchLoader:
    return BatchLoader(
        dataset, "train", build_view(view, "view"), size=16, batch_size=8,  # type: ignore[arg-type]
        device=torch.device("cpu"), seed=seed, workers=workers,
    )  # fmt: skip


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=3),
    st.integers(1, 12),
    st.integers(2, 5),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([None, 5]),
)
def test_the_shares_of_several_processes_are_the_batches_of_one(
    sizes: list[int], batch_size: int, count: int, epoch: int, equal: bool, seed: int | None
) -> None:
    sources = [1000 * number + np.arange(size) for number, size in enumerate(sizes)]

    def drawn(world: World) -> list[list[tuple[int, int, int]]]:
        sampler = EpochSampler(partial(by_source, sources, equal), batch_size, seed, world=world)
        sampler.epoch = epoch
        batches = list(sampler)
        assert len(batches) == len(sampler)
        return batches

    shares = [drawn(World(rank, count)) for rank in range(count)]
    assert [[index for part in parts for index in part] for parts in zip(*shares, strict=True)] == drawn(World())
    if batch_size >= 2 * count:  # batch norm has no variance of one image
        assert not any(len(part) == 1 < sum(map(len, parts)) for parts in zip(*shares, strict=True) for part in parts)


def test_epochs_differ_and_are_repeatable(dataset: Dataset) -> None:
    batches = loader(dataset)
    first, again, second = ([b.rows for b in batches.epoch(e)] for e in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_views_depend_on_seed_epoch_and_row_only(dataset: Dataset) -> None:
    def pixels(batches: BatchLoader, epoch: int) -> dict[int, torch.Tensor]:
        return {int(row): image for b in batches.epoch(epoch) for row, image in zip(b.rows, b.images, strict=True)}

    plain = pixels(loader(dataset), 3)
    torch.manual_seed(99)
    torch.rand(5)
    workers = pixels(loader(dataset, workers=2), 3)
    assert plain.keys() == workers.keys()
    assert all(torch.equal(plain[row], workers[row]) for row in plain)
    other = pixels(loader(dataset), 4)
    assert not all(torch.equal(plain[row], other[row]) for row in plain)


def test_drawing_views_leaves_the_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with seeded(5):
        torch.rand(7)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_going_through_epochs_leaves_the_generator_alone(dataset: Dataset, workers: int) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    batches = loader(dataset, workers=workers)
    for epoch in range(2):
        list(batches.epoch(epoch))
    assert torch.equal(torch.rand(3), expected)


def test_labels_belong_to_their_images(dataset: Dataset) -> None:
    for batch in loader(dataset, view=[]).epoch():
        assert batch.images.dtype == torch.uint8
        bright = batch.images.float().mean(dim=(1, 2, 3)) > 120
        assert torch.equal(bright, batch.targets[:, 0] == 1)
        rows = batch.rows.numpy()
        np.testing.assert_array_equal(batch.known, dataset.known[rows])


def test_a_last_batch_of_one_is_left_out_in_training_only() -> None:
    rows = np.arange(9)
    assert [len(batch) for batch in EpochSampler(partial(by_source, [rows], False), 4, 0)] == [4, 4]
    assert [len(batch) for batch in EpochSampler(partial(by_source, [rows], False), 4, None)] == [4, 4, 1]
    assert [len(batch) for batch in EpochSampler(partial(by_source, [rows[:1]], False), 4, 0)] == [1]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_later_is_named_without_a_traceback(
    dataset: Dataset, tmp_path: Path, workers: int
) -> None:
    for file in (tmp_path / "images").iterdir():
        file.write_bytes(b"gone bad")
    with pytest.raises(InputError, match=r"^cannot read the image .*\.png"):
        list(loader(dataset, workers=workers).epoch())


def test_a_view_of_another_size_is_refused(dataset: Dataset) -> None:
    with pytest.raises(
        InputError, match=r"data.views gives torch.uint8 \(1, 8, 8\) where uint8 \(1, 16, 16\) is needed"
    ):
        list(loader(dataset, view=[{"CenterCrop": {"size": 8}}]).epoch())


@pytest.mark.parametrize(
    ("view", "message", "workers"),
    [
        ([{"ConvertImageDtype": {}}], r"gives torch.float32 \(1, 16, 16\) where uint8", 0),
        ([{"Grayscale": {"num_output_channels": 3}}], r"gives torch.uint8 \(3, 16, 16\)", 0),
        (["ToPILImage"], r"data.views gives Image where", 0),
        ([{"RandomCrop": {"size": 40}}], r"^data.views: ValueError in a transform: ", 1),
    ],
)
def test_views_that_do_not_give_an_image_are_refused(
    dataset: Dataset, view: object, message: str, workers: int
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(loader(dataset, view=view, workers=workers).epoch())
    assert "Traceback" not in str(caught.value)
    state = torch.get_rng_state()
    with pytest.raises(InputError, match=message):
        loader(dataset, view=view, workers=workers).check_views()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("RandomHorizontalFlop", r"v\[0\]: unknown transform .*'RandomHorizontalFlip'"),
        ({"CenterCrop": {"sizes": 3}}, r"v\[0\]: CenterCrop does not take"),
        ({"RandomAffine": {"degrees": 1, "interpolation": "linear"}}, r"interpolation 'linear'"),
    ],
)
def test_wrong_views_are_explained(step: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_view([step], "v")  # type: ignore[list-item]


def _drawn(sizes: list[int], batch_size: int, *, equal: bool, epoch: int = 0) -> list[list[int]]:
    """Rows of every batch; source s has the rows 1000 s, 1000 s + 1, …"""
    sources = [1000 * number + np.arange(size) for number, size in enumerate(sizes)]
    sampler = EpochSampler(partial(by_source, sources, equal), batch_size, 7)
    sampler.epoch = epoch
    batches = [[row for row, *_ in batch] for batch in sampler]
    assert len(batches) == len(sampler)
    return batches


def test_equal_draws_have_as_many_of_each_source_in_every_step() -> None:
    batches = _drawn([60, 12, 30], 12, equal=True)
    for batch in batches:
        counts = np.bincount(np.array(batch) // 1000, minlength=3)
        assert counts.max() - counts.min() <= 1
    rows = np.array([row for batch in batches for row in batch])
    times = [np.unique(rows[rows // 1000 == source], return_counts=True) for source in range(3)]
    assert [len(there) for there, _ in times] == [60, 12, 30]  # one pass over the largest, nothing left out
    assert [counts.tolist() for _, counts in times] == [[1] * 60, [5] * 12, [2] * 30]


def test_proportional_draws_have_each_source_s_share_in_every_step() -> None:
    batches = _drawn([80, 40, 8], 16, equal=False)
    for batch in batches:
        counts = np.bincount(np.array(batch) // 1000, minlength=3)
        assert counts == pytest.approx(np.array([10, 5, 1]), abs=1)
    rows = sorted(row for batch in batches for row in batch)
    assert rows == [*range(80), *range(1000, 1040), *range(2000, 2008)]


def test_draws_differ_by_epoch_and_repeat_by_seed() -> None:
    first, again, later = (_drawn([60, 12], 8, equal=True, epoch=epoch) for epoch in (0, 0, 1))
    assert first == again != later


def test_without_a_seed_rows_keep_their_order() -> None:
    rows = np.array([5, 3, 9, 1, 7])
    assert [row for batch in EpochSampler(partial(by_source, [rows], False), 2, None) for row, *_ in batch] == [
        5,
        3,
        9,
        1,
        7,
    ]


def test_an_image_that_comes_again_in_an_epoch_has_another_view(image_table: Callable[..., Path]) -> None:
    context = DataContext(root=None, size=16, channels=1, ratio=(7, 1, 2), seed=0)
    source = ["few"] * 12 + ["many"] * 48
    dataset = load_dataset(
        "csv", context, file=image_table(source=source, split=["train"] * 50 + ["val"] * 4 + ["test"] * 6)
    )
    view = build_view([{"RandomCrop": {"size": 12}}, {"RandomRotation": {"degrees": 180}}], "here")
    settings = {"size": 12, "batch_size": 8, "device": torch.device("cpu"), "seed": 3, "workers": 0}
    seen: dict[int, list[bytes]] = {}
    for batch in BatchLoader(dataset, "train", view, draw="equal", **settings).epoch():
        for row, image in zip(batch.rows.tolist(), batch.images, strict=True):
            seen.setdefault(row, []).append(image.numpy().tobytes())
    assert {len(views) for row, views in seen.items() if row < 12} == {3, 4}
    assert all(len(set(views)) == len(views) for views in seen.values())
    plain = BatchLoader(dataset, "train", view, **settings)
    firsts = {row: image for b in plain.epoch() for row, image in zip(b.rows.tolist(), b.images, strict=True)}
    assert all(firsts[row].numpy().tobytes() == views[0] for row, views in seen.items())
