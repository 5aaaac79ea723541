"""A comparison from its plan to its tables: run the grid, read the scores, test the differences."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltml.checksums import (
    DamagedFileError,
    begin_checksums,
    write_recorded,
)
from ltml.comparison.across import rank_over_data
from ltml.comparison.gain import relate_own_runs
from ltml.comparison.grid import GridRun, data_fields, data_key, make_grid, run_grid
from ltml.comparison.launch import Launch
from ltml.comparison.patients import add_patients
from ltml.comparison.plan import NOVEL, Plan
from ltml.comparison.result import ComparisonResult, read_comparison
from ltml.comparison.statistics import LEVEL
from ltml.comparison.summary import (
    add_rounds,
    check_claims,
    choose,
    describe_groups,
    find_rare,
    read_groups,
    read_not_learned,
    read_scores,
    summarise,
)
from ltml.errors import InputError, LtmlError, first_few, suggest
from ltml.files import hash_json, lock_folder
from ltml.metrics.measures import measure_sign
from ltml.processes.main_guard import refuse_second_start
from ltml.recipe.schema import MACHINE_FIELDS
from ltml.stages.build import build_dataset
from ltml.stages.checks import check_out
from ltml.stages.evaluate import scored_splits
from ltml.stages.run_directory import read_fingerprint

log = logging.getLogger(__name__)

MIN_SEEDS = 6
"""Minimum number of seeds with which Wilcoxon's test can be significant."""
FOLDER = "_comparisons"
"""Folder of the tables of comparisons under the root of the runs."""


def dry_run(plan: Plan, out: str | os.PathLike[str] = "runs") -> list[dict[str, Any]]:
    """Return the grid of a plan and how far each run is; nothing is run.

    Returns:
        ``{"data", "row", "seed", "run", "state"}`` per cell; the state is ``done``, ``begun`` or ``to do``.

    Raises:
        InputError: as `compare`, for what is known before anything runs, except for what the user still has to give.
    """
    _refuse_another(plan, Path(out) / FOLDER / plan.name)
    cells = make_grid(plan, Path(out))
    check_cells(plan, cells)
    return [_about(cell) for cell in cells]


