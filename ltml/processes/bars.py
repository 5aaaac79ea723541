"""Progress bars on stderr if it is a terminal. The stages also log one plain line per epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ltml.processes.world import World

T = TypeVar("T")

PERIOD = 0.1
"""Seconds between two drawings of a moving bar."""

_display: ContextVar[Progress | None] = ContextVar("_display", default=None)
"""The display of the outermost bar, which draws inner bars too, since a terminal can hold only one."""

_is_hidden: ContextVar[bool] = ContextVar("_is_hidden", default=False)


def hide_bars() -> None:
    """Draw no bars in this process from now on, since its parent draws one on the same terminal."""
    _is_hidden.set(True)


def track(items: Iterable[T], total: int, title: str) -> Iterator[T]:
    """Yield the items and draw a bar if stderr is a terminal; only rank 0 draws.

    A bar inside the loop of another one is drawn below it. Lines written to stderr meanwhile stand above both.
    """
    console = Console(stderr=True)
    if _is_hidden.get() or not (console.is_terminal and World.from_environment().is_first):
        yield from items
        return
    with _shared_display(console) as display:
        task = display.add_task(title, total=total)
        drawn = time.monotonic()
        try:
            for item in items:
                yield item
                is_due = time.monotonic() - drawn >= PERIOD
                display.update(task, advance=1, refresh=is_due)
                drawn = time.monotonic() if is_due else drawn
        finally:
            display.remove_task(task)
            display.refresh()


@contextmanager
def _shared_display(console: Console) -> Iterator[Progress]:
    """Yield the display of the outermost bar, or start one."""
    if (outer := _display.get()) is not None:
        yield outer
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    display = Progress(
        *columns,
        console=console,
        auto_refresh=False,  # rich's thread may wipe a line that is written while a bar appears or disappears
        speed_estimate_period=math.inf,  # over the last thousand items, however long they take
        transient=True,
    )
    with display:
        _display.set(display)
        try:
            yield display
        finally:
            _display.set(None)
