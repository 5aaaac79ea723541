"""Progress bars on stderr, where that is a terminal; the stages log a plain line per epoch in any case."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ltml.processes.world import this_world

T = TypeVar("T")

PERIOD = 0.1
"""Seconds between two drawings of a bar that moves."""

_may_draw = True
_drawn: Progress | None = None


def draw_nothing() -> None:
    """No bars from this process from now on: it is one of several on the terminal, and another one draws."""
    global _may_draw
    _may_draw = False


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Pass items through and draw a bar while there is a terminal to draw it on; the first process alone draws.

    A bar inside the loop over another one is drawn below it, and lines written to stderr meanwhile above both.
    """
    console = Console(stderr=True)
    if not (_may_draw and console.is_terminal and this_world().is_first):
        yield from items
        return
    with _display(console) as display:
        task = display.add_task(what, total=total)
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
def _display(console: Console) -> Iterator[Progress]:
    """What bars are drawn on: a terminal bears one at a time, so inner bars join that of the outermost."""
    global _drawn
    if _drawn is not None:
        yield _drawn
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    display = Progress(
        *columns,
        console=console,
        auto_refresh=False,  # rich's thread may wipe a line that is written while a bar comes or goes
        speed_estimate_period=math.inf,  # of the last thousand items, however long they take
        transient=True,
    )
    with display as _drawn:
        try:
            yield _drawn
        finally:
            _drawn = None
