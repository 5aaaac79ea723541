"""Which of the processes that ``torchrun`` started this one is; torch is not needed to know."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ltml.errors import InputError, LtmlError

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """The processes that train one model together, as one of them sees it.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        local_rank: number of this process on its machine, which is that of its GPU.
        local_size: how many are on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and draws."""
        return self.rank == 0

    def share(self, count: int, least: int = 1) -> slice:
        """Which of so many rows this process takes; the shares of all processes, in order, are all rows.

        Args:
            count: rows, at least 1.
            least: rows that a process takes if it takes any; fewer only where there are fewer in all.
        """
        takers = min(self.size, max(count // least, 1))
        each, more = divmod(count, takers)
        return slice(*(min(rank * each + min(rank, more), count) for rank in (self.rank, self.rank + 1)))


ALONE = World()


class LostProcessError(LtmlError):
    """Another process has stopped, and knows why."""


def this_world() -> World:
    """What ``torchrun`` says in the environment; one process alone where it says nothing.

    Raises:
        InputError: the environment says only half of it.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return ALONE
    wrong = [name for name in NUMBERS if not os.environ.get(name, "").isdigit()]
    wrong += [name for name in ADDRESS if name not in os.environ]
    if wrong:
        raise InputError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} asks for several processes, but {', '.join(wrong)} is not set to "
            "match. Start them with `torchrun --nproc-per-node N -m ltml_cli …`, or unset WORLD_SIZE."
        )
    rank, size, local_rank, local_size = (int(os.environ[name]) for name in NUMBERS)
    return World(rank, size, local_rank, local_size)
