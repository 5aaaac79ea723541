"""Rank and number of the processes that ``torchrun`` started, read from the environment without importing torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ltml.errors import InputError, LtmlError

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""Environment variables of ``torchrun`` that hold a number."""

ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
"""Environment variables of ``torchrun`` that say where rank 0 listens."""


@dataclass(frozen=True)
class World:
    """The processes that train one model together, seen from one of them.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        local_rank: number of this process on its machine, which is also the number of its GPU.
        local_size: number of processes on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def from_environment(cls) -> World:
        """Read what ``torchrun`` put into the environment; without it, return `SINGLE_PROCESS`.

        Raises:
            InputError: some of the variables are missing or no numbers.
        """
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return SINGLE_PROCESS
        wrong = [name for name in NUMBERS if not os.environ.get(name, "").isdigit()]
        wrong += [name for name in ADDRESS if name not in os.environ]
        if wrong:
            raise InputError(
                f"WORLD_SIZE={os.environ['WORLD_SIZE']} asks for several processes, but {', '.join(wrong)} is not set "
                "to match. Start them with `torchrun --nproc-per-node N -m ltml_cli …`, or unset WORLD_SIZE."
            )
        return cls(*(int(os.environ[name]) for name in NUMBERS))

    @property
    def is_first(self) -> bool:
        """Whether this process is rank 0, which writes files and draws bars."""
        return self.rank == 0

    def share(self, count: int, least: int = 1) -> slice:
        """Return the rows that this process takes; the shares of all ranks, in order, are all rows.

        Args:
            count: number of rows, at least 1.
            least: smallest share of a process that gets any rows; only smaller if there are fewer rows in all.
        """
        takers = min(self.size, max(count // least, 1))
        each, more = divmod(count, takers)
        return slice(*(min(rank * each + min(rank, more), count) for rank in (self.rank, self.rank + 1)))


SINGLE_PROCESS = World()
"""The only process of a run without ``torchrun``."""


class LostProcessError(LtmlError):
    """Another process has stopped; its own message says why."""
