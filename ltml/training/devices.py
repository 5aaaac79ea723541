"""Device and precision of a stage."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from ltml.errors import InputError
from ltml.processes.world import SINGLE_PROCESS, World

M = TypeVar("M", bound=nn.Module)


def choose_device(name: str, world: World = SINGLE_PROCESS) -> torch.device:
    """Return the device of ``train.device``; ``auto`` is a GPU if available. Each of several processes has its own GPU.

    Raises:
        InputError: the device does not exist on this machine, or several processes would share it.
    """
    if world.size > 1:
        return _choose_own_device(name, world)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?|mps", name):
        raise InputError(f"train.device: unknown device '{name}'; allowed: auto, cpu, cuda, cuda:N, mps")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"train.device={name}, but this machine has {torch.cuda.device_count()} CUDA device(s)")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("train.device=mps, but this machine has no MPS device")
    return device


def _choose_own_device(name: str, world: World) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(
            f"train.device={name} cannot be shared by {world.size} processes; allowed with torchrun: auto, cpu, cuda"
        )
    count = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and count == 0):
        return torch.device("cpu")
    if world.local_size > count:
        raise InputError(
            f"{world.local_size} processes were started on a machine with {count} CUDA device(s); start as many as "
            "there are GPUs (torchrun --nproc-per-node), or give --device cpu"
        )
    return torch.device("cuda", world.local_rank)


@dataclass(frozen=True)
class Compute:
    """Device, precision and processes of a stage.

    Attributes:
        device: device of the tensors of this process.
        bfloat16: whether forward passes run in automatic mixed precision.
        world: processes that run the stage.
    """

    device: torch.device
    bfloat16: bool
    world: World = SINGLE_PROCESS

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context of automatic mixed precision in bfloat16, or one that does nothing."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bfloat16 else nullcontext()

    def place(self, model: M) -> M:
        """Move a model to the device; on a GPU with channels last, which its convolutions prefer.

        With several processes, batch norm on GPUs sees the images of all of them (SyncBatchNorm). On CPUs, for which
        torch has no SyncBatchNorm, it sees the process's share of a batch, so results depend on their number.
        """
        if self.device.type == "cuda" and self.world.size > 1:
            model = synchronise_norms(model)
        if self.device.type == "cuda":
            return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
        return model.to(self.device)


def synchronise_norms(model: M) -> M:
    """Turn every batch norm into SyncBatchNorm with the same parameters.

    Uses timm's function, because torch's drops the activations inside timm's norms.
    """
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(model)  # type: ignore[no-any-return]


def choose_compute(device: str, precision: str) -> Compute:
    """Return device and precision of ``train.device`` and ``train.precision``.

    Precision ``auto`` is bfloat16 on a GPU that supports it, else float32.

    Raises:
        InputError: see `choose_device`.
    """
    world = World.from_environment()
    chosen = choose_device(device, world)
    automatic = chosen.type == "cuda" and torch.cuda.is_bf16_supported()
    return Compute(chosen, automatic if precision == "auto" else precision == "bfloat16", world)
