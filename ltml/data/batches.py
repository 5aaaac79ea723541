"""Batches of uint8 images with their labels, in an order and with views that only the seed decides.

Chance is keyed by (seed, epoch, row), not by process or step: a run that was cut off, or one with another number of
loader processes, sees the same pixels.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from ltml.data.views import View
from ltml.errors import InputError, first_line
from ltml.seeds import derive_seed
from ltml.types import Batch, Dataset, IntArray

Index = tuple[int, int]
"""A row and the epoch it is drawn in."""

Item = tuple[int, Tensor | str]
"""A row and its pixels, or why they could not be read."""


class EpochSampler(Sampler[list[Index]]):
    """Batches of rows, shuffled anew each epoch from the seed.

    Args:
        rows: row numbers to draw from.
        batch_size: rows per batch and process.
        seed: training seed; None keeps the order of `rows`.
        rank: this process.
        world_size: number of processes; each takes its own share of an epoch, of equal length, for which the order
            is continued from its beginning where it does not divide.
    """

    def __init__(
        self, rows: IntArray, batch_size: int, seed: int | None, *, rank: int = 0, world_size: int = 1
    ) -> None:
        self._rows = rows
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self.epoch = 0

    def __iter__(self) -> Iterator[list[Index]]:
        share = self._share()
        starts = range(0, len(share), self._batch_size)
        batches = [share[start : start + self._batch_size] for start in starts]
        for batch in batches[: len(self)]:
            yield [(int(row), self.epoch) for row in batch]

    def __len__(self) -> int:
        per_rank = -(-len(self._rows) // self._world_size)
        full, rest = divmod(per_rank, self._batch_size)
        if self._seed is not None and full > 0 and rest == 1:
            return full  # batch norm has no variance of a single image
        return full + (rest > 0)

    def _share(self) -> IntArray:
        rows = self._rows
        if self._seed is not None:
            rows = np.random.default_rng(derive_seed(self._seed, "order", self.epoch)).permutation(rows)
        if self._world_size == 1:
            return rows
        length = -(-len(rows) // self._world_size) * self._world_size
        return np.resize(rows, length)[self._rank :: self._world_size]


class _Views(TorchDataset[Item]):
    """Decodes a row and draws its view."""

    def __init__(self, dataset: Dataset, view: View | None, size: int, seed: int | None) -> None:
        self._images = dataset.images
        self._view = view
        self._size = size
        self._seed = seed

    def __getitem__(self, index: Index) -> Item:
        row, epoch = index
        try:
            pixels = torch.from_numpy(self._images.read(row).transpose(2, 0, 1).copy())
            return row, self._draw(pixels, row, epoch)
        except InputError as error:
            return row, str(error)  # a worker process cannot raise it without its traceback
        except Exception as error:  # whatever torchvision raises for a transform that does not suit
            return row, f"data.views: {type(error).__name__} in a transform: {first_line(error)}"

    def _draw(self, pixels: Tensor, row: int, epoch: int) -> Tensor:
        with seeded(derive_seed(self._seed or 0, "view", epoch, row)):
            image: Tensor = self._view(pixels) if self._view else pixels
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
        batch_size: images per batch.
        device: where batches go.
        seed: training seed for shuffled batches and random views; None for the fixed order of the split.
        workers: loader processes; None chooses from the machine (none for images in memory).
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
        workers: int | None = None,
    ) -> None:
        self._targets = torch.from_numpy(dataset.targets.astype(np.float32))
        self._known = torch.from_numpy(dataset.known)
        self._device = device
        self._sampler = EpochSampler(dataset.splits[split], batch_size, seed)
        count = _workers(dataset) if workers is None else workers
        self._loader = DataLoader(
            _Views(dataset, view, size, seed),
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
        failure = next((pixels for _, pixels in items if isinstance(pixels, str)), None)
        if failure is not None:
            raise InputError(failure)
        rows = torch.tensor([row for row, _ in items])
        images = torch.stack([pixels for _, pixels in items if isinstance(pixels, Tensor)])
        return Batch(
            images=self._send(images),
            targets=self._send(self._targets[rows]),
            known=self._send(self._known[rows]),
            rows=rows,
        )

    def _send(self, tensor: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)


def _workers(dataset: Dataset) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return 0 if dataset.images.in_memory else min(8, cores)


def _leave_interrupts_to_parent(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
