"""Every file of a finished run, damaged in every way: the same figures, or a message that names it and a way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ltml.checksums import forget_missing, is_finished
from ltml.stages.run_directory import RunDirectory, read_run

RUN = ("run", "digits_tiny")
STAGE2 = ("stage2", "digits_tiny")


def _empty(_: bytes) -> bytes:
    return b""


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    """One bit of one byte, in the middle of what is not padding."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _text(_: bytes) -> bytes:
    return "Grüße, no such file\n".encode("latin-1")


def _json(_: bytes) -> bytes:
    return b'{"rows": [1, 2], "split": null, "labels": {}}\n'


def _binary(_: bytes) -> bytes:
    return bytes(range(256)) * 8


def _zeroed(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": _empty,
    "cut": _cut,
    "flipped": _flip,
    "text": _text,
    "json": _json,
    "binary": _binary,
    "zeroed": _zeroed,
}
READERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "recipe.yaml": (("evaluate", "RUN"), RUN),
    "split.csv": (("evaluate", "RUN"), ("report", "RUN")),
    "labels.json": (("evaluate", "RUN"), ("report", "RUN")),
    "data.json": (("report", "RUN"),),
    "environment.json": (("report", "RUN"),),
    "stage1/metrics.json": (("report", "RUN"), STAGE2),
    "stage2/metrics_val.json": (("report", "RUN"),),
    "stage2/calibration.json": (("report", "RUN"),),
    "stage2/predictions_test.csv": (
        ("evaluate", "RUN"),
        ("evaluate", "RUN/stage2/predictions_test.csv"),
        ("calibrate", "RUN"),
        ("report", "RUN"),
        STAGE2,
    ),
    "stage2/checkpoint.safetensors": (("gaussians", "RUN"), ("report", "RUN")),
    "stage2/stage1.json": (STAGE2,),
    "stage2/log.jsonl": (("report", "RUN"),),
    "gaussians.safetensors": (("gaussians", "RUN"), ("report", "RUN")),
    "checksums.json": (("evaluate", "RUN"), STAGE2),
    "SHARED/checkpoint.safetensors": (STAGE2, ("relations", "RUN")),
    "SHARED/predictions_test.csv": (RUN, ("evaluate", "RUN")),
    "SHARED/features/train.npy": (("relations", "RUN"), ("report", "RUN")),
    "SHARED/features/train.npz": (("relations", "RUN"),),
    "SHARED/images.npy": (RUN, STAGE2),
    "SHARED/log.jsonl": (("report", "RUN"),),
}
"""Commands that read each kind of file."""


@pytest.fixture(scope="module")
def finished(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory, cli) -> Path:
    """A finished and calibrated run; read only."""
    root = tmp_path_factory.mktemp("finished") / "runs"
    shutil.copytree(tiny_run.parents[2], root)
    run = root / tiny_run.relative_to(tiny_run.parents[2])
    assert cli("calibrate", run).exit_code == 0
    return run


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(finished.parents[2], tmp_path / "runs")
    return tmp_path / "runs" / finished.relative_to(finished.parents[2])


def _file(run: Path, name: str) -> Path:
    shared = next((run.parents[1] / "_stage1").glob("[!.]*"))
    return shared / name.removeprefix("SHARED/") if name.startswith("SHARED/") else run / name


def _called(cli, run: Path, words: tuple[str, ...]) -> Any:
    arguments = [word.replace("RUN", str(run)) for word in words]
    if words[0] in ("run", "stage1", "stage2"):
        arguments += ["--out", str(run.parents[2]), "--json"]
    return cli(*arguments)


def _figures(run: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(run)): json.loads(path.read_text()) for path in sorted(run.glob("stage?/metrics*.json"))
    }


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_or_changes_no_figure(
    name: str, damage: str, finished: Path, copied: Path, cli
) -> None:
    file = _file(copied, name)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    for words in READERS[name] if damage == "cut" else READERS[name][:1]:
        before = _figures(copied) if "metrics" not in name else None
        result = _called(cli, copied, words)
        said = result.stderr.replace("\n", " ")
        if result.exit_code == 0:
            assert name in ("environment.json", "stage1/metrics.json") or name.endswith("log.jsonl"), said
            assert words[0] == "report" or _figures(copied) == _figures(finished)
        else:
            assert result.exit_code in (1, 2)
            assert file.name in said or (file.parent.name in said and "features" in name)
            assert "unexpected" not in said
            assert "Traceback" not in said
            assert len(next(line for line in result.stderr.splitlines() if line.startswith("error: "))) < 700
            assert before is None or _figures(copied) == before


