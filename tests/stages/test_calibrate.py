"""``ltml calibrate``: fitted on val alone, written beside the scores, and out of the way of whoever collects them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, f1_score

import ltml
from ltml.errors import InputError
from ltml.metrics.calibration import apply_temperature, fit_temperature
from ltml.metrics.predictions import Predictions
from ltml.report.tables.calibration import calibration_tables
from ltml.report.writers.terminal import to_terminal
from ltml.stages.calibrate import fit_calibration
from ltml.stages.evaluate import collect
from ltml.stages.run_directory import read_run


@pytest.fixture
def run_dir(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, stage 1 and all."""
    shutil.copytree(tiny_run.parents[1], tmp_path / "digits_tiny")
    return tmp_path / "digits_tiny" / tiny_run.parent.name / tiny_run.name


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the checksums of all."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "checksums.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_thresholds_and_temperature_are_those_of_val(run_dir: Path) -> None:
    found = ltml.calibrate(run_dir)
    val = Predictions.read(run_dir / "stage2" / "predictions_val.csv")
    assert found["stage"] == 2
    assert found["temperature"] == fit_temperature(val.probs, val.targets)
    for c, entry in enumerate(found["labels"]):
        assert entry["temperature"] == found["temperature"]
        assert entry["n_pos"] == int(val.targets[:, c].sum())
        scaled = apply_temperature(val.probs[:, c], found["temperature"])
        best = max(f1_score(val.targets[:, c], scaled >= limit) for limit in scaled)
        assert f1_score(val.targets[:, c], scaled >= entry["threshold"]) == pytest.approx(best)
    assert found["kept"] == []


@pytest.mark.parametrize("per_class", [False, True])
def test_scores_before_and_after_are_those_of_the_predictions(run_dir: Path, per_class: bool) -> None:
    found = ltml.calibrate(run_dir, per_class=per_class)
    assert found["splits"].keys() == {"test", "test_natural"}
    temperatures = [entry["temperature"] for entry in found["labels"]]
    assert len(set(temperatures)) == (10 if per_class else 1)
    limits = [entry["threshold"] for entry in found["labels"]]
    for split, scores in found["splits"].items():
        answers = Predictions.read(run_dir / "stage2" / f"predictions_{split}.csv")
        scaled = apply_temperature(answers.probs, temperatures)
        name = "metrics.json" if split == "test" else f"metrics_{split}.json"
        saved = json.loads((run_dir / "stage2" / name).read_text())
        for stage, probs, threshold in (("before", answers.probs, 0.5), ("after", scaled, limits)):
            expected = ltml.score(probs, answers.targets, threshold=threshold)
            assert scores[stage]["macro"] == pytest.approx(scores[stage]["macro"] | expected.macro)
            assert scores[stage]["threshold"] == threshold
            losses = [brier_score_loss(y, p, pos_label=1) for y, p in zip(answers.targets.T, probs.T, strict=True)]
            assert [row["brier"] for row in scores[stage]["per_class"]] == pytest.approx(losses)
            assert scores[stage]["macro"]["brier"] == pytest.approx(np.mean(losses))
        assert {key: scores["before"]["macro"][key] for key in saved["macro"]} == saved["macro"]
        assert scores["after"]["groups"].keys() == saved["groups"].keys()
        for old, new in zip(scores["before"]["per_class"], scores["after"]["per_class"], strict=True):
            assert (old["auroc"], old["ap"]) == (new["auroc"], new["ap"])
        assert scores["after"]["macro"]["f1"] != scores["before"]["macro"]["f1"]


def test_no_other_split_has_a_say(run_dir: Path) -> None:
    ltml.calibrate(run_dir, per_class=True)
    before = (run_dir / "stage2" / "calibration.json").read_bytes()
    (run_dir / "checksums.json").unlink()  # which would refuse the changes below
    rng = np.random.default_rng(0)
    for split in ("test", "test_natural"):
        path = run_dir / "stage2" / f"predictions_{split}.csv"
        frame = pd.read_csv(path, dtype=str)
        for name in [name for name in frame if name.startswith(("prob:", "target:"))]:
            frame[name] = rng.integers(0, 2, len(frame))
        frame.to_csv(path, index=False)
    ltml.calibrate(run_dir, per_class=True)
    assert (run_dir / "stage2" / "calibration.json").read_bytes() == before


