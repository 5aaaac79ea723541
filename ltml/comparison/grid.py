"""The runs of a comparison: rows times seeds, each a run like any other, done once and resumed where it was cut off."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ltml.comparison.launch import Launch, Task, run_tasks
from ltml.comparison.plan import Plan, Row, recipe_of
from ltml.data.check import refuse_unreadable
from ltml.errors import InputError, LtmlError
from ltml.files import hash_json
from ltml.processes.bars import track
from ltml.recipe.load import identity
from ltml.recipe.schema import Recipe
from ltml.stages.build import build_dataset, check_text
from ltml.stages.checks import check_recipe
from ltml.stages.inputs import missing_inputs, raise_missing
from ltml.stages.provenance import locate_run, progress_of
from ltml.stages.run_directory import run_folder

log = logging.getLogger(__name__)

JOBS = "_jobs"
"""Folder of the scheduler's own files under the root of the runs."""

STARTS = ("data", "backbone", "head", "text", "init_from")
"""Parts of a recipe that define the initial weights of stage 1."""

State = Literal["done", "begun", "to do", "failed"]


@dataclass(frozen=True)
class GridRun:
    """One run of the grid.

    Attributes:
        row: row of the comparison.
        seed: training and sampling seed.
        recipe: resolved.
        run: folder of the run.
        state: how far it is.
        error: why it failed, on one line; empty unless it did.
    """

    row: Row
    seed: int
    recipe: Recipe
    run: Path
    state: State
    error: str = ""


def make_grid(plan: Plan, out: Path) -> list[GridRun]:
    """Return the runs of a plan with their states; seed by seed, so that whole comparisons come early.

    Raises:
        InputError: a row's recipe is wrong.
    """
    cells = []
    for seed in plan.seeds:
        for row in plan.rows:
            recipe = recipe_of(row, seed)
            check_recipe(recipe)
            cells.append(GridRun(row, seed, recipe, run_folder(recipe, out), progress_of(recipe, out)))
    return cells


def run_grid(
    cells: Sequence[GridRun], out: Path, launch: Launch, *, to_come: int = 0, known: set[str] | None = None
) -> list[GridRun]:
    """Run what is left of a grid; one failure does not stop the others.

    Cells whose run is the same (rows may share one) are run once; runs that differ in stage 2 alone share stage 1.

    Args:
        cells: from `make_grid`.
        out: root of the run directories.
        launch: where and how many at a time.
        to_come: runs after these, for the time that is left.
        known: data that need no look, by `data_key`; those looked at are added.

    Returns:
        The cells in their order, each ``done`` or ``failed``.

    Raises:
        InputError: a row lacks what it asks for, or a file with the words of its prompts; or data are not there, or
            are not those of the runs that are done already.
        LtmlError: weights that runs start from are neither local nor reachable.
    """
    left = list({cell.run: cell for cell in cells if cell.state != "done"}.values())
    for cell in left:
        _check_inputs(cell)
    _check_data(cells, out, set() if known is None else known, look=launch.launcher == "local")
    _check_starts(left, out)
    tasks = [Task(cell.row, cell.seed, out) for cell in left]
    errors: dict[Path, str] = {}
    started = time.monotonic()
    ends = track(run_tasks(tasks, launch, out / JOBS), len(tasks), "runs")
    for finished, (number, error) in enumerate(ends, start=1):
        cell = left[number]
        errors[cell.run] = error
        ahead = (time.monotonic() - started) / finished * (len(left) - finished + to_come)
        what = f"{cell.row.data}: {cell.row.name}, seed {cell.seed} {'failed' if error else 'done'}"
        log.info("%d of %d runs, about %s left: %s", finished, len(left), _duration(ahead), what)
    return [_after(cell, errors) for cell in cells]


def _check_inputs(cell: GridRun) -> None:
    """Raise, before any run, if one lacks what the user has to give."""
    where = f"row '{cell.row.name}' on {cell.row.data}"
    for key, what in cell.row.asks:
        raise InputError(f"{where} needs {key}, {what}: add {key}=VALUE")
    if cell.state != "to do":
        return  # it may have read them already, and keeps what came of it
    try:
        check_text(cell.recipe)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def data_fields(cell: GridRun) -> dict[str, Any]:
    """Return the fields of a recipe that define its data."""
    return {key: value for key, value in identity(cell.recipe).items() if key.startswith("data.")}


def data_key(cell: GridRun) -> str:
    """Return a key that is equal for runs that see the same rows in the same splits."""
    return hash_json([data_fields(cell), cell.recipe.seeds.split])


def _check_data(cells: Sequence[GridRun], out: Path, known: set[str], *, look: bool) -> None:
    """Refuse a grid before any of its runs where data are not there, cannot be read, or are not those of runs so far.

    Data that only runs to come have are loaded once for all rows on them. With `look` their images are looked at here,
    and not by every run at once.
    """
    first = {cell.row.data: cell for cell in reversed(cells) if cell.state != "done"}
    groups: dict[str, list[GridRun]] = {}
    for cell in cells:
        groups.setdefault(data_key(cell), []).append(cell)
    for key, group in groups.items():
        begun = [cell for cell in group if cell.state != "to do"]
        if key in known or not (begun or any(cell is first.get(cell.row.data) for cell in group)):
            continue
        _check_group(group, begun, out, look=look)
        known.add(key)


def _check_group(group: Sequence[GridRun], begun: Sequence[GridRun], out: Path, *, look: bool) -> None:
    left = [cell for cell in group if cell.state != "done"]
    cell = (left or group)[0]
    try:
        dataset = build_dataset(cell.recipe)
    except InputError as error:
        if left:
            raise InputError(f"row '{cell.row.name}' on {cell.row.data}: {error}") from error
        log.info("%s: all runs are done, and the data are not looked at: %s", cell.row.data, error)
        return
    for cell in (*begun, *left[:1]):
        try:
            if look and cell in left:
                refuse_unreadable(dataset)
            locate_run(cell.recipe, dataset, out)
        except InputError as error:
            raise InputError(f"row '{cell.row.name}' on {cell.row.data}, seed {cell.seed}: {error}") from error


def _check_starts(cells: Sequence[GridRun], out: Path) -> None:
    """Refuse a grid of which runs start from what is not there, all of it named at once, before the first is done."""
    first = {hash_json([cell.recipe.to_dict()[part] for part in STARTS]): cell for cell in reversed(cells)}
    missing: dict[str, LtmlError] = {}
    for cell in first.values():
        found = missing_inputs(cell.recipe, partial(_labels_of, cell.recipe))
        if found and not _has_stage1(cell, out):
            missing |= {str(error): error for error in found}
    raise_missing(list(missing.values()))


def _labels_of(recipe: Recipe) -> tuple[str, ...]:
    return build_dataset(recipe).label_names


def _has_stage1(cell: GridRun, out: Path) -> bool:
    return cell.state == "begun" or locate_run(cell.recipe, build_dataset(cell.recipe), out).checkpoint1.is_file()


def _after(cell: GridRun, errors: dict[Path, str]) -> GridRun:
    error = errors.get(cell.run, "")
    return replace(cell, state="failed" if error else "done", error=error)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
