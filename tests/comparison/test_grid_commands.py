"""The command of a grid in processes of its own: killed, interrupted, twice at once, in parallel and on a scheduler."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ltml.comparison.launch import _begin_job
from ltml.data.parallel import available_cores

pytestmark = pytest.mark.process

TINY = ("train.epochs=1", "data.train_size=120", "data.val_size=60", "data.test_size=80")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the runs of a finished grid; read only."""
    out = tmp_path_factory.mktemp("grid")
    done = subprocess.run(_command(out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def _tree(out: Path) -> dict[str, bytes]:
    """Metrics and predictions of every run, and the tables."""
    names = ("metrics*.json", "predictions_*.csv", "_comparisons/digits_tiny/scores.csv")
    return {str(path.relative_to(out)): path.read_bytes() for name in names for path in sorted(out.rglob(name))}


def test_a_process_of_a_grid_takes_its_share_and_starts_workers_as_usual() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_begin_job, initargs=(2,)) as pool:
        cores, method = pool.submit(available_cores).result(), pool.submit(multiprocessing.get_start_method).result()
    assert cores == max(1, available_cores() // 2)
    assert method == multiprocessing.get_context().get_start_method()


def _command(out: Path, *more: str) -> list[str]:
    options = ["--methods", "bce,label_adapter", "--seeds", "0..1", "--out", str(out), *more]
    return [sys.executable, "-m", "ltml_cli", "compare", "digits_tiny", *TINY, *options]


@pytest.mark.parametrize(("jobs", "trained"), [("1", [0, 1, 3]), ("2", [2])])
def test_a_grid_killed_at_random_moments_ends_with_the_same_tables(
    finished: Path, tmp_path: Path, jobs: str, trained: list[int]
) -> None:
    delays = np.random.default_rng(0).uniform(0, 1, len(trained))
    command = _command(tmp_path, "--jobs", jobs)
    codes = [_killed_once(command, tmp_path, *moment) for moment in zip(trained, delays, strict=True)]
    assert -signal.SIGKILL in codes
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _tree(tmp_path) == _tree(finished)


def _killed_once(command: list[str], out: Path, trained: int, delay: float) -> int:
    """Kill a command, but not the processes that it started, some seconds after so many stages are trained.

    Returns:
        Its exit code, once its processes have ended too.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None and len(list(out.glob("*/_stage1/*/checkpoint.safetensors"))) < trained:
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.communicate(timeout=60)  # until nobody holds the pipe
    return process.returncode


def test_two_grids_at_once_run_no_cell_twice(finished: Path, tmp_path: Path) -> None:
    processes = [subprocess.Popen(_command(tmp_path), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert _tree(tmp_path) == _tree(finished)
    logs = list(tmp_path.rglob("log.jsonl"))
    assert len(logs) == 4
    assert all(len(log.read_text().splitlines()) == 1 for log in logs)  # one epoch, trained once


def test_jobs_of_a_scheduler_give_the_same_tables(finished: Path, tmp_path: Path) -> None:
    """submitit's own executor on this machine; a cluster differs in who starts the jobs."""
    options = ("--launcher", "submitit", "--jobs", "2", "--launch", "timeout_min=5")
    done = subprocess.run(_command(tmp_path, *options), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _tree(tmp_path) == _tree(finished)
    assert len(list((tmp_path / "_jobs").glob("*_submitted.pkl"))) == 4


def _take_interrupts() -> None:
    """Undo what a shell does to its background jobs, which ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_a_grid_quietly_and_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen(
        _command(tmp_path, "--jobs", "2", "train.epochs=500"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_take_interrupts,
    )
    while process.poll() is None and not any(tmp_path.glob("*/_stage1/*/log.jsonl")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT  # a shell sees 130, and ends its loop
    assert "interrupted; what was finished stays" in errors
    assert "Traceback" not in errors
