"""The training loop of every method and both stages."""

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
    """Seed torch's generators for an epoch, so that dropout does not depend on earlier epochs.

    With several processes each has its own stream, so that they drop different units. Apart from batch norm on CPUs,
    dropout is therefore the only difference between training in one process and in several.
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
    """Train for one epoch, one step per batch.

    Args:
        batches: batches of the epoch; their targets are 0, 1 or unknown, as in a dataset.
        loss_of: function from a batch to its scalar loss.
        optimizer: optimiser of the parameters that are trained.
        model: model that several processes train together; each gets its share of a batch, and gradients are summed
            over processes. None if every process trains on the same batches.
        world: processes that train together.
        clip_norm: largest norm of the gradient; None for no clipping.
        describe: function from a batch whose loss is not finite to its description in the error.

    Returns:
        Mean loss over the steps.

    Raises:
        NonFiniteLossError: names the step and the batch; the step is not applied.
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
                "train.clip_norm, or use train.precision=float32; it is then another run from epoch 1."
            )
        loss.backward()  # type: ignore[no-untyped-call]
        if model is not None:
            sum_gradients(model, world)
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        losses.append(value)
    if model is not None:
        broadcast(model.buffers(), world)  # batch-norm statistics may differ between processes
    return math.fsum(losses) / max(len(losses), 1)
