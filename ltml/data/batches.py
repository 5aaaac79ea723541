"""Batches of uint8 images with their labels, in an order and with views that only the seed decides.

Chance is keyed by (seed, epoch, row, how often the row came in that epoch), not by process or step: a run that was cut
off, or one with another number of loader processes, sees the same pixels.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from ltml.data.parallel import available_cores
from ltml.data.views import View
from ltml.errors import InputError, first_line
from ltml.seeds import derive_seed
from ltml.types import Batch, Dataset, IntArray
from ltml.world import ALONE, World

Draw = Literal["natural", "equal", "proportional"]

Index = tuple[int, int, int]
"""A row, the epoch it is drawn in, and how often it was drawn in that epoch before."""

Item = tuple[int, list[Tensor] | str]
"""A row and its views, or why its pixels could not be read."""


class EpochSampler(Sampler[list[Index]]):
    """Batches of rows, shuffled anew each epoch from the seed.

    Args:
        rows: row numbers to draw from, by source.
        batch_size: rows per batch, of all processes together.
        seed: training seed; None keeps the order of `rows`.
        equal: every batch holds as many rows of each source as of any other, one more or less where that does not
            divide, and an epoch is one pass over the largest, within which smaller ones begin anew; otherwise each
            source is spread evenly over an epoch, which passes once over all.
        world: the processes; each takes its share of every batch, so that all shares together are the batch that one
            process would take. The share of a last, smaller batch may be empty.
    """

    def __init__(
        self,
        rows: Sequence[IntArray],
        batch_size: int,
        seed: int | None,
        *,
        equal: bool = False,
        world: World = ALONE,
    ) -> None:
        self._sources = list(rows)
        self._batch_size = batch_size
        self._seed = seed
        self._equal = equal
        self._world = world
        self._least = 2 if batch_size >= 2 * world.size else 1  # batch norm has no variance of a single image
        self.epoch = 0

    def __iter__(self) -> Iterator[list[Index]]:
        rows, passes = self._order()
        starts = range(0, len(rows), self._batch_size)
        for start in starts[: len(self)]:
            batch = slice(start, start + self._batch_size)
            drawn = list(zip(rows[batch].tolist(), passes[batch].tolist(), strict=True))
            own = self._world.share(len(drawn), self._least)
            yield [(row, self.epoch, number) for row, number in drawn[own]]

    def __len__(self) -> int:
        full, rest = divmod(sum(self._lengths()), self._batch_size)
        if self._seed is not None and full > 0 and rest == 1:
            return full  # again: no variance of a single image
        return full + (rest > 0)

    def _lengths(self) -> list[int]:
        """Rows of each source in an epoch."""
        lengths = [len(rows) for rows in self._sources]
        return [max(lengths)] * len(lengths) if self._equal else lengths

    def _order(self) -> tuple[IntArray, IntArray]:
        """The rows of an epoch, in order, and in which pass over its source each is."""
        rng = None if self._seed is None else np.random.default_rng(derive_seed(self._seed, "order", self.epoch))
        streams = [self._stream(rows, n, rng) for rows, n in zip(self._sources, self._lengths(), strict=True)]
        places = np.concatenate([(np.arange(len(rows)) + 0.5) / len(rows) for rows, _ in streams])
        order = np.argsort(places, kind="stable")  # evenly spread, whatever their lengths
        rows, passes = (np.concatenate(parts)[order] for parts in zip(*streams, strict=True))
        return rows, passes

    def _stream(self, rows: IntArray, length: int, rng: np.random.Generator | None) -> tuple[IntArray, IntArray]:
        """So many rows of a source, out of passes that are each shuffled anew."""
        count = -(-length // len(rows))
        order = np.concatenate([rows if rng is None else rng.permutation(rows) for _ in range(count)])
        return order[:length], np.repeat(np.arange(count), len(rows))[:length]


class _Views(TorchDataset[Item]):
    """Decodes a row once and draws its views."""

    def __init__(self, dataset: Dataset, views: Mapping[str, View | None], size: int, seed: int | None) -> None:
        self._images = dataset.images
        self._per_row = dataset.images_per_row
        self._views = views
        self._size = size
        self._seed = seed

    def __getitem__(self, index: Index) -> Item:
        row, epoch, repeat = index
        try:
            pixels = torch.from_numpy(self._images.read(row).transpose(2, 0, 1).copy())
        except InputError as error:
            return row, str(error)  # a worker process cannot raise it without its traceback
        try:
            return row, [self._draw(pixels, name, (epoch, row, *[repeat] * (repeat > 0))) for name in self._views]
        except InputError as error:
            return row, str(error)
        except Exception as error:  # whatever torchvision raises for a transform that does not suit
            return row, f"data.views: {type(error).__name__} in a transform: {first_line(error)}"

    def _draw(self, pixels: Tensor, name: str, key: tuple[int, ...]) -> Tensor:
        """A view of each image of the row, one after the other along the channels; chance is keyed by `key`."""
        with seeded(derive_seed(self._seed or 0, name, *key)):
            return torch.cat([self._draw_one(image, self._views[name]) for image in pixels.chunk(self._per_row)])

    def _draw_one(self, pixels: Tensor, view: View | None) -> Tensor:
        image: Tensor = view(pixels) if view else pixels
        expected = (len(pixels), self._size, self._size)
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.shape != expected:
            found = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            raise InputError(
                f"data.views gives {found} where uint8 {expected} is needed (data.channels, data.image_size): end it "
                "with a crop or resize to that size, and leave conversion and normalisation to the model"
            )
        return image


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the block and put its state back afterwards."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


class BatchLoader:
    """Batches of one split.

    Args:
        dataset: images and labels.
        split: name of the split.
        view: view drawn for each image; None for the pixels as they are.
        size: side of the network input, px.
        batch_size: images per batch, of all processes together.
        device: where batches go.
        seed: training seed for shuffled batches and random views; None for the fixed order of the split.
        draw: ``natural`` takes all rows as one source, ``equal`` and ``proportional`` see `EpochSampler`.
        strong: second view of the same images; None for one view only.
        workers: loader processes; None chooses from the machine (none for images in memory).
        world: the processes that train together, each on its share of every batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        view: View | None,
        *,
        size: int,
        batch_size: int,
        device: torch.device,
        seed: int | None = None,
        draw: Draw = "natural",
        strong: View | None = None,
        workers: int | None = None,
        world: World = ALONE,
    ) -> None:
        self._images, self._rows, self._size = dataset.images, dataset.splits[split], size
        self._targets = torch.from_numpy(dataset.targets.astype(np.float32))
        self._known = torch.from_numpy(dataset.known)
        self._device = device
        self._views = {"view": view} | ({"strong": strong} if strong else {})
        sources = [dataset.splits[split]] if draw == "natural" else _by_source(dataset, split)
        self._sampler = EpochSampler(sources, batch_size, seed, equal=draw == "equal", world=world)
        count = _workers(dataset, world) if workers is None else workers
        self._loader = DataLoader(
            _Views(dataset, self._views, size, seed),
            batch_sampler=self._sampler,
            num_workers=count,
            collate_fn=list,
            persistent_workers=count > 0,
            worker_init_fn=_leave_interrupts_to_parent,
            generator=torch.Generator(),  # the loader's own draws must not move the stream of dropout
        )

    def __len__(self) -> int:
        return len(self._sampler)

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of an epoch.

        Raises:
            InputError: an image cannot be read, or a view does not give the input size.
        """
        self._sampler.epoch = epoch
        for items in self._loader:
            yield self._collate(items)

    def _collate(self, items: list[Item]) -> Batch:
        failure = next((views for _, views in items if isinstance(views, str)), None)
        if failure is not None:
            raise InputError(failure)
        rows = torch.tensor([row for row, _ in items], dtype=torch.int64)
        views = [torch.stack(list(view)) for view in zip(*(views for _, views in items), strict=True)]
        images, *strong = views or [self._no_images()] * len(self._views)
        return Batch(
            images=self._send(images),
            targets=self._send(self._targets[rows]),
            known=self._send(self._known[rows]),
            rows=rows,
            strong=self._send(strong[0]) if strong else None,
        )

    def _no_images(self) -> Tensor:
        """Where a last, smaller batch leaves nothing for this process."""
        channels = self._images.read(int(self._rows[0])).shape[-1]
        return torch.empty(0, channels, self._size, self._size, dtype=torch.uint8)

    def _send(self, tensor: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)


def _by_source(dataset: Dataset, split: str) -> list[IntArray]:
    rows = dataset.splits[split]
    numbers, names = pd.factorize(dataset.table["source"].iloc[rows], sort=True)
    return [rows[numbers == number] for number in range(len(names))]


def _workers(dataset: Dataset, world: World) -> int:
    return 0 if dataset.images.in_memory else min(8, max(available_cores() // world.local_size, 1))


def _leave_interrupts_to_parent(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
