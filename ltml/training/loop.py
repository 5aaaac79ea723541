"""One loop for every method and both stages: an epoch of steps, an epoch of answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ltml.errors import LtmlError
from ltml.losses.masking import targets_are_checked
from ltml.processes.collectives import broadcast, sum_gradients
from ltml.processes.world import SINGLE_PROCESS, World
from ltml.seeds import derive_seed

B = TypeVar("B")


class NonFiniteLossError(LtmlError):
    """The loss is NaN or infinite."""


TRAINING_WORK = 3
"""Work of training on an image, in passes through the model: forward, and backward at twice the cost."""


def seed_epoch(seed: int, *parts: str | int, world: World = SINGLE_PROCESS) -> None:
    """Seed torch's generators for an epoch, so that dropout does not depend on what ran before.

    Each of several processes has its own stream, so that they drop different units; dropout is thus the one thing
    (with batch norm on CPUs) in which several processes do not do what one would.
    """
    torch.manual_seed(derive_seed(seed, *parts, *([world.rank] if world.size > 1 else [])))


def train_epoch(
    batches: Iterable[B],
    loss_of: Callable[[B], Tensor],
    optimizer: Optimizer,
    *,
    model: nn.Module | None = None,
    world: World = SINGLE_PROCESS,
    clip_norm: float | None = None,
    describe: Callable[[B], str] = lambda _: "",
) -> float:
    """Step once per batch.

    Args:
        batches: what an epoch goes through; their targets are 0, 1 or unknown, as those of a dataset are.
        loss_of: scalar loss of a batch.
        optimizer: its parameters are the ones that move.
        model: what several processes train together: each sees its share of a batch, so gradients are summed over
            them. None where each does the same with the same batches.
        world: the processes.
        clip_norm: largest norm of the gradient; None for no clipping.
        describe: what to say of a batch whose loss is not finite.

    Returns:
        Mean loss over the steps.

    Raises:
        NonFiniteLossError: names the step and the batch; nothing of that step is applied.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    losses: list[float] = []
    for step, batch in enumerate(batches):
        optimizer.zero_grad(set_to_none=True)
        with targets_are_checked():
            loss = loss_of(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"the loss is {value} at step {step} of the epoch{describe(batch)}. Lower the learning rate, set "
                "train.clip_norm, or use train.precision=float32; changed so, it is another run and starts anew."
            )
        loss.backward()  # type: ignore[no-untyped-call]
        if model is not None:
            sum_gradients(model, world)
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        losses.append(value)
    if model is not None:
        broadcast(model.buffers(), world)  # statistics of batch norm, where each has its own
    return math.fsum(losses) / max(len(losses), 1)
