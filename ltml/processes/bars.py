"""Progress bars on stderr if it is a terminal. The stages also log one plain line per epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ltml.processes.world import World

T = TypeVar("T")

PERIOD = 0.1
"""Seconds between two drawings of a moving bar."""

_display: ContextVar[Progress | None] = ContextVar("_display", default=None)
"""The display of the outermost bar, which draws inner bars too, since a terminal can hold only one."""


@dataclass(frozen=True)
class _Plan:
    """Steps of a run in order, the work of each, and the bar of the whole run."""

    work: Mapping[str, float]
    display: Progress
    task: TaskID


_plan: ContextVar[_Plan | None] = ContextVar("_plan", default=None)

_is_hidden: ContextVar[bool] = ContextVar("_is_hidden", default=False)


def hide_bars() -> None:
    """Draw no bars in this process from now on, since its parent draws one on the same terminal."""
    _is_hidden.set(True)


@contextmanager
def plan_steps(work: Mapping[str, float]) -> Iterator[None]:
    """Draw, above all bars of the block, one for the whole run: its steps from the current one on, and the time left.

    Args:
        work: expected work by title of the step, in order, in any unit; `begin_step` and `track` refer to it.
    """
    console = Console(stderr=True)
    if not _can_draw(console):
        yield
        return
    with _shared_display(console) as display:
        task = display.add_task(" → ".join(work), total=sum(work.values()), is_run=True)
        _plan.set(_Plan(work, display, task))
        try:
            yield
        finally:
            _plan.set(None)
            display.remove_task(task)


def begin_step(title: str) -> None:
    """Show a step of the planned run as the current one; work of earlier steps that was skipped is not waited for."""
    plan = _plan.get()
    if plan is None or title not in plan.work:
        return
    titles = list(plan.work)
    left = titles[titles.index(title) :]
    (task,) = (task for task in plan.display.tasks if task.id == plan.task)
    total = task.completed + sum(plan.work[name] for name in left)
    plan.display.update(plan.task, description=" → ".join(left), total=total, refresh=True)


def track(items: Iterable[T], total: int, title: str, *, work: float = 0.0) -> Iterator[T]:
    """Yield the items and draw a bar if stderr is a terminal; only rank 0 draws.

    A bar inside the loop of another one is drawn below it. Lines written to stderr meanwhile stand above both.

    Args:
        items: items to pass through.
        total: number of items.
        title: title of the bar.
        work: work of all items together, by which they advance the bar of a planned run (`plan_steps`).
    """
    console = Console(stderr=True)
    if not _can_draw(console):
        yield from items
        return
    plan = _plan.get()
    with _shared_display(console) as display:
        task = display.add_task(title, total=total)
        drawn = time.monotonic()
        try:
            for item in items:
                yield item
                if plan is not None and work:
                    plan.display.update(plan.task, advance=work / total)
                is_due = time.monotonic() - drawn >= PERIOD
                display.update(task, advance=1, refresh=is_due)
                drawn = time.monotonic() if is_due else drawn
        finally:
            display.remove_task(task)
            display.refresh()


def _can_draw(console: Console) -> bool:
    return not _is_hidden.get() and console.is_terminal and World.from_environment().is_first


class _CountColumn(MofNCompleteColumn):
    """Number of finished items; empty for a whole run, whose work has no unit."""

    def render(self, task: Task) -> Text:
        """Return the text of the column."""
        return Text() if task.fields.get("is_run") else super().render(task)


@contextmanager
def _shared_display(console: Console) -> Iterator[Progress]:
    """Yield the display of the outermost bar, or start one."""
    if (outer := _display.get()) is not None:
        yield outer
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), _CountColumn(), TimeRemainingColumn())
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
