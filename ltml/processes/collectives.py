"""Communication between the processes that train one model; with a single process, all of it does nothing.

Why no ``DistributedDataParallel``: losses here are means over known entries, ratios over the batch, or games against
discriminators, so the mean over processes of their own losses is not the loss of the whole batch. Instead every process
computes the one objective from the outputs of all (`gather_rows`), and the gradients that reach the model through its
own rows are summed (`sum_gradients`). A step equals that of a single process, whatever the objective.
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

TIMEOUT = timedelta(hours=2)
"""Longest wait for another process: rank 0 may check a million images first. A stopped process is noticed at once."""


@contextmanager
def process_group(device: torch.device, world: World) -> Iterator[None]:
    """Connect the processes inside the block: by NCCL for tensors on GPUs, by gloo otherwise.

    Raises:
        LostProcessError: the processes cannot connect.
    """
    if world.size == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _reaching_others():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    finished = False
    try:
        yield
        finished = True
    finally:
        if finished or device.type == "cpu":  # NCCL would wait for a stopped process for ever
            dist.destroy_process_group()


def barrier(world: World) -> None:
    """Wait until all processes have reached this call."""
    sum_over(torch.zeros(1), world)


def rank_zero_only(work: Callable[[], object], world: World) -> None:
    """Run `work` on rank 0 while the other ranks wait; they can then read the files that it wrote."""
    barrier(world)
    if world.is_first:
        work()
    barrier(world)


def local_rank_zero_first(work: Callable[[], T], world: World) -> T:
    """Run `work` on local rank 0 of every machine, then on its other ranks, which find a filled cache.

    If it fails on local rank 0, the other ranks run it too and fail in the same way.
    """
    if world.local_rank > 0:
        barrier(world)
        return work()
    try:
        return work()
    finally:
        barrier(world)


def sum_over(tensor: Tensor, world: World) -> Tensor:
    """Sum a tensor over the processes, in place."""
    if world.size > 1:
        with _reaching_others():
            dist.all_reduce(tensor)
    return tensor


def gather_rows(tensors: Sequence[Tensor], world: World) -> list[Tensor]:
    """Return the rows of all processes in order of rank; gradients flow to this process's own rows only.

    Args:
        tensors: ``(b, …)``, all with the same number of rows, which may differ between processes and may be 0.
        world: processes to gather from.

    Returns:
        One ``(B, …)`` for each tensor, ``B`` the sum of all ``b``.
    """
    if world.size == 1:
        return list(tensors)
    counts = torch.zeros(world.size, dtype=torch.int64)
    counts[world.rank] = len(tensors[0])
    rows: list[int] = sum_over(counts, world).tolist()
    return [_Gather.apply(tensor, rows, world.rank) for tensor in tensors]


def sum_gradients(module: nn.Module, world: World) -> None:
    """Sum the gradients of a module's trainable parameters over the processes, in place."""
    if world.size > 1:
        trained = [parameter.grad for parameter in module.parameters() if parameter.requires_grad]
        _as_one([gradient for gradient in trained if gradient is not None], dist.all_reduce)


def broadcast(tensors: Iterable[Tensor], world: World) -> None:
    """Overwrite the tensors of every process by those of rank 0, in place."""
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
    """Apply a collective to all tensors of a dtype in one message, and copy the results back."""
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
