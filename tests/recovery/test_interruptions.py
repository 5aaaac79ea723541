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

from ltml.stages.run_directory import read_run

COMMAND = [sys.executable, "-m", "ltml_cli", "run", "digits_tiny"]


def _start(out: Path) -> subprocess.Popen[bytes]:
    with (out.parent / "stderr.txt").open("w") as errors:
        command = [*COMMAND, "--out", str(out)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)


def _stop_when(process: subprocess.Popen[bytes], reached: Callable[[], bool], number: int) -> bool:
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
    assert final.wait() == 0, (tmp_path / "stderr.txt").read_text()
    killed = out / "digits_tiny" / "ldrnet" / "seed0"
    for through, resumed in ((tiny_run, killed), (read_run(tiny_run)[0].shared, read_run(killed)[0].shared)):
        assert _results(resumed) == _results(through)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_finished(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    process = _start(out)
    assert _stop_when(process, lambda: any(out.glob("*/_stage1/*/state.pt")), signal.SIGINT)
    assert process.returncode == 1
    errors = (tmp_path / "stderr.txt").read_text()
    assert "interrupted; what was finished stays" in errors
    assert "Traceback" not in errors
    assert _start(out).wait() == 0
    assert "resuming after epoch" in (tmp_path / "stderr.txt").read_text()
