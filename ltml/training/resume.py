"""What a stage remembers between epochs, so that a cut-off run goes on where it stopped."""

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
    """Epochs done, the best weights so far, and the log.

    Attributes:
        done: finished epochs.
        best: highest validation measure so far.
        best_at: epoch or round of `best`.
        weights: state dict of `best`, on the CPU.
        history: one record per epoch, the lines of ``log.jsonl``.
    """

    done: int = 0
    best: float = -1.0
    best_at: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, parts: Mapping[str, Any]) -> TrainingState:
        """Read ``state.pt`` of a folder, if there is one, and put its state into `parts`.

        Args:
            folder: of the stage.
            parts: model, optimisers and whatever else has a ``state_dict``, by name.

        Raises:
            InputError: the file is damaged, or of another run.
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
        """Keep the model's weights if its validation measure is the best so far, and say so."""
        if value <= self.best:
            return False
        self.best, self.best_at, self.weights = value, at, copy_to_cpu(model.state_dict())
        return True

    def finish_epoch(
        self, record: dict[str, Any], folder: Path, parts: Mapping[str, Any], world: World = SINGLE_PROCESS
    ) -> None:
        """Count an epoch, and save everything before the next begins; of several processes the first one writes."""
        self.done += 1
        self.history.append(record)
        state = {name: part.state_dict() for name, part in parts.items()}  # some gather theirs from all processes
        if not world.is_first:
            return
        write_text(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in self.history))
        save_state(folder / "state.pt", state | vars(self))  # last: what it counts as done is not done again
