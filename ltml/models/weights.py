"""Read the tensors of weight files without running code in them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ltml.errors import InputError

NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts keep a state dict; the first that exists counts."""
WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")
"""Prefixes that compiling and parallel training add to the names of tensors."""
NOT_PICKLED = (".safetensors", ".npz", ".npy", ".json", ".txt")
"""Endings of files that libraries do not unpickle."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors by name of a ``.safetensors`` file, or of a checkpoint saved by torch.

    Raises:
        InputError: the file is damaged, holds no state dict, or holds objects that would run code.
    """
    content = _load(path)
    keys = [key for key in NESTED if isinstance(content, dict) and content.get(key) is not None]
    state = content[keys[0]] if keys else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} cannot be read: it holds no state dict, which is tensors by name")
    return {_unwrapped(str(name)): value for name, value in state.items()}


def check_weights(path: Path) -> None:
    """Raise if weights that a library will load hold more than tensors.

    Args:
        path: a file, or a folder of a language model, of which ``.safetensors`` files are preferred.

    Raises:
        InputError: see `read_state_dict`.
    """
    if path.is_file():
        files = [path]
    else:
        files = sorted(file for file in path.iterdir() if file.name.startswith(("pytorch_model", "open_clip", "model")))
        files = [] if any(file.suffix == ".safetensors" for file in files) else files
    for file in files:
        if file.suffix not in NOT_PICKLED:
            _load(file)


def _load(path: Path) -> Any:
    """Return the content of a weight file; only tensors, plain objects and a script's arguments are allowed."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or unsafe file fails in one of several libraries
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}); it must be a .safetensors or .pth file with a state "
            "dict of tensors, and no objects that run code as they are loaded"
        ) from error


def _unwrapped(name: str) -> str:
    for prefix in WRAPPERS:
        name = name.removeprefix(prefix)
    return name