WAYS_OUT: dict[str, Callable[[RunDirectory], list[tuple[str, ...]]]] = {
    "recipe.yaml": lambda run: [shutil.rmtree(run.path) or RUN],
    "split.csv": lambda run: [RUN],
    "labels.json": lambda run: [RUN],
    "data.json": lambda run: [RUN],
    "stage1/metrics.json": lambda run: [STAGE2],
    "stage2/calibration.json": lambda run: [("calibrate", "RUN")],
    "stage2/predictions_test.csv": lambda run: [_removed(run.predictions(2, "test"), RUN)],
    "stage2/checkpoint.safetensors": lambda run: [_removed(run.checkpoint2, RUN)],
    "stage2/stage1.json": lambda run: [(*STAGE2, "--fresh")],
    "gaussians.safetensors": lambda run: [(*STAGE2, "--fresh")],
    "checksums.json": lambda run: [_removed(run.path / "checksums.json", RUN)],
    "SHARED/checkpoint.safetensors": lambda run: [_removed(run.checkpoint1, RUN)],
    "SHARED/images.npy": lambda run: [(*RUN, "--fresh"), ("calibrate", "RUN")],
    "SHARED/predictions_test.csv": lambda run: [_removed(run.predictions(1, "test"), RUN)],
    "SHARED/features/train.npy": lambda run: [shutil.rmtree(run.features) or RUN],
}
"""What the messages advise."""


def _removed(path: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    path.unlink()
    return words


@pytest.mark.parametrize("name", WAYS_OUT)
def test_the_way_out_leads_to_the_same_run(name: str, finished: Path, copied: Path, cli) -> None:
    run, _ = read_run(copied)
    file = _file(copied, name)
    file.write_bytes(_flip(file.read_bytes()))
    for words in WAYS_OUT[name](run):
        assert _called(cli, copied, words).exit_code == 0
    for words in (("evaluate", "RUN"), ("report", "RUN"), ("gaussians", "RUN"), ("relations", "RUN"), RUN):
        result = _called(cli, copied, words)
        assert result.exit_code == 0, result.stderr
    assert _figures(copied) == _figures(finished)
    for path in (*finished.rglob("*.safetensors"), *finished.rglob("predictions*.csv"), finished / "split.csv"):
        assert (copied / path.relative_to(finished)).read_bytes() == path.read_bytes()


def test_zeroed_rows_and_shortened_predictions_of_an_earlier_version(copied: Path, cli) -> None:
    """Without checksums the rows are still held against the split, and the run says that it is unverified."""
    for file in copied.parents[1].rglob("checksums.json"):
        file.unlink()
    result = cli("evaluate", copied)
    assert result.exit_code == 0
    assert f"{copied} was saved without checksums" in result.stderr
    assert "saved without checksums" not in cli("evaluate", copied).stderr  # once is enough
    path = copied / "stage2" / "predictions_test.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))
    for words in (("evaluate", "RUN"), ("report", "RUN"), ("calibrate", "RUN"), STAGE2):
        result = _called(cli, copied, words)
        assert result.exit_code == 2
        assert "predictions_test.csv is not of the" in result.stderr
    path.write_text("".join([lines[0], *lines[2:], lines[1]]))
    assert "in another order" in cli("evaluate", copied).stderr


def test_a_state_is_refused_or_resumed(copied: Path, finished: Path, cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a cut-off stage: damaged it is named, and without it the stage begins again."""
    from ltml.training.resume import TrainingState

    run, _ = read_run(copied)
    for path in (run.checkpoint1, run.predictions(1, "val"), run.predictions(1, "test")):
        path.unlink()
    finish = TrainingState.finish_epoch

    def finish_and_stop(self: TrainingState, *arguments: object) -> None:
        finish(self, *arguments)  # type: ignore[arg-type]
        raise RuntimeError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(TrainingState, "finish_epoch", finish_and_stop)
        assert _called(cli, copied, RUN).exit_code == 1
    state = run.shared / "state.pt"
    whole = state.read_bytes()
    for damage in DAMAGES.values():
        state.write_bytes(damage(whole))
        result = _called(cli, copied, RUN)
        assert result.exit_code == 2, damage
        assert "state.pt" in result.stderr
        assert "unexpected" not in result.stderr
    state.unlink()
    assert _called(cli, copied, RUN).exit_code == 0
    assert _figures(copied) == _figures(finished)


def test_equal_runs_have_equal_checksums_without_times(finished: Path, copied: Path, cli) -> None:
    assert _called(cli, copied, (*RUN, "--fresh")).exit_code == 0
    assert _called(cli, copied, ("calibrate", "RUN")).exit_code == 0
    for name in ("checksums.json", "SHARED/checksums.json"):
        assert _file(copied, name).read_bytes() == _file(finished, name).read_bytes()
        listed = json.loads(_file(copied, name).read_text())["sha256"]
        assert not {"log.jsonl", "environment.json", "stage2/log.jsonl"} & listed.keys()


def test_a_file_that_was_not_recorded_is_made_again(copied: Path, finished: Path, cli) -> None:
    """As a kill between a file and its checksum leaves it."""
    for name in ("checksums.json", "SHARED/checksums.json"):
        path = _file(copied, name)
        lost = {"SHARED/checksums.json": "predictions_test.csv", "checksums.json": "stage2/predictions_test.csv"}[name]
        shutil.move(path.parent / lost, path.parent / "kept")
        forget_missing(path.parent)
        shutil.move(path.parent / "kept", path.parent / lost)
        assert not is_finished(path.parent / lost)
    result = cli("evaluate", copied)
    assert result.exit_code == 2
    assert "was not written to its end" in result.stderr
    assert _called(cli, copied, RUN).exit_code == 0
    for name in ("checksums.json", "SHARED/checksums.json"):
        assert _file(copied, name).read_bytes() == _file(finished, name).read_bytes()
