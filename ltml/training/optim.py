"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, MultiStepLR, ReduceLROnPlateau


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    momentum: float = 0.9,
) -> Optimizer:
    """Return Adam, AdamW or SGD with momentum for the trainable parameters; fused on a GPU."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    fused = bool(trained) and trained[0].is_cuda
    if name == "sgd":
        return torch.optim.SGD(trained, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=fused)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(trained, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused)


def make_schedule(
    name: str, optimizer: Optimizer, *, epochs: int, milestones: Sequence[int], factor: float, patience: int
) -> LRScheduler:
    """Return a schedule over epochs: constant, cosine to 0, or times `factor` at milestones or on a plateau."""
    schedules: dict[str, Any] = {
        "constant": lambda: ConstantLR(optimizer, factor=1.0),
        "cosine": lambda: CosineAnnealingLR(optimizer, T_max=epochs),
        "milestones": lambda: MultiStepLR(optimizer, milestones=list(milestones), gamma=factor),
        "plateau": lambda: ReduceLROnPlateau(optimizer, mode="max", factor=factor, patience=patience, threshold=0.0),
    }
    schedule: LRScheduler = schedules[name]()
    return schedule


def step_schedule(schedule: LRScheduler, validation: float) -> None:
    """Advance a schedule by an epoch; only a plateau schedule uses the validation measure."""
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(validation)
    else:
        schedule.step()
