"""Bars on a terminal, which a pseudo-terminal stands for: what is drawn on the way, and that nothing of it stays."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from ltml.processes.bars import track

PROGRAM = """
import logging, time
from ltml.processes.bars import hide_bars, track
from ltml_cli.errors import _log_to_stderr

_log_to_stderr()
for number in track(range(3), 3, "outer"):
    for _ in track(range(4), 4, f"inner {number}"):
        time.sleep(0.15)  # longer than a bar takes to be drawn anew
        logging.getLogger("ltml.x").info("line of %d", number)
    logging.getLogger("ltml.x").warning("end of %d", number)
hide_bars()
list(track(range(3), 3, "hidden"))
"""


def _on_a_terminal(command: list[str]) -> str:
    """What a command writes to a terminal of 24 × 100 as its stderr; its stdout goes nowhere."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    )
    os.close(theirs)
    written = b""
    while block := _read(ours):
        written += block
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


def _screen(written: str) -> list[str]:
    """The lines that are to be seen after so much was written: moves up, to the left, and lines wiped are followed."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
        elif part.endswith("A"):
            row -= int(part[2:-1])
        elif part == "\x1b[2K":
            lines[row] = ""
    return [line.rstrip() for line in lines if line.strip()]


def _frames(written: str) -> list[list[str]]:
    """The screen before each time that a line was wiped, which is when bars are drawn anew."""
    return [_screen(written[: wiped.start()]) for wiped in re.finditer(re.escape("\x1b[2K"), written)]


def _is_bar(line: str) -> bool:
    return "━" in line


def test_inner_bars_lie_below_the_outer_one_and_lines_above_both() -> None:
    written = _on_a_terminal([sys.executable, "-c", PROGRAM])
    lines = [line for number in range(3) for line in [f"line of {number}"] * 4 + [f"warning: end of {number}"]]
    assert _screen(written) == lines
    frames = _frames(written)
    assert any("outer" in frame[-2] and "inner 1" in frame[-1] for frame in frames if len(frame) > 1)
    for frame in frames:
        text = [line for line in frame if not _is_bar(line)]
        assert text == lines[: len(text)] == frame[: len(text)]  # no line torn, none below a bar
    assert "hidden" not in written


def test_without_a_terminal_nothing_is_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter("abc"), 3, "letters")) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.process
def test_a_grid_of_several_processes_draws_one_bar(tmp_path: Path) -> None:
    sizes = ["train.epochs=1", "data.train_size=64", "data.val_size=32", "data.test_size=32"]
    options = ["--methods", "bce,asl", "--seeds", "0", "--jobs", "2", "--out", str(tmp_path)]
    written = _on_a_terminal([sys.executable, "-m", "ltml_cli", "compare", "digits_tiny", *sizes, *options])
    frames = _frames(written)
    assert any(re.search(r"runs.* 1/2", line) for frame in frames for line in frame)
    assert not [line for frame in frames for line in frame if _is_bar(line) and not line.startswith("runs")]
    nobody = "digits: no patients are known"
    screen = [line.split(",")[0] for line in _screen(written) if not line.startswith(nobody)]
    unseen, few = "warning: no known positive in test_natural", "warning: digits_tiny: fewer than 10 known positives"
    plain = [line for line in screen if not line.startswith("warning: ")]
    assert plain[:2] == ["1 of 2 runs", "2 of 2 runs"]
    assert " ".join(plain[2:]).startswith("next: ltml report ")
    assert sum(line.startswith(unseen) for line in screen) == 2  # told by each process, printed by the first
    assert sum(line.startswith(few) for line in screen) == 1
    assert "warning: one seed: nothing is tested over seeds; take --seeds 0..4 or more" in screen
    assert sum("No patients are known" in line for line in screen) == 1
    assert len([line for line in screen if line not in plain]) == 5


@pytest.mark.process
def test_a_run_shows_its_steps_and_the_time_left(tmp_path: Path) -> None:
    sizes = ["train.epochs=2", "stage2.rounds=1", "data.train_size=64", "data.val_size=32", "data.test_size=32"]
    command = ["run", "digits_tiny", "method=ldrnet", *sizes, "--out", str(tmp_path)]
    written = _on_a_terminal([sys.executable, "-m", "ltml_cli", *command])
    steps = ["stage 1", "features", "scores 1", "stage 2", "scores 2"]
    bars = {
        line for frame in _frames(written) for line in frame if _is_bar(line) and re.search(r"[\d-]:[\d-]{2}", line)
    }
    begins = [" → ".join(steps[number:]) + " ━" for number in range(len(steps))]
    assert [begin for begin in begins if not any(begin in line for line in bars)] == [], bars
    screen = _screen(written)
    assert not [line for line in screen if _is_bar(line)]
    assert screen[-1].startswith("next: ltml report ")


PLAN = """
from ltml.processes.bars import _plan, begin_step, plan_steps, track

def bar():
    (task,) = (task for task in _plan.get().display.tasks if task.id == _plan.get().task)
    return task.completed, task.total, task.description

with plan_steps({"one": 10, "two": 30}):
    begin_step("one")
    list(track(range(5), 5, "inner", work=4))
    list(track(range(5), 5, "unweighted"))
    assert round(bar()[0]) == 4 and bar()[1:] == (40, "one → two"), bar()
    begin_step("two")  # six of ten were skipped
    begin_step("of another plan")
    assert round(bar()[1]) == 34 and bar()[2] == "two", bar()
assert _plan.get() is None
"""


def test_work_that_is_skipped_is_not_waited_for() -> None:
    assert not _screen(_on_a_terminal([sys.executable, "-c", PLAN]))
