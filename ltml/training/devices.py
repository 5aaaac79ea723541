"""Where and in which precision to compute."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from ltml.errors import InputError

M = TypeVar("M", bound=nn.Module)


def choose_device(name: str) -> torch.device:
    """The device of ``train.device``; ``auto`` is the GPU if there is one.

    Raises:
        InputError: the device does not exist on this machine, or several processes were started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("training in several processes (torchrun) is not part of this version; start one process")
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


@dataclass(frozen=True)
class Compute:
    """Device and precision of a stage.

    Attributes:
        device: where tensors live.
        bfloat16: whether forward passes run in automatic mixed precision.
    """

    device: torch.device
    bfloat16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Automatic mixed precision in bfloat16, or nothing."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bfloat16 else nullcontext()

    def place(self, model: M) -> M:
        """Move a model to the device; on a GPU with channels last, which its convolutions prefer."""
        if self.device.type == "cuda":
            return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
        return model.to(self.device)


def choose_compute(device: str, precision: str) -> Compute:
    """Device and precision of ``train.device`` and ``train.precision``.

    ``auto`` is bfloat16 on a GPU that has it, else float32.

    Raises:
        InputError: the device does not exist on this machine, or several processes were started.
    """
    chosen = choose_device(device)
    automatic = chosen.type == "cuda" and torch.cuda.is_bf16_supported()
    return Compute(chosen, automatic if precision == "auto" else precision == "bfloat16")
