"""Weights in safetensors, and the saved state of an unfinished stage."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ltml.checksums import check_file, write_recorded
from ltml.errors import InputError, first_line
from ltml.files import write_atomically

BEGIN_AGAIN = "remove it, and the same command begins the stage again"
"""Remedy for an unreadable state of a stage."""


def save_weights(path: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and a JSON description; equal input gives equal bytes."""
    tensors = {key: value.detach().contiguous().cpu() for key, value in state.items()}
    header = {"ltml": json.dumps(about, sort_keys=True)}
    write_recorded(path, lambda temporary: save_file(tensors, temporary, metadata=header))


def load_weights(path: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors whose names begin with `prefix`, and the description, from a checkpoint of `save_weights`.

    Raises:
        InputError: the file is missing, damaged, or was not written by ltml.
    """
    check_file(path, what="the checkpoint ")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("ltml", "null"))
            names = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118 - not a mapping
            tensors = {key: file.get_tensor(key) for key in names}
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"cannot read the checkpoint {path}: {first_line(error)}. Redo the stage with --fresh."
        ) from error
    if not isinstance(about, dict) or "label_names" not in about:
        raise InputError(f"{path} is not a checkpoint of ltml. Redo the stage with --fresh.")
    return tensors, about


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state of an unfinished stage atomically."""
    write_atomically(path, lambda temporary: torch.save(dict(state), temporary))


def load_state(path: Path) -> dict[str, Any] | None:
    """Read a state that `save_state` wrote; return None if the file does not exist.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes a checksum of every part and does not look at it
            damaged = archive.testzip()
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in one of several ways in torch and pickle
        raise InputError(f"cannot read {path}: {first_line(error)}; {BEGIN_AGAIN}") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} is damaged; {BEGIN_AGAIN}")
    return state


def copy_to_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an independent copy of a state dict on the CPU."""
    return {key: value.detach().to("cpu", copy=True) for key, value in state.items()}
