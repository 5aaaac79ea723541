"""State of a stage that is saved after every epoch, so that an interrupted run resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ltml.errors import InputError
from ltml.files import write_text
from ltml.processes.world import SINGLE_PROCESS, World
from ltml.training.checkpoint import BEGIN_AGAIN, copy_to_cpu, load_state, save_state


@dataclass
class TrainingState:
    """Finished epochs, best weights so far, and log of a stage.

    Attributes:
        done: number of finished epochs.
        best: highest validation measure so far.
        best_at: epoch or round, from 0, of `best`.
        weights: state dict of the model at `best`, on the CPU.
        history: one record per epoch, the lines of ``log.jsonl``.
    """

    done: int = 0
    best: float = -1.0
    best_at: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, parts: Mapping[str, Any]) -> TrainingState:
        """Read ``state.pt`` of a folder, if it exists, and load its state into `parts`.

        Args:
            folder: folder of the stage.
            parts: model, optimisers and other objects with a ``state_dict``, by name.

        Raises:
            InputError: the file is damaged or belongs to another run.
        """
        state = load_state(folder / "state.pt")
        if state is None:
            return cls()
        try:
            for name, part in parts.items():
                part.load_state_dict(state[name])
            return cls(**{item.name: state[item.name] for item in fields(cls)})
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise InputError(f"{folder / 'state.pt'} is of another run, or damaged; {BEGIN_AGAIN}") from error

    def update_best(self, value: float, at: int, model: nn.Module) -> bool:
        """Copy the model's weights if its validation measure is the best so far; return whether it is."""
        if value <= self.best:
            return False
        self.best, self.best_at, self.weights = value, at, copy_to_cpu(model.state_dict())
        return True

    def finish_epoch(
        self, record: dict[str, Any], folder: Path, parts: Mapping[str, Any], world: World = SINGLE_PROCESS
    ) -> None:
        """Count a finished epoch and save the state and the log; with several processes rank 0 writes."""
        self.done += 1
        self.history.append(record)
        state = {name: part.state_dict() for name, part in parts.items()}  # some gather from all ranks
        if not world.is_first:
            return
        write_text(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in self.history))
        save_state(folder / "state.pt", state | vars(self))  # written last: epochs that it counts are not repeated
