"""Process many files in threads; decoding releases Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

_side_by_side = 1


def share_cores(processes: int) -> None:
    """Set the number of processes that share the machine's cores with this one."""
    global _side_by_side
    _side_by_side = processes


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, cores // _side_by_side)


def in_threads(work: Callable[[A], B], items: Iterable[A], workers: int | None = None) -> Iterator[B]:
    """Yield results in the order of the items, computed a few ahead; by default with one thread per core."""
    count = workers or available_cores()
    pool = ThreadPoolExecutor(count)
    waiting: deque[Future[B]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 4 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
