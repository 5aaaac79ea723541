"""Work over many files in threads: decoding leaves Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


SHARE = "LTML_CORES"
"""Environment variable: cores that a process and its children may use, where others run beside it."""


def available_cores() -> int:
    """Cores that this process may use."""
    if SHARE in os.environ:
        return max(1, int(os.environ[SHARE]))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def in_threads(work: Callable[[A], B], items: Iterable[A], workers: int | None = None) -> Iterator[B]:
    """Results in the order of the items, a few ahead of what is taken; one thread per core unless told otherwise."""
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
