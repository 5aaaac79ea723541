"""The runs of a comparison: rows times seeds, each a run like any other, done once and resumed where it was cut off."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Literal

from ltml.comparison.plan import Plan, Row
from ltml.errors import InputError, LtmlError
from ltml.recipe.load import load_recipe
from ltml.recipe.schema import Recipe
from ltml.stages.checks import check_recipe
from ltml.stages.run_directory import progress_of, run_folder

log = logging.getLogger(__name__)

State = Literal["done", "begun", "to do", "failed"]


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
        row: whose run it is.
        seed: training and sampling seed.
        recipe: resolved.
        run: its folder.
        state: how far it is.
        error: why it failed, on one line; empty unless it did.
    """

    row: Row
    seed: int
    recipe: Recipe
    run: Path
    state: State
    error: str = ""


def make_grid(plan: Plan, out: Path) -> list[Cell]:
    """The cells of a plan with what is done of each; seed by seed, so that whole comparisons come early.

    Raises:
        InputError: a row's recipe is wrong.
    """
    cells = []
    for seed in plan.seeds:
        for row in plan.rows:
            recipe = _recipe_of(row, seed)
            check_recipe(recipe)
            cells.append(Cell(row, seed, recipe, run_folder(recipe, out), progress_of(recipe, out)))
    return cells


def run_grid(
    cells: Sequence[Cell],
    out: Path,
    *,
    jobs: int = 1,
    fresh: bool = False,
    report: Callable[[Cell], None] = lambda _: None,
) -> list[Cell]:
    """Run what is left of a grid; one failure does not stop the others.

    Cells whose run is the same (rows may share one) are run once; runs that differ in stage 2 alone share stage 1.

    Args:
        cells: from `make_grid`.
        out: root of the run directories.
        jobs: processes that work at the same time; 1 works in this one.
        fresh: redo what is done.
        report: called with every cell as it is finished or has failed.

    Returns:
        The cells in their order, each ``done`` or ``failed``.
    """
    left = {cell.run: cell for cell in cells if fresh or cell.state != "done"}
    errors: dict[Path, str] = {}
    started = time.monotonic()
    work = (_in_turn if jobs == 1 else _side_by_side)(list(left.values()), out, fresh, jobs)
    for finished, (cell, error) in enumerate(work, start=1):
        errors[cell.run] = error
        ended = replace(cell, state="failed" if error else "done", error=error)
        ahead = (time.monotonic() - started) / finished * (len(left) - finished)
        what = f"{ended.row.data}: {ended.row.name}, seed {ended.seed}"
        log.info("%d of %d runs, about %s left: %s %s", finished, len(left), _duration(ahead), what, ended.state)
        report(ended)
    return [_after(cell, errors) for cell in cells]


def _after(cell: Cell, errors: dict[Path, str]) -> Cell:
    error = errors.get(cell.run, "")
    return replace(cell, state="failed" if error else "done", error=error)


def _recipe_of(row: Row, seed: int) -> Recipe:
    try:
        return load_recipe(row.recipe, [*row.overrides, f"seeds.train={seed}", f"seeds.sample={seed}"])
    except InputError as error:
        raise InputError(f"row '{row.name}' on {row.data}: {error}") from error


def _in_turn(cells: Sequence[Cell], out: Path, fresh: bool, _: int) -> Iterator[tuple[Cell, str]]:
    for cell in cells:
        with _quiet():
            error = run_cell(cell.row, cell.seed, out, fresh=fresh)
        yield cell, error


def _side_by_side(cells: Sequence[Cell], out: Path, fresh: bool, jobs: int) -> Iterator[tuple[Cell, str]]:
    others = set(active_children())
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin_job, initargs=(jobs,)) as pool:
        with _interrupts_ignored():  # until a process is ready to end without a traceback
            waiting = {pool.submit(run_cell, cell.row, cell.seed, out, fresh=fresh): cell for cell in cells}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BrokenProcessPool as error:
            raise LtmlError(
                "a process of the grid died, perhaps for want of memory; what is done stays: run the same command "
                "again with fewer --jobs"
            ) from error
        except BaseException:  # Ctrl-C: what is done stays, nothing new is begun
            for process in set(active_children()) - others:
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run_cell(row: Row, seed: int, out: Path, *, fresh: bool = False) -> str:
    """Run one cell; what went wrong on one line, or nothing."""
    from ltml.stages.pipeline import run

    try:
        run(_recipe_of(row, seed), out, fresh=fresh)
    except (LtmlError, OSError, RuntimeError) as error:
        text = " ".join(str(error).split())
        return text if isinstance(error, LtmlError) else f"{type(error).__name__}: {text}"
    return ""


def _begin_job(jobs: int) -> None:
    """A process of the grid has its share of the cores, and just ends on Ctrl-C; its run can be resumed."""
    import torch

    from ltml.data.parallel import available_cores

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(max(1, available_cores() // jobs))


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings alone from what a run logs: a grid says one line per run."""
    loggers = [logging.getLogger(f"ltml.{room}") for room in ("stages", "data", "training")]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger in loggers:
            logger.setLevel(logging.NOTSET)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
