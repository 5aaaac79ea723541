"""The real commands under the real torchrun."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distributed import TORCHRUN
from ltml.metrics.predictions import Predictions

COMMAND = [*TORCHRUN, "-m", "ltml_cli"]
# No batch norm, no dropout, and smooth: float32 stays within 1e-6 over all steps.
SMOOTH = ["backbone={name: test_vit, pretrained: false}", "head.prompt_query.dropout=0", "train.epochs=2"]


def _files(out: Path) -> dict[str, Path]:
    return {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}


def _log(path: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if isinstance(value, float) and key != "seconds"} for line in lines
    ]


@pytest.mark.process
def test_both_stages_by_two_processes_are_those_of_one(cli: Callable[..., object], tmp_path: Path) -> None:
    arguments = ["run", "digits_tiny", *SMOOTH, "--json"]
    alone = cli(*arguments, "--out", tmp_path / "one")
    assert alone.exit_code == 0, alone.output
    done = subprocess.run(
        [*COMMAND, *arguments, "--out", str(tmp_path / "two")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    one, two = _files(tmp_path / "one"), _files(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        if name.endswith("log.jsonl"):
            for ours, theirs in zip(_log(one[name]), _log(two[name]), strict=True):
                assert theirs == pytest.approx(ours, abs=1e-4)
        if "predictions_" in name:
            ours, theirs = Predictions.read(one[name]), Predictions.read(two[name])
            assert ours.ids == theirs.ids
            np.testing.assert_array_equal(ours.targets, theirs.targets)
            np.testing.assert_allclose(ours.probs, theirs.probs, atol=1e-5)
        if name.endswith("environment.json"):
            assert json.loads(two[name].read_text())["processes"] == 2
    printed = json.loads(alone.stdout), json.loads(done.stdout)  # one object: the second process prints nothing
    for stage in ("stage1", "stage2"):
        assert printed[1][stage]["macro"] == pytest.approx(printed[0][stage]["macro"], abs=1e-4)
    told = [[line for line in text.splitlines() if line.startswith("stage")] for text in (alone.stderr, done.stderr)]
    assert len(told[0]) == len(told[1]) > 4


def _errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error")]


@pytest.mark.process
def test_an_error_that_all_meet_is_told_once(tmp_path: Path) -> None:
    command = [*COMMAND, "run", "digits_tiny", "train.epochz=3", "--out", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    (told,) = _errors(done.stderr)
    assert told.startswith("error: ")
    assert "unknown key 'train.epochz'" in told
    assert "exitcode  : 2" in done.stderr
    assert "exitcode  : 1" not in done.stderr  # all end with the code of bad input


FAILS_ALONE = '''
import torch
from ltml.errors import InputError
from ltml.losses.bce import bce_loss
from ltml.registry import LOSSES

@LOSSES.register("fails_alone")
def fails_alone_loss(logits, targets, known=None):
    """BCE that the second process cannot compute."""
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
        raise InputError("the second process has had enough")
    return bce_loss(logits, targets, known)
'''


@pytest.mark.process
def test_an_error_that_one_meets_is_told_and_ends_all(tmp_path: Path) -> None:
    (tmp_path / "their_failing_loss.py").write_text(FAILS_ALONE)
    options = ["plugins=[their_failing_loss]", "loss.type=fails_alone", "train.epochs=1", "--out", "runs"]
    command = [*COMMAND, "run", "digits_tiny", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode != 0
    (told,) = _errors(done.stderr)
    assert told == "error in process 1: the second process has had enough"


@pytest.mark.process
def test_ctrl_c_ends_all_and_is_told_once(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    command = [*COMMAND, "run", "digits_tiny", "train.epochs=100", "--out", str(out)]
    with (tmp_path / "stderr.txt").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None and not any(out.glob("*/_stage1/*/state.pt")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) != 0
    (told,) = _errors((tmp_path / "stderr.txt").read_text())
    assert "interrupted; what was finished stays" in told