def compare(
    plan: Plan,
    out: str | os.PathLike[str] = "runs",
    *,
    launch: Launch | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Run what is left of a comparison's grid and write its tables to ``runs/_comparisons/<name>/``.

    ``scores.csv`` holds every score of every run, ``comparison.json`` what is returned.

    Args:
        plan: from `ltml.plan_comparison`.
        out: root of the run directories.
        launch: where the runs are done, and how many at a time; None for one after the other in this process.
        resamples: of the patients, the same for all rows.
        seed: of the resamples.

    Returns:
        ``format``, ``name``, ``paper``, ``measure``, ``higher_is_better``, ``split``, ``seeds``,
        ``folder``, ``interest``; ``cells`` as from `dry_run`
        with ``error``; ``rows`` from `summarise`, `add_rounds` and `add_patients`; ``groups`` from `read_groups`;
        ``groups_by`` from `describe_groups`; ``not_learned``, labels by data; ``rare`` from `find_rare`; ``patients``:
        what was resampled; ``ranks`` from `rank_over_data`; ``relations`` from `relate_own_runs`; ``claims`` from
        `check_claims`; ``chosen`` from `choose`, of a sweep; ``trials`` of a search; ``warnings`` for a reader of the
        tests. Undefined is None.

    Raises:
        InputError: a row's recipe is wrong, the split or the label asked for is in no run, another comparison lies in
            the folder, or runs that are done are of data that have changed since.
        LtmlError: no run could be finished.
    """
    refuse_second_start()
    root = Path(out)
    check_out(root)
    folder = root / FOLDER / plan.name
    _refuse_another(plan, folder)
    if resamples < 1 or seed < 0:
        raise InputError(f"resamples={resamples}, seed={seed}: at least 1 resample, and a seed from 0")
    cells = make_grid(plan, root)
    check_cells(plan, cells)
    cells = run_grid(cells, root, launch or Launch())
    return tabulate(plan, cells, folder, resamples=resamples, seed=seed)


def tabulate(
    plan: Plan,
    cells: Sequence[GridRun],
    folder: Path,
    *,
    resamples: int = 1000,
    seed: int = 0,
    trials: int | None = None,
) -> dict[str, Any]:
    """Write the tables of a comparison whose runs have been tried, `trials` of a search; else as `compare`."""
    if not any(cell.state == "done" for cell in cells):
        raise LtmlError(f"no run could be finished; the first failed so: {cells[0].error}")
    _refuse_changed_data(cells)
    scores = read_scores(plan, cells)
    groups = read_groups(plan, cells)
    rows, apart = summarise(plan, scores, groups), read_not_learned(cells)
    add_rounds(rows, cells)
    patients, warnings = add_patients(plan, cells, rows, resamples=resamples, seed=seed)
    ranks, of_ranks = rank_over_data(rows, plan.seeds, sign=measure_sign(plan.measure))
    content = {
        "name": plan.name,
        "paper": plan.paper,
        "measure": plan.measure,
        "higher_is_better": measure_sign(plan.measure) > 0,
        "split": plan.split,
        "reference": plan.reference,
        "seeds": list(plan.seeds),
        "interest": plan.interest,
        "folder": str(folder),
        "plan": rows_of(plan),
        "cells": [_about(cell) | {"error": cell.error} for cell in cells],
        "rows": rows,
        "groups": groups,
        "groups_by": describe_groups(plan, cells),
        "not_learned": {data: list(labels) for data, labels in apart.items()},
        "rare": find_rare(plan, scores),
        "patients": patients,
        "ranks": ranks,
        "relations": relate_own_runs(plan.interest, rows, cells),
        "claims": check_claims(plan, scores),
        "chosen": choose(plan, scores, rows) if plan.chooses else None,
        "trials": trials,
        "warnings": [
            *_warn_of_seeds(plan),
            *_warn_of_missing_seeds(plan, rows),
            *_warn_of_not_learned(apart),
            *warnings,
            *of_ranks,
        ],
    }
    result = ComparisonResult.make(content)
    with lock_folder(folder):
        begin_checksums(folder)
        write_recorded(folder / "scores.csv", lambda path: scores.to_csv(path, index=False))
        result.write(folder / "comparison.json")
    return result.to_json()


def read_tables_there(folder: Path) -> dict[str, Any] | None:
    """Return the comparison that lies where another is about to be written; None if there is none or it is damaged."""
    if not (folder / "comparison.json").is_file():
        return None
    try:
        return read_comparison(folder)
    except DamagedFileError as error:
        log.warning("the tables in %s are written again: %s", folder, error)
        return None


def check_cells(plan: Plan, cells: Sequence[GridRun]) -> None:
    """Raise, before anything runs, if the runs could not be compared or chosen between.

    Raises:
        InputError: no row has what is measured, the split does not exist, or a sweep changes what it is scored on.
    """
    if plan.measure == NOVEL and not any(cell.recipe.data.novel for cell in cells):
        raise InputError("--measure novel needs a label held out of training (data.novel); no row has one")
    _check_split(plan, cells)
    if plan.chooses:
        _check_same_samples(cells)


def _check_same_samples(cells: Sequence[GridRun]) -> None:
    """Raise if rows would be scored on different images or labels, so that none could be chosen."""
    first = {hash_json(data_fields(cell)): cell for cell in reversed(cells)}
    if len(first) < 2:
        return
    samples = {cell.row.name: _samples_of(cell) for cell in first.values()}
    for name, own in samples.items():
        other, theirs = next(iter(samples.items()))
        if split := next((split for split in own if own[split] != theirs[split]), None):
            raise InputError(
                f"'{name}' and '{other}' have different images or labels in {split}: what is chosen by would not be "
                "the same. Go over settings that leave val and test as they are"
            )


def _samples_of(cell: GridRun) -> dict[str, str]:
    """Return a digest of the samples and labels of val and test."""
    dataset = build_dataset(cell.recipe)
    ids = dataset.table["id"].to_numpy()
    return {
        split: hash_json(
            [dataset.label_names, ids[dataset.splits[split]].tolist(), dataset.masked_targets(split).tobytes().hex()]
        )
        for split in ("val", "test")
    }


def _check_split(plan: Plan, cells: Sequence[GridRun]) -> None:
    """Raise, before anything runs, if the data do not have the split; all have val and test."""
    if plan.split in ("val", "test"):
        return
    for cell in {cell.row.data: cell for cell in cells}.values():
        there = scored_splits(build_dataset(cell.recipe))
        if plan.split not in there:
            raise InputError(f"--split {plan.split}: {suggest(plan.split, there)} (of {cell.row.data})")


def rows_of(plan: Plan) -> list[list[Any]]:
    """Return data, name, recipe and sorted overrides of each row, which are equal for equal comparisons."""
    return [[row.data, row.name, row.recipe, sorted(filter(_counts, row.overrides))] for row in plan.rows]


def _counts(override: str) -> bool:
    """Return whether an override changes results, not only where or on what machine they are made."""
    key = override.partition("=")[0]
    return not f"{key}.".startswith(tuple(f"{field}." for field in MACHINE_FIELDS))


def _warn_of_seeds(plan: Plan) -> list[str]:
    count = len(plan.seeds)
    if len(plan.rows) < 2 or count >= MIN_SEEDS:
        return []
    if count == 1:
        return ["one seed: nothing is tested over seeds; take --seeds 0..4 or more"]
    return [f"{count} seeds show only large differences; Wilcoxon's test cannot reach p < {LEVEL} with fewer than 6"]


def _warn_of_missing_seeds(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{row['data']}: {row['row']}: its mean is over {len(row['seeds'])} of {len(plan.seeds)} seeds"
        for row in rows
        if 0 < len(row["seeds"]) < len(plan.seeds)
    ]


def _warn_of_not_learned(apart: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    return [
        f"{data}: {label} has no positive or no negative in train of {first_few(rows)}: not learned, it stands outside "
        "the means of all rows"
        for data, labels in apart.items()
        for label, rows in labels.items()
    ]


def _refuse_another(plan: Plan, folder: Path) -> None:
    """Refuse to overwrite the tables of a different comparison."""
    there = read_tables_there(folder)
    if there is None:
        return
    gone = [row[1] for row in there.get("plan", []) if row not in rows_of(plan)]
    lacking = [str(seed) for seed in there.get("seeds", []) if seed not in plan.seeds]
    about = {"measure": plan.measure, "split": plan.split}
    others = [f"{key} {there[key]}" for key, value in about.items() if there.get(key, value) != value]
    what = f"with {first_few(gone)} run otherwise or not in this one" if gone else ""
    what = what or (f"with seeds that this one lacks ({first_few(lacking)})" if lacking else "")
    what = what or (f"by {others[0]}" if others else "")
    if what:
        raise InputError(
            f"{folder} holds another comparison, {what}: give this one a --name, or remove that folder (its runs stay)"
        )


def _refuse_changed_data(cells: Sequence[GridRun]) -> None:
    """Raise if runs with the same data fields and split seed saw different data."""
    seen: dict[str, tuple[str, Path]] = {}
    for cell in (cell for cell in cells if cell.state == "done"):
        fingerprint = read_fingerprint(cell.run)
        key = data_key(cell)
        digest, run = seen.setdefault(key, (fingerprint, cell.run))
        if digest != fingerprint:
            raise InputError(
                f"the data have changed between {run} and {cell.run}: they cannot be compared. Remove the older run, "
                "and it is done again"
            )


def _about(cell: GridRun) -> dict[str, Any]:
    return {
        "data": cell.row.data,
        "row": cell.row.name,
        "seed": cell.seed,
        "run": str(cell.run),
        "state": cell.state,
    }
