"""A run that is killed at any moment and started again ends with the bytes of one that ran through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "ltml_cli", "run", "digits_tiny"]


def _start(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _stop_when(process: subprocess.Popen[str], reached: Callable[[], bool], number: int) -> bool:
    """Send a signal as soon as a point is reached; False if the run ended before."""
    while process.poll() is None:
        if reached():
            os.killpg(process.pid, number)
            process.wait()
            return True
        time.sleep(0.002)
    return False


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


def _results(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("environment.json", "log.jsonl")
    }


@pytest.mark.slow
def test_killed_at_five_moments_and_resumed(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    stage2 = out / "digits_tiny" / "ldrnet" / "seed0" / "stage2"

    def found(pattern: str) -> bool:
        return out.is_dir() and any(out.glob(pattern))

    moments: list[Callable[[], bool]] = [
        lambda: any(_lines(log) >= 1 for log in out.glob("*/_stage1/*/log.jsonl")),
        lambda: any(_lines(log) >= 2 for log in out.glob("*/_stage1/*/log.jsonl")),
        lambda: found("*/_stage1/*/features/train.npz"),
        lambda: _lines(stage2 / "log.jsonl") >= 1,
        lambda: (stage2 / "checkpoint.safetensors").is_file(),
    ]
    for reached in moments:
        process = _start(out)
        assert _stop_when(process, reached, signal.SIGKILL), "the run ended before it could be killed"
    final = _start(out)
    assert final.wait() == 0, final.stderr.read() if final.stderr else ""
    expected, actual = _results(tiny_run.parents[2] / "digits_tiny"), _results(out / "digits_tiny")
    leftovers = {name for name in actual if Path(name).name.startswith(".")}
    shared = {name for name in expected if "_stage1" in name or name.startswith("ldrnet/seed0/")}
    assert set(actual) - leftovers == shared
    assert all(actual[name] == expected[name] for name in shared)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_finished(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    process = _start(out)
    assert _stop_when(process, lambda: any(out.glob("*/_stage1/*/state.pt")), signal.SIGINT)
    assert process.returncode == 1
    assert process.stderr is not None
    errors = process.stderr.read()
    assert "interrupted; what was finished stays" in errors
    assert "Traceback" not in errors
    resumed = _start(out)
    assert resumed.wait() == 0
    assert resumed.stderr is not None
    assert "resuming after epoch" in resumed.stderr.read()
