"""Run the tasks of a grid: one after another, in parallel processes, or as jobs of a cluster's scheduler."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from logging.handlers import BufferingHandler
from multiprocessing import active_children, get_context, parent_process, set_start_method
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from ltml.comparison.plan import Row, recipe_of
from ltml.errors import InputError, LtmlError, suggest
from ltml.extras import optional_package
from ltml.processes.bars import hide_bars
from ltml.processes.main_guard import check_main_guard

log = logging.getLogger(__name__)

LAUNCHERS = ("local", "slurm", "submitit")
DIED = (
    "its process was killed, perhaps for want of memory; what it had done stays: run the same command again, with "
    "fewer --jobs if memory is short"
)
"""Error message of a run whose process was killed."""
DEFAULT_TIMEOUT_MIN = 24 * 60
"""Time limit of a job on the cluster, in minutes, unless its options set another."""


@dataclass(frozen=True)
class Task:
    """One run of a grid that is still to be done.

    Attributes:
        row: row of the comparison that the run belongs to.
        seed: training and sampling seed.
        out: root of the run directories.
    """

    row: Row
    seed: int
    out: Path


@dataclass(frozen=True)
class Launch:
    """Where runs are done, and how many at the same time.

    Attributes:
        launcher: ``local``, ``slurm`` (through submitit), or ``submitit`` for its jobs on this machine.
        jobs: number of runs at the same time; ``local`` with 1 runs in this process.
        options: submitit options, such as ``slurm_partition`` or ``timeout_min``.

    Raises:
        InputError: the launcher does not exist, or options are given for ``local``.
    """

    launcher: str = "local"
    jobs: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.launcher not in LAUNCHERS:
            raise InputError(f"--launcher {self.launcher}: {suggest(self.launcher, LAUNCHERS)}")
        if self.options and self.launcher == "local":
            raise InputError("--launch is for --launcher slurm")


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Parse options of the form ``slurm_partition=gpu``; values are YAML.

    Raises:
        InputError: an option is not KEY=VALUE.
    """
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--launch {text}: write KEY=VALUE, e.g. slurm_partition=gpu")
        options[key] = yaml.safe_load(value)
    return options


def run_tasks(tasks: Sequence[Task], launch: Launch, folder: Path) -> Iterator[tuple[int, str]]:
    """Run the tasks and yield ``(index, error)`` as each finishes; `error` is one line, empty on success.

    Args:
        tasks: runs to be done.
        launch: where they run.
        folder: folder of the scheduler's own files.
    """
    if launch.launcher != "local":
        yield from _run_on_cluster(tasks, launch, folder)
    elif launch.jobs > 1:
        check_main_guard("spawn")
        yield from _run_parallel(tasks, launch.jobs)
    else:
        for index, task in enumerate(tasks):
            with _warnings_only():
                error = work(task)
            yield index, error


def work(task: Task) -> str:
    """Run one task and return its error on one line, empty on success."""
    from ltml.stages.pipeline import run

    try:
        run(recipe_of(task.row, task.seed), task.out)
    except Exception as error:  # of a plugin or a library, say: the other runs go on
        text = " ".join(str(error).split())
        return text if isinstance(error, LtmlError) else f"{type(error).__name__}: {text}"
    return ""


def _run_parallel(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[int, str]]:
    """Run tasks in single-process pools, so that a process that dies ends no other run."""
    others, waiting = set(active_children()), deque(enumerate(tasks))
    running: dict[Future[tuple[str, list[str]]], tuple[int, ProcessPoolExecutor]] = {}
    free: list[ProcessPoolExecutor] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                (number, task), pool = waiting.popleft(), free.pop() if free else _new_process(jobs)
                with _interrupts_ignored():  # until the new process can end without a traceback
                    running[pool.submit(_work_in_job, task)] = number, pool
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, pool = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    pool.shutdown()
                    yield number, DIED
                    continue
                free.append(pool)
                error, warned = future.result()
                for message in warned:
                    log.warning("%s", message)
                yield number, error
        for pool in free:
            pool.shutdown()
    except BaseException:  # Ctrl-C: finished runs stay, no further run starts
        for process in set(active_children()) - others:
            process.terminate()
        for pool in [*free, *(pool for _, pool in running.values())]:
            pool.shutdown(wait=False, cancel_futures=True)
        raise


def _new_process(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin_job, initargs=(jobs,))


def _run_on_cluster(tasks: Sequence[Task], launch: Launch, folder: Path) -> Iterator[tuple[int, str]]:
    """Submit one job per task; cancel the unfinished jobs on Ctrl-C."""
    with optional_package("submitit", f"--launcher {launch.launcher}"):
        import submitit
    cluster = "slurm" if launch.launcher == "slurm" else "local"
    settings = {"name": "ltml", "timeout_min": DEFAULT_TIMEOUT_MIN, **launch.options}
    if cluster == "slurm":
        settings.setdefault("slurm_array_parallelism", launch.jobs)
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**settings)
    except (RuntimeError, NameError, AssertionError) as error:  # no scheduler here; unknown or wrong options
        raise InputError(f"--launcher {launch.launcher}: {' '.join(str(error).split())}") from error
    # A scheduler takes all jobs at once and limits how many run; on this machine all would start at once.
    size = len(tasks) if cluster == "slurm" else launch.jobs
    for start in range(0, len(tasks), max(size, 1)):
        with executor.batch():
            jobs = [executor.submit(work, task) for task in tasks[start : start + size]]
        numbers = {id(job): start + index for index, job in enumerate(jobs)}
        try:
            for job in submitit.helpers.as_completed(jobs, poll_frequency=1):
                yield numbers[id(job)], _outcome(job)
        except BaseException:
            for job in jobs:
                job.cancel()
            raise


def _outcome(job: Any) -> str:
    try:
        return str(job.result())
    except Exception as error:  # a job that was killed, or whose machine could not run it
        return f"job {job.job_id}: {' '.join(str(error).split())[:500]} (log: {job.paths.stderr})"


def _begin_job(jobs: int) -> None:
    """Prepare a process of the grid: limit it to its share of the cores and end it silently on Ctrl-C."""
    import torch

    from ltml.data.parallel import available_cores, share_cores

    # Otherwise data loaders would spawn their workers, as this process was spawned, and import torch in each.
    set_start_method(None, force=True)
    share_cores(jobs)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()
    logging.captureWarnings(True)
    hide_bars()
    torch.set_num_threads(available_cores())


def _work_in_job(task: Task) -> tuple[str, list[str]]:
    """Run `work` and return its warnings; the parent prints them, so that they do not break its progress bar."""
    kept = BufferingHandler(sys.maxsize)
    logging.getLogger().addHandler(kept)
    error = work(task)
    logging.getLogger().removeHandler(kept)
    return error, [record.getMessage().strip() for record in kept.buffer]


def _end_with_parent() -> None:
    """Exit when the parent process dies (a parent ended by SIGKILL cannot tell its children)."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _warnings_only() -> Iterator[None]:
    """Keep a run from logging below warnings, because a grid logs one line per run; then restore the level."""
    logger = logging.getLogger("ltml")
    level = logger.level
    logger.setLevel(max(logging.WARNING, logger.getEffectiveLevel()))
    try:
        yield
    finally:
        logger.setLevel(level)