def test_it_adds_files_of_its_own_and_nobody_takes_them_for_a_split(cli, run_dir: Path) -> None:
    before, splits = contents(run_dir.parents[1]), collect(read_run(run_dir)[0]).splits
    for stage in (1, 2):
        result = cli("calibrate", run_dir, "--stage", stage, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["stage"] == stage
        folder = run_dir / f"stage{stage}"
        saved = json.loads((folder / "calibration.json").read_text())
        assert saved == {key: value for key, value in found.items() if key not in ("run_dir", "splits")}
        assert json.loads((folder / "calibrated.json").read_text()) == found["splits"]["test"]["after"]
        natural = json.loads((folder / "calibrated_test_natural.json").read_text())
        assert natural == found["splits"]["test_natural"]["after"]
    after = contents(run_dir.parents[1])
    assert {name: after[name] for name in before} == before
    assert {Path(name).name for name in after.keys() - before.keys()} == {
        "calibration.json", "calibrated.json", "calibrated_test_natural.json",
    }  # fmt: skip
    assert collect(read_run(run_dir)[0]).splits == splits
    assert ltml.evaluate(run_dir).splits == splits  # type: ignore[union-attr]


def test_the_table_says_what_was_fitted_and_what_changed(cli, run_dir: Path) -> None:
    result = cli("calibrate", run_dir, "--per-class")
    assert result.exit_code == 0, result.output
    for words in ("stage 2, fitted on val", "nine", "calibration on test\n", "test_natural", "Brier", "adaptive ECE"):
        assert words in result.stdout
    tables = calibration_tables(ltml.calibrate(run_dir, per_class=True))
    assert max(map(len, to_terminal(tables, 80).splitlines())) <= 80


def test_classes_with_one_outcome_in_val_keep_half_and_the_temperature_of_the_run() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (50, 4)).astype(float)
    targets[:, 1], targets[:, 2], targets[:, 3] = 0, np.nan, 1
    probs = rng.random((50, 4))
    found = fit_calibration(Predictions(tuple("abcd"), [], [], probs, targets), per_class=True)
    assert found["kept"] == ["b", "c", "d"]
    assert [entry["threshold"] for entry in found["labels"][1:]] == [0.5] * 3
    assert [entry["n_known"] for entry in found["labels"]] == [50, 50, 0, 50]
    assert found["temperature"] == fit_temperature(probs, targets)
    own = [entry["temperature"] for entry in found["labels"]]
    assert own[1:] == [found["temperature"]] * 3
    assert own[0] == fit_temperature(probs[:, 0], targets[:, 0]) != found["temperature"]


def test_a_temperature_at_its_limit_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    monkeypatch.setattr(logging.getLogger("ltml"), "propagate", True)
    probs = np.array([[0.1, 0.4], [0.9, 0.6], [0.2, 0.4], [0.8, 0.7]])
    targets = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=float)
    found = fit_calibration(Predictions(("told", "not"), [], [], probs, targets), per_class=True)
    assert found["labels"][0]["temperature"] == 0.05
    assert "the temperature of told is at its limit 0.05" in caplog.text
    assert "not is" not in caplog.text


def test_what_cannot_be_calibrated_says_why(cli, run_dir: Path, tmp_path: Path) -> None:
    result = cli("calibrate", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "is not a run" in result.stderr
    with pytest.raises(InputError, match="stage = 3: a run has the stages 1 and 2"):
        ltml.calibrate(run_dir, 3)
    (run_dir / "stage2" / "predictions_val.csv").unlink()
    result = cli("calibrate", run_dir)
    assert result.exit_code == 2
    assert "has no predictions of val after stage 2; finish it with `ltml run`" in result.stderr
    assert cli("calibrate", run_dir, "--stage", 1).exit_code == 0
