"""Start stage 1 from the weights of another run, with the same classes or additional ones (Label-Assemble, fig. 1B)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ltml.errors import InputError, first_few
from ltml.models.model import Stage1Model
from ltml.stages.build import GRAPH, WORDS
from ltml.stages.run_directory import read_run
from ltml.training.checkpoint import load_weights

log = logging.getLogger(__name__)


def load_initial_weights(model: Stage1Model, label_names: Sequence[str], run_dir: Path) -> None:
    """Load the weights of a run's stage 1 into a new model; predictions for the run's classes stay the same.

    Args:
        model: model of the recipe, freshly initialised; the weights of additional classes stay so.
        label_names: labels of the model.
        run_dir: folder of the run.

    Raises:
        InputError: the run has no finished stage 1 or a class that the model lacks, the head does not support
            additional classes, or the architectures differ.
    """
    weights, metadata = load_weights(find_start(run_dir))
    old = tuple(metadata["label_names"])
    missing = [name for name in old if name not in label_names]
    if missing:
        raise InputError(f"init_from={run_dir}: its class {first_few(missing)} is not among the labels of this recipe")
    state = extend_classes(model, weights, old, label_names, run_dir)
    model.load_state_dict(state)
    added = [name for name in label_names if name not in old]
    log.info("stage 1 starts from %s%s", run_dir, f", with new classes {first_few(added)}" if added else "")


def find_start(run_dir: Path) -> Path:
    """Return the checkpoint of a run that another one starts from.

    Raises:
        InputError: there is no run, or its stage 1 is not finished.
    """
    try:
        run, _ = read_run(run_dir)
    except InputError as error:
        raise InputError(f"init_from: {error}") from error
    if not run.checkpoint1.is_file():
        raise InputError(f"init_from={run_dir}: its stage 1 is not finished; finish it with `ltml stage1` first")
    return run.checkpoint1


def extend_classes(
    model: Stage1Model, weights: Mapping[str, Tensor], old: Sequence[str], new: Sequence[str], where: Path
) -> dict[str, Tensor]:
    """Return the model's state with the old weights, placed class by class in tensors with a dimension of classes.

    Raises:
        InputError: see `load_initial_weights`.
    """
    class_dims: Mapping[str, tuple[int, ...]] = model.head.class_dims
    if not class_dims and tuple(old) != tuple(new):
        raise InputError(
            f"init_from={where}: with this head the labels must be the same in the same order ({first_few(old)}); "
            "classes can be appended with head.type=label_adapter or linear"
        )
    positions = torch.tensor([list(new).index(name) for name in old])
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if state.keys() != weights.keys():
        raise InputError(f"init_from={where}: its model differs from this recipe's in head, backbone or prompts")
    for name, value in weights.items():
        if name in (*WORDS, GRAPH):  # prompts and graph come from this recipe and its data
            continue
        dims = class_dims.get(name.removeprefix("head."), ()) if name.startswith("head.") else ()
        target = state[name]
        if not dims:
            if target.shape != value.shape:
                raise InputError(
                    f"init_from={where}: '{name}' has shape {tuple(value.shape)} there and {tuple(target.shape)} here; "
                    "classes can be appended with head.type=label_adapter or linear"
                )
            state[name] = value.to(target)
            continue
        index = tuple(positions if dim in dims else torch.arange(size) for dim, size in enumerate(target.shape))
        target[torch.meshgrid(*index, indexing="ij")] = value.to(target)
    return state
