"""What the processes that train one model together say to each other; with one process all of it does nothing.

Why no ``DistributedDataParallel``: losses here are means over known entries, ratios over the batch, or games against
discriminators, so the mean over processes of their own losses is not the loss of the whole batch. Instead every process
computes the one objective from the outputs of all (`gather_rows`), and the gradients that reach the model through its
own rows are added up (`sum_gradients`): a step is that of one process, whatever the objective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import accumulate
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ltml.errors import first_line
from ltml.processes.world import LostProcessError, World

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""The first process may have a million images to look at while the others wait; a stopped one is noticed at once."""


@contextmanager
def joined(device: torch.device, world: World) -> Iterator[None]:
    """Let the processes reach each other inside the block: by NCCL where tensors are on GPUs, else by gloo.

    Raises:
        LostProcessError: they do not find each other.
    """
    if world.size == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _reaching_others():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    finished = False
    try:
        yield
        finished = True
    finally:
        if finished or device.type == "cpu":  # NCCL would wait for what a stopped process never says
            dist.destroy_process_group()


def barrier(world: World) -> None:
    """Wait until all processes are here."""
    sum_over(torch.zeros(1), world)


def first_alone(work: Callable[[], object], world: World) -> None:
    """Let the first process work while the others wait; they find the files that it wrote."""
    barrier(world)
    if world.is_first:
        work()
    barrier(world)


def in_turn(work: Callable[[], T], world: World) -> T:
    """Let the first process of every machine work before the others there, which find what it put into a cache.

    Where its work fails, theirs is left to fail in the same way.
    """
    if world.local_rank > 0:
        barrier(world)
        return work()
    try:
        return work()
    finally:
        barrier(world)


def sum_over(tensor: Tensor, world: World) -> Tensor:
    """Sum over the processes, in place."""
    if world.size > 1:
        with _reaching_others():
            dist.all_reduce(tensor)
    return tensor


def gather_rows(tensors: Sequence[Tensor], world: World) -> list[Tensor]:
    """The rows of all processes, one process after the other, with a gradient to one's own rows only.

    Args:
        tensors: ``(b, …)`` with as many rows each; other processes may have another number of rows, or none.
        world: the processes.

    Returns:
        ``(B, …)`` for each, ``B`` the sum of all ``b``.
    """
    if world.size == 1:
        return list(tensors)
    counts = torch.zeros(world.size, dtype=torch.int64)
    counts[world.rank] = len(tensors[0])
    rows: list[int] = sum_over(counts, world).tolist()
    return [_Gather.apply(tensor, rows, world.rank) for tensor in tensors]


def sum_gradients(module: nn.Module, world: World) -> None:
    """Sum the gradients of a module's trained parameters over the processes, in place."""
    if world.size > 1:
        trained = [parameter.grad for parameter in module.parameters() if parameter.requires_grad]
        _as_one([gradient for gradient in trained if gradient is not None], dist.all_reduce)


def broadcast(tensors: Iterable[Tensor], world: World) -> None:
    """Give every process the first one's values, in place."""
    if world.size > 1:
        _as_one([tensor.detach() for tensor in tensors], lambda flat: dist.broadcast(flat, 0))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, own: Tensor, rows: list[int], rank: int) -> Tensor:
        start = [0, *accumulate(rows)][rank]
        context.own = slice(start, start + rows[rank])
        padded = own.new_zeros(max(rows), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in rows]
        with _reaching_others():
            dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[context.own], None, None


def _as_one(tensors: Sequence[Tensor], collective: Callable[[Tensor], object]) -> None:
    """Send all tensors of a dtype in one message, and put back what comes of it."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        members = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.flatten() for tensor in members])
        with _reaching_others():
            collective(flat)
        values = torch.split_with_sizes(flat, [tensor.numel() for tensor in members])
        for tensor, value in zip(members, values, strict=True):
            tensor.copy_(value.view_as(tensor))


@contextmanager
def _reaching_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"the other processes cannot be reached, one of them may have stopped ({first_line(error)}); look for its "
            "message, then run the same command again (without --fresh), it resumes"
        ) from error
