"""The real commands on shipped recipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
from ltml_cli.main import app  # noqa: F401 - the installed name of cli/

import ltml
from ltml.report.run.scores import StageScores
from ltml.report.run.tables import score_tables
from ltml.report.tables.gaussians import gaussians_table
from ltml.report.writers.terminal import to_terminal

FAST = ["train.epochs=1", "data.train_size=64", "data.val_size=64", "data.test_size=32"]


def test_the_version_is_that_of_the_installed_package(cli) -> None:
    result = cli("--version")
    assert (result.exit_code, result.stdout) == (0, f"ltml {version('ltml')}\n")


def test_run_prints_what_changed(cli, tiny_run: Path) -> None:
    result = cli("run", "digits_tiny", "--out", tiny_run.parents[2])
    assert result.exit_code == 0
    for text in (
        "Means over classes on test\n",
        "Means over classes on test_natural\n",
        "tail",
        "balanced ACC",
        str(tiny_run),
    ):
        assert text in result.stdout
    scores = StageScores("test", ltml.evaluate(tiny_run).splits["test"])  # type: ignore[union-attr]
    assert max(map(len, to_terminal(score_tables(scores), 80).splitlines())) <= 80


def test_run_json_is_one_object_with_the_saved_metrics(cli, tiny_run: Path) -> None:
    result = cli("run", "digits_tiny", "--out", tiny_run.parents[2], "--json")
    content = json.loads(result.stdout)
    assert content["run_dir"] == str(tiny_run)
    for stage in ("stage1", "stage2"):
        assert content[stage] == json.loads((tiny_run / stage / "metrics.json").read_text())
        assert content[stage]["split"] == "test"
    changes = json.loads((tiny_run / "changes.json").read_text())
    expected = content["stage2"]["macro"]["auroc"] - content["stage1"]["macro"]["auroc"]
    assert changes["test"]["macro"]["auroc"] == pytest.approx(expected)


def test_stages_one_by_one_give_the_same_as_run(cli, tiny_run: Path, tmp_path: Path) -> None:
    first = cli("stage1", "digits_tiny", "--out", tmp_path, "--json", "--device", "cpu")
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout)["stage2"] is None
    second = json.loads(cli("stage2", "digits_tiny", "--out", tmp_path, "--json").stdout)
    assert second["stage1"] == json.loads(first.stdout)["stage1"]
    assert second["stage2"] == json.loads((tiny_run / "stage2" / "metrics.json").read_text())
    assert "epoch 1/3" in first.stderr


def test_seed_sets_training_and_sampling_seed(cli, tmp_path: Path) -> None:
    result = cli("stage1", "digits_tiny", *FAST, "--seed", 3, "--out", tmp_path, "--json")
    run_dir = Path(json.loads(result.stdout)["run_dir"])
    assert run_dir.name == "seed3"
    text = (run_dir / "recipe.yaml").read_text()
    assert "train: 3" in text
    assert "sample: 3" in text


def test_evaluate_a_run_and_its_predictions_agree(cli, tiny_run: Path) -> None:
    content = json.loads(cli("evaluate", tiny_run, "--json").stdout)
    assert content["stage2"] == json.loads((tiny_run / "stage2" / "metrics.json").read_text())
    file = tiny_run / "stage2" / "predictions_test.csv"
    alone = json.loads(cli("evaluate", file, "--json").stdout)
    assert alone["macro"] == content["stage2"]["macro"]
    assert alone["odir"] == content["stage2"]["odir"]
    assert alone["split"] == "predictions_test"
    assert "Means over classes on predictions_test" in cli("evaluate", file).stdout
    assert "1 and 2: after stage 1 and stage 2." in cli("evaluate", tiny_run).stdout


def test_evaluate_anyones_predictions(cli, tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["007", "8", "9"], "prob:a": [0.9, 0.2, 0.4], "target:a": ["1", "0", ""]})
    frame.to_csv(tmp_path / "mine.csv", index=False)
    content = json.loads(cli("evaluate", tmp_path / "mine.csv", "--json").stdout)
    assert content["per_class"][0]["n_known"] == 2
    assert content["macro"]["auroc"] == 1.0


def test_recipes_ls_show_cp_validate(cli, tmp_path: Path) -> None:
    listed = json.loads(cli("recipes", "ls", "--json").stdout)
    assert "digits" in listed
    assert "digits_tiny" in cli("recipes", "ls").stdout
    assert "epochs: 3  # passes over the training images" in cli("recipes", "show", "digits", "train.epochs=3").stdout
    assert json.loads(cli("recipes", "show", "digits", "--json").stdout)["train"]["epochs"] == 20
    target = tmp_path / "mine.yaml"
    assert cli("recipes", "cp", "digits_tiny", target).exit_code == 0
    assert cli("recipes", "validate", target).stdout.strip() == "mine: valid"
    for name in listed:
        assert cli("recipes", "validate", name).exit_code == 0, name
    result = cli("run", target, *FAST, "method=bce", "--out", tmp_path / "runs", "--json")
    assert json.loads(result.stdout)["stage2"] is None
    assert "/mine/bce+" in json.loads(result.stdout)["run_dir"]


@pytest.mark.parametrize("kind", ["methods", "heads", "losses", "datasets", "measures", "backbones", "encoders"])
def test_list(cli, kind: str) -> None:
    entries = json.loads(cli("list", kind, "--json").stdout)
    assert len(entries) > 1
    name = next(iter(entries))
    assert name in cli("list", kind).stdout
    assert list(json.loads(cli("list", kind, name, "--json").stdout)) == [name]


def test_own_images_from_the_command_line(run_small, image_table: Callable[..., Path]) -> None:
    result = run_small(image_table(group=[f"{i // 2:03d}" for i in range(60)]), "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert [row["label"] for row in content["stage2"]["per_class"]] == ["bright", "odd"]
    split = pd.read_csv(Path(content["run_dir"]) / "split.csv", dtype=str)
    assert split["split"].value_counts().tolist() == pytest.approx([42, 12, 6], abs=2)


def test_gaussians_of_a_run(cli, tiny_run: Path) -> None:
    content = json.loads(cli("gaussians", str(tiny_run), "--json").stdout)
    assert content["covariance"] == "full"
    assert len(content["labels"]) == 10
    zero = content["labels"][0]
    assert zero["label"] == "zero"
    counts = json.loads((tiny_run / "labels.json").read_text())["zero"]
    assert zero["present"]["n"] == counts["train_pos"]
    assert zero["absent"]["n"] == counts["train_known"] - counts["train_pos"]
    assert 0 < zero["auc"] < 1
    shown = cli("gaussians", str(tiny_run)).stdout
    assert "zero" in shown
    assert max(map(len, to_terminal([gaussians_table(content)], 80).splitlines())) <= 80


def test_gaussians_where_there_are_none(cli, tiny_run: Path, tmp_path: Path) -> None:
    result = cli("gaussians", str(tmp_path))
    assert result.exit_code == 2
    assert "is not a run" in result.stderr
    shifted = cli("stage2", "digits_tiny", "stage2.method=bias_shift", "--out", str(tiny_run.parents[2]), "--json")
    result = cli("gaussians", json.loads(shifted.stdout)["run_dir"])
    assert result.exit_code == 2
    assert "has no Gaussians" in result.stderr


def test_what_the_command_starts_waits_without_spinning_and_imports_nothing_from_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ltml_cli import main

    seen: list[tuple[str, ...]] = []
    names = ("OMP_WAIT_POLICY", "PYTHONSAFEPATH")
    monkeypatch.setattr(main, "app", lambda: seen.append(tuple(os.environ[name] for name in names)))
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    main.main()
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    main.main()
    assert seen == [("PASSIVE", "1"), ("ACTIVE", "1")]


@pytest.mark.process
def test_a_file_of_the_current_folder_stands_in_for_no_module(tmp_path: Path) -> None:
    for name in ("typer", "yaml", "numpy", "ltml", "contextlib"):
        (tmp_path / f"{name}.py").write_text("open('PWNED', 'w')\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    command = [sys.executable, "-m", "ltml_cli", "--version"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout.startswith("ltml "), ended.stderr
    assert not (tmp_path / "PWNED").exists()
