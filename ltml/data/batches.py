"""Load batches of uint8 images with their labels; the seed alone determines order and views.

Random numbers depend on (seed, epoch, row, earlier draws of the row in that epoch), not on process or step: a resumed
run and a run with another number of loader processes see the same pixels.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_start_method

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from ltml.arrays import IntArray
from ltml.data.dataset import Dataset
from ltml.data.parallel import available_cores
from ltml.data.sampling import Draw, Order, choose_order
from ltml.data.views import View
from ltml.errors import InputError, LtmlError, first_line
from ltml.processes.main_guard import check_main_guard
from ltml.processes.world import SINGLE_PROCESS, World
from ltml.seeds import derive_seed
from ltml.types import Batch

Index = tuple[int, int, int]
"""A row, the epoch it is drawn in, and the number of its earlier draws in that epoch."""

Item = tuple[int, list[Tensor] | str]
"""A row and its views, or the reason why its pixels could not be read."""


class EpochSampler(Sampler[list[Index]]):
    """Batches of rows, drawn again each epoch from the seed.

    Args:
        order: rows of an epoch, see `ltml.data.sampling`.
        batch_size: rows per batch, of all processes together.
        seed: training seed; None keeps rows as they are.
        world: the processes; each takes its share of every batch, so that all shares together are the batch that one
            process would take. The share of a last, smaller batch may be empty.
    """

    def __init__(self, order: Order, batch_size: int, seed: int | None, *, world: World = SINGLE_PROCESS) -> None:
        self._order = order
        self._batch_size = batch_size
        self._seed = seed
        self._world = world
        self._least = 2 if batch_size >= 2 * world.size else 1  # batch norm has no variance of a single image
        self._drawn: tuple[int, IntArray, IntArray] | None = None
        self.epoch = 0

    def __iter__(self) -> Iterator[list[Index]]:
        rows, times = self._draw()
        starts = range(0, len(rows), self._batch_size)
        for start in starts[: len(self)]:
            batch = slice(start, start + self._batch_size)
            drawn = list(zip(rows[batch].tolist(), times[batch].tolist(), strict=True))
            own = self._world.share(len(drawn), self._least)
            yield [(row, self.epoch, number) for row, number in drawn[own]]

    def __len__(self) -> int:
        full, rest = divmod(len(self._draw()[0]), self._batch_size)
        if self._seed is not None and full > 0 and rest == 1:
            return full  # leave out a last batch of one image: batch norm has no variance of it
        return full + (rest > 0)

    def _draw(self) -> tuple[IntArray, IntArray]:
        """Return the rows of the epoch and the number of earlier draws of each."""
        if self._drawn is None or self._drawn[0] != self.epoch:
            rng = None if self._seed is None else np.random.default_rng(derive_seed(self._seed, "order", self.epoch))
            self._drawn = (self.epoch, *self._order(rng))
        return self._drawn[1:]


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
        """Draw a view of each image of the row and stack them along the channels; `key` determines random numbers."""
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
    """Seed torch's CPU generator inside the block and restore its state afterwards."""
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
        device: device of the batches.
        seed: training seed for shuffled batches and random views; None for the fixed order of the split.
        draw: rule that selects the rows of an epoch, see `ltml.data.sampling`.
        repeat_threshold: threshold of ``draw="repeat_factor"``.
        strong: second view of the same images; None for one view only.
        workers: number of loader processes; None chooses by the machine (0 for images in memory).
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
        repeat_threshold: float = 0.1,
        strong: View | None = None,
        workers: int | None = None,
        world: World = SINGLE_PROCESS,
    ) -> None:
        self._images, self._rows, self._size = dataset.images, dataset.splits[split], size
        self._targets = torch.from_numpy(dataset.targets.astype(np.float32))
        self._known = torch.from_numpy(dataset.known)
        self._device = device
        self._views = {"view": view} | ({"strong": strong} if strong else {})
        order = choose_order(dataset, split, draw, repeat_threshold)
        self._sampler = EpochSampler(order, batch_size, seed, world=world)
        count = _workers(dataset, world) if workers is None else workers
        if count > 0:
            check_main_guard(get_start_method())
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
        """Yield the batches of an epoch.

        Raises:
            InputError: an image cannot be read, or a view does not give the input size.
            LtmlError: if a loader process was killed.
        """
        self._sampler.epoch = epoch
        try:
            for items in self._loader:
                yield self._collate(items)
        except RuntimeError as error:
            if "exited unexpectedly" not in str(error):
                raise
            raise LtmlError(
                "a loader process was killed, perhaps for lack of memory: repeat the command, which resumes from the "
                "last epoch, with data.workers=0 or fewer of them"
            ) from error

    def check_views(self) -> None:
        """Draw the views of the first row, so that unsuitable views are refused before training.

        Leaves all random number generators unchanged.

        Raises:
            InputError: the image cannot be read, or a view fails or does not give the input size.
        """
        _, views = self._loader.dataset[(int(self._rows[0]), 0, 0)]
        if isinstance(views, str):
            raise InputError(views)

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
        """Return an empty batch for a process whose share of the last batch is empty."""
        channels = self._images.read(int(self._rows[0])).shape[-1]
        return torch.empty(0, channels, self._size, self._size, dtype=torch.uint8)

    def _send(self, tensor: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)


def _workers(dataset: Dataset, world: World) -> int:
    return 0 if dataset.images.in_memory else min(8, max(available_cores() // world.local_size, 1))


def _leave_interrupts_to_parent(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
