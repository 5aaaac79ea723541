"""A sweep over values that Optuna proposes, from how those before have done on validation.

A search keeps nothing of its own on disk: it is gone through again from its first trial, and trials whose runs are done
are only read. So it goes on where it was cut off, and a longer search begins with a shorter one.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ltml.comparison.compare import FOLDER, check_cells, read_tables_there, rows_of, tabulate
from ltml.comparison.grid import GridRun, make_grid, run_grid
from ltml.comparison.launch import Launch
from ltml.comparison.plan import Plan, Row
from ltml.comparison.summary import read_scores, summarise
from ltml.comparison.sweep import Range, Space, Sweep, read_sweep
from ltml.errors import InputError
from ltml.extras import optional_package
from ltml.metrics.measures import measure_sign
from ltml.processes.bars import track
from ltml.processes.main_guard import refuse_second_start
from ltml.stages.checks import check_out

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

log = logging.getLogger(__name__)

SEEDS = 2**32
"""Number of seeds of the sampler."""


class Trial(NamedTuple):
    """Values that Optuna proposed.

    Attributes:
        row: that has them; another trial may have the same.
        cells: its runs.
        mean: over seeds, of what is chosen by; None where a run failed or is still to be done.
    """

    row: Row
    cells: list[GridRun]
    mean: float | None


def search(
    recipe: str,
    settings: Sequence[str],
    *,
    trials: int,
    seeds: str = "0",
    name: str | None = None,
    measure: str = "auroc",
    oracle: bool = False,
    search_seed: int = 0,
    out: str | os.PathLike[str] = "runs",
    launch: Launch | None = None,
) -> dict[str, Any]:
    """Try values that Optuna's TPE sampler proposes, and write the tables of all of them as `ltml.compare` does.

    Args:
        recipe: name or path.
        settings: ``key=0.1..1.0`` (decimals), ``key=1..9`` (whole numbers), ``key=1e-5..1e-2`` (on a log scale) and
            ``key=a,b`` are searched; ``key=value`` holds for all trials.
        trials: how many times values are proposed; the same ones again are no further row.
        seeds: ``"0..4"`` or ``"0,1,2"``; the sampler gets the mean over them.
        name: folder of the tables.
        measure: measure that is reported to the sampler and that the best row is chosen by.
        oracle: search and choose on the split ``test``; the result says so wherever it is shown. Otherwise on ``val``.
        search_seed: of the sampler.
        out: root of the run directories.
        launch: where the runs are done; so many trials are proposed at a time as it has jobs.

    Returns:
        As `ltml.compare`; the rows are in the order of the trials.

    Raises:
        InputError: Optuna is not installed, a space or its ends cannot be searched, or another comparison lies in the
            folder.
        LtmlError: no run could be finished.
    """
    refuse_second_start()
    where, root, known = launch or Launch(), Path(out), set[str]()
    sweep = _read(recipe, settings, seeds, name, measure, oracle)

    def run(plan: Plan, to_come: int) -> list[GridRun]:
        return run_grid(make_grid(plan, root), root, where, to_come=to_come * len(plan.seeds), known=known)

    cells: dict[Row, list[GridRun]] = {}
    proposed = _trials(sweep, trials, search_seed, where.jobs, root, run)
    for number, trial in enumerate(track(proposed, trials, "trials"), start=1):
        cells[trial.row] = trial.cells
        shown = "failed" if trial.mean is None else f"{100 * trial.mean:.1f}"
        on = "test, ORACLE" if oracle else sweep.split
        log.info("trial %d of %d: %s: %s on %s", number, trials, trial.row.name, shown, on)
    by_seed = [cell for same_seed in zip(*cells.values(), strict=True) for cell in same_seed]
    return tabulate(sweep.plan(list(cells)), by_seed, root / FOLDER / sweep.name, trials=trials)


def plan_search(
    recipe: str,
    settings: Sequence[str],
    *,
    trials: int,
    seeds: str = "0",
    name: str | None = None,
    measure: str = "auroc",
    oracle: bool = False,
    search_seed: int = 0,
    out: str | os.PathLike[str] = "runs",
    jobs: int = 1,
) -> Plan:
    """Return the plan of a search as far as its values are known: of trials that are done, and those that come next.

    Args and errors are those of `search`; nothing is run.
    """
    root = Path(out)
    sweep = _read(recipe, settings, seeds, name, measure, oracle)
    known = list(_trials(sweep, trials, search_seed, jobs, root, lambda plan, _: make_grid(plan, root)))
    if len(known) < trials:
        log.info("%d of %d trials are known; what the others try depends on their scores", len(known), trials)
    return sweep.plan(list(dict.fromkeys(trial.row for trial in known)))


def _read(recipe: str, settings: Sequence[str], seeds: str, name: str | None, measure: str, oracle: bool) -> Sweep:
    return read_sweep(recipe, settings, seeds=seeds, name=name, measure=measure, oracle=oracle, suffix="-search")


def _trials(
    sweep: Sweep, count: int, seed: int, jobs: int, root: Path, run: Callable[[Plan, int], list[GridRun]]
) -> Iterator[Trial]:
    """Yield the trials in turn, `jobs` of them proposed at a time; they end after some that `run` has not finished.

    Args:
        sweep: what is searched.
        count: how many trials.
        seed: of the sampler.
        jobs: number of trials proposed before the first of them is reported.
        root: of the run directories.
        run: the cells of a plan, and how many trials come after it.
    """
    if count < 1:
        raise InputError(f"--trials {count}: at least 1")
    if not 0 <= seed < SEEDS:
        raise InputError(f"--search-seed {seed}: from 0 to {SEEDS - 1}")
    check_out(root)
    study = _new_study(seed, "maximize" if measure_sign(sweep.measure) > 0 else "minimize")
    distributions = {key: _distribution(space, key) for key, space in sweep.spaces.items()}
    ends = sweep.plan(_ends(sweep))
    check_cells(ends, make_grid(ends, root))  # a wrong value is said before anything is run
    tried: dict[Row, tuple[list[GridRun], float | None]] = {}
    for start in range(0, count, jobs):
        asked = [study.ask(distributions) for _ in range(min(jobs, count - start))]
        values = [[_written(trial.params[key], space) for key, space in sweep.spaces.items()] for trial in asked]
        rows = [sweep.row(written) for written in values]
        _refuse_another(root / FOLDER / sweep.name, sweep.plan(list(dict.fromkeys([*tried, *rows]))), count)
        if new := [row for row in dict.fromkeys(rows) if row not in tried]:
            plan = sweep.plan(new)
            cells = run(plan, count - start - len(asked))
            means = _means(plan, cells)
            tried |= {row: ([cell for cell in cells if cell.row == row], means[row.name]) for row in new}
        for trial, row in zip(asked, rows, strict=True):
            _tell(study, trial.number, tried[row][1])
            yield Trial(row, *tried[row])
        if any(cell.state not in ("done", "failed") for row in rows for cell in tried[row][0]):
            return


def _new_study(seed: int, direction: Literal["maximize", "minimize"]) -> Study:
    with optional_package("optuna", "--trials"):
        import optuna
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # no line of its own for a study that begins
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of version 4, for both options
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        return optuna.create_study(direction=direction, sampler=sampler)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _tell(study: Study, number: int, mean: float | None) -> None:
    from optuna.trial import TrialState

    study.tell(number, mean, state=TrialState.FAIL if mean is None else TrialState.COMPLETE)


def _distribution(space: Space, key: str) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(space, Range):
        return CategoricalDistribution(space)
    if space.kind == "int":
        return IntDistribution(int(space.low), int(space.high))
    low, high = float(space.low), float(space.high)
    if space.kind == "log" and low <= 0:
        raise InputError(
            f"{key}={space.low}..{space.high}: a range with exponents is searched on a log scale, which has no 0: "
            "begin above it, or write decimals"
        )
    if f"{low:.4g}" == f"{high:.4g}":
        raise InputError(f"{key}={space.low}..{space.high}: values have four digits, and the ends differ after them")
    return FloatDistribution(low, high, log=space.kind == "log")


def _written(value: Any, space: Space) -> str:
    """Write a proposed value in four digits, or the end of the range if these leave it."""
    if not isinstance(value, float) or not isinstance(space, Range):
        return str(value)
    short = f"{value:.4g}"
    if float(short) < float(space.low):
        return space.low
    return space.high if float(short) > float(space.high) else short


def _ends(sweep: Sweep) -> list[Row]:
    """Return rows that together have both ends of every range, and every value by name."""
    ends = [(space.low, space.high) if isinstance(space, Range) else space for space in sweep.spaces.values()]
    return [sweep.row(values[number % len(values)] for values in ends) for number in range(max(map(len, ends)))]


def _means(plan: Plan, cells: Sequence[GridRun]) -> dict[str, float | None]:
    """Return the mean reported to Optuna for each row; None if any seed failed."""
    rows = summarise(plan, read_scores(plan, cells), {})
    return {row["row"]: row["mean"] if len(row["seeds"]) == len(plan.seeds) else None for row in rows}


def _refuse_another(folder: Path, plan: Plan, count: int) -> None:
    """Refuse to overwrite the tables of a search that does not begin like this one.

    Where a trial failed it may not fail again, which changes what is proposed after it: such tables are no obstacle.
    """
    there = read_tables_there(folder)
    if there is None or any(cell["state"] == "failed" for cell in there["cells"]):
        return
    about = {"measure": plan.measure, "split": plan.split, "seeds": list(plan.seeds)}
    rows = zip(rows_of(plan), there.get("plan", []), strict=False)
    reasons = [f"another search, with another {key}" for key, value in about.items() if there.get(key) != value]
    reasons += [f"another search, with {saved[1]} run otherwise or not now" for own, saved in rows if own != saved]
    reasons += ["a longer search"] if (there.get("trials") or count) > count else []
    if reasons:
        raise InputError(
            f"{folder} holds {reasons[0]}. A search goes on with the same settings, --seeds, --measure, --jobs and "
            "--search-seed, and no fewer --trials: give this one a --name, or remove that folder (its runs stay)"
        )
