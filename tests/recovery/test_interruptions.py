"""A run that is killed at any moment and started again ends with the bytes of one that ran through."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ltml
from ltml.recipe.load import load_recipe
from ltml.recipe.schema import Recipe
from ltml.stages.run_directory import read_run
from ltml.training.resume import TrainingState

COMMAND = [sys.executable, "-m", "ltml_cli", "run", "digits_tiny"]


def _start(out: Path) -> subprocess.Popen[bytes]:
    with (out.parent / "stderr.txt").open("w") as errors:
        command = [*COMMAND, "--out", str(out)]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True, preexec_fn=_heed_interrupts
        )


def _heed_interrupts() -> None:
    """A test run in the background may have been told to ignore Ctrl-C, which its children would inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


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


@pytest.mark.process
def test_killed_at_six_moments_and_resumed(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    stage2 = out / "digits_tiny" / "ldrnet" / "seed0" / "stage2"

    def found(pattern: str) -> bool:
        return out.is_dir() and any(out.glob(pattern))

    moments: list[Callable[[], bool]] = [
        lambda: any(_lines(log) >= 1 for log in out.glob("*/_stage1/*/log.jsonl")),
        lambda: any(_lines(log) >= 2 for log in out.glob("*/_stage1/*/log.jsonl")),
        lambda: found("*/_stage1/*/features/train.npz"),
        lambda: _lines(stage2 / "log.jsonl") >= 1,
        lambda: _lines(stage2 / "log.jsonl") >= 2,  # between the E and the M step of a round
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


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.schedule.type=plateau", "train.schedule.patience=0", "train.optimizer=sgd", "train.lr=0.05"],
        ["train.schedule.type=milestones", "train.schedule.milestones=[1,2]", "train.early_stop=2"],
        ["train.epochs=2", "stage2.method=continue"],
        ["train.epochs=2", "stage2.method=real_resample", "stage2.restore_prior=true"],
        ["train.epochs=2", "method=ldrnet_plus"],
        ["loss.type=auc_margin", "stage2.rounds=1", "stage2.m_step.epochs=1"],
        ["loss.type=ldam", "loss.ldam.drw_epoch=2", "stage2.rounds=1", "stage2.m_step.epochs=1"],
    ],
)
def test_stopped_after_every_single_epoch(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every state a stage can be resumed from, between E and M step and within an M step too."""
    small = ["train.epochs=4", "data.train_size=64", "data.val_size=64", "data.test_size=32"]
    recipe = load_recipe("digits_tiny", [*small, "stage2.rounds=2", "stage2.m_step.epochs=2", *overrides])
    assert _stop_after_every_epoch(recipe, tmp_path, monkeypatch) >= 2 + 2 + 2 * 1


@pytest.mark.parametrize("method", ["label_assemble", "luo"])
def test_what_objectives_remember_survives_every_stop(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sources with one label in common: strong views, temporal ensemble, adversaries with their optimiser."""
    sizes = "train_size: 64, val_size: 48, test_size: 16, imbalance_ratio: 3.0"
    sources = (
        f"[{{type: digits, name: low, part: [1, 2], labels_kept: [zero, one, two], {sizes}}}, "
        f"{{type: digits, name: high, part: [2, 2], labels_kept: [two, three, four], {sizes}}}]"
    )
    small = ["data.image_size=32", "data.resize=null", "data.channels=1", "data.draw=equal", "train.epochs=7"]
    small += ["backbone={name: resnet18, pretrained: false, options: {layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}}"]
    small += ["data.views={strong: [{RandomErasing: {p: 1.0}}]}", "data.labels=[zero, one, two, three, four]"]
    recipe = load_recipe("cxr_union", [f"data.sources={sources}", f"method={method}", *small])
    assert _stop_after_every_epoch(recipe, tmp_path, monkeypatch) == 7


def _stop_after_every_epoch(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run through once, and once stopped after each epoch; the number of stops. Both must leave the same bytes."""
    through = ltml.run(recipe, tmp_path / "through").run_dir

    class StoppedError(Exception):
        pass

    finish = TrainingState.finish_epoch

    def finish_and_stop(self: TrainingState, *arguments: object) -> None:
        finish(self, *arguments)  # type: ignore[arg-type]
        raise StoppedError

    monkeypatch.setattr(TrainingState, "finish_epoch", finish_and_stop)
    stops, resumed = 0, None
    while resumed is None:
        try:
            resumed = ltml.run(recipe, tmp_path / "stopped").run_dir
        except StoppedError:
            stops += 1
    assert stops == len(_log(read_run(through)[0].shared)) + len(_log(through))
    for ours, theirs in ((through, resumed), (read_run(through)[0].shared, read_run(resumed)[0].shared)):
        assert _results(ours) == _results(theirs)
        assert _log(ours) == _log(theirs)
    return stops


def _log(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for path in sorted(folder.rglob("log.jsonl")) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.process
def test_ctrl_c_keeps_what_was_finished(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    process = _start(out)
    assert _stop_when(process, lambda: any(out.glob("*/_stage1/*/state.pt")), signal.SIGINT)
    assert process.returncode == -signal.SIGINT  # a shell sees 130, and ends its loop
    errors = (tmp_path / "stderr.txt").read_text()
    assert "interrupted; what was finished stays" in errors
    assert "Traceback" not in errors
    assert _start(out).wait() == 0
    assert "resuming after epoch" in (tmp_path / "stderr.txt").read_text()
