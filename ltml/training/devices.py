"""Where and in which precision to compute."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext

import torch

from ltml.errors import InputError


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


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether the forward pass runs in bfloat16: when asked for, or on a GPU that has it with ``auto``."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def autocast(device: torch.device, bfloat16: bool) -> AbstractContextManager[object]:
    """Automatic mixed precision in bfloat16, or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext()
