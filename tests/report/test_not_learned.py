"""A class without training positives has its line and stands outside every mean: of a run, and of a comparison."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ltml
from ltml.comparison.result import read_comparison

NAMES = ("bright", "odd", "rare")
SMALL = (
    "train.epochs=2",
    "train.batch_size=16",
    "data.image_size=16",
    "backbone.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}",
    "head.prompt_query={width: 8, heads: 1}",
)


@pytest.fixture(scope="module")
def finished(cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a comparison over two seeds whose third class is in val and test and never in train."""
    folder, rng = tmp_path_factory.mktemp("unlearned"), np.random.default_rng(0)
    split = np.array(["train"] * 40 + ["val"] * 60 + ["test"] * 60)
    number = np.arange(len(split))
    targets = np.stack([number % 3 == 0, number % 2 == 1, (number % 5 == 0) & (split != "train")], axis=1)
    images = rng.integers(0, 128, (len(split), 16, 16)) + 100 * (number % 3 == 0)[:, None, None]
    file = folder / "films.npz"
    np.savez(file, images=images.astype(np.uint8), targets=targets.astype(float), split=split, label_names=NAMES)
    methods = ("--methods", "bce,ldrnet", "--seeds", "0..1", "--name", "two", "--json")
    result = cli(
        "compare", "csv_small", "data.type=npz", f"data.file={file}", *SMALL, *methods, "--out", folder / "runs"
    )
    assert result.exit_code == 0, result.output
    return folder / "runs"


def _run_of(finished: Path, row: str) -> Path:
    cells = read_comparison(finished / "_comparisons" / "two")["cells"]
    return Path(next(cell["run"] for cell in cells if cell["row"] == row))


def _auc(run: Path, split: str, stage: str = "stage1") -> list[float]:
    scores = ltml.evaluate(run).splits[split][stage]["per_class"]
    return [row["auroc"] for row in scores]


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_run_s_means_are_over_the_learned_classes(finished: Path, split: str) -> None:
    run = _run_of(finished, "ldrnet")
    for stage in ("stage1", "stage2"):
        name = "metrics.json" if split == "test" else f"metrics_{split}.json"
        metrics = json.loads((run / stage / name).read_text())
        values = [row["auroc"] for row in metrics["per_class"]]
        assert metrics["not_learned"] == ["rare"]
        assert [row["label"] for row in metrics["per_class"]] == list(NAMES)
        assert None not in values
        assert metrics["macro"]["auroc"] == pytest.approx(np.mean(values[:2]))
        assert metrics["n_classes"] == dict.fromkeys(metrics["n_classes"], 2)
        assert sorted(label for group in metrics["groups"].values() for label in group["labels"]) == ["bright", "odd"]
        assert metrics == ltml.evaluate(run).splits[split][stage]


def test_epochs_and_rounds_are_chosen_by_the_learned_classes(finished: Path) -> None:
    run = _run_of(finished, "ldrnet")
    stage1 = next(finished.rglob("_stage1"))
    for folder, stage in ((stage1, "stage1"), (run, "stage2")):
        logs = [json.loads(line) for path in folder.rglob("log.jsonl") for line in path.read_text().splitlines()]
        best = {line["val_auroc"] for line in logs if "val_auroc" in line}
        values = _auc(run, "val", stage)
        assert any(value == pytest.approx(np.mean(values[:2])) for value in best)
        assert not any(value == pytest.approx(np.mean(values)) for value in best)


def test_intervals_of_a_mean_leave_it_out(finished: Path) -> None:
    """The interval lies around the mean of the learned classes; the class itself keeps one."""
    run = _run_of(finished, "bce")
    found = ltml.evaluate(run, ci=True).splits["test"]["stage1"]
    low, high = found["ci"]["macro"]["auroc"]
    assert low < found["macro"]["auroc"] < high
    assert found["ci"]["per_class"][2]["auroc"] is not None
    predictions = pd.read_csv(next(iter(Path(run).resolve().parents[1].rglob("predictions_test.csv"))))
    kept = [column for column in predictions if not column.endswith(":rare")]
    alone = run.parent / "alone.csv"
    predictions[kept].to_csv(alone, index=False)
    ours = ltml.evaluate(alone, ci=True)
    assert len(ours["per_class"]) == 2
    assert ours["not_learned"] == []  # nothing is known of its training


def test_what_is_calibrated_leaves_it_out(finished: Path) -> None:
    found = ltml.calibrate(_run_of(finished, "bce"))["splits"]["test"]["after"]
    for measure in ("brier", "adaptive_ece", "kappa"):
        values = [row[measure] for row in found["per_class"][:2]]
        assert found["macro"][measure] == pytest.approx(np.mean(values))
        assert found["n_classes"][measure] == 2


def test_a_comparison_s_means_are_over_the_same_learned_classes(finished: Path) -> None:
    table = read_comparison(finished / "_comparisons" / "two")
    (data,) = {row["data"] for row in table["rows"]}
    assert table["not_learned"] == {data: ["rare"]}
    assert any("rare has no positive" in text and "bce, ldrnet" in text for text in table["warnings"])
    scores = pd.read_csv(finished / "_comparisons" / "two" / "scores.csv")
    assert scores.query("not learned")["label"].unique().tolist() == ["rare"]
    assert set(scores.query("learned")["label"]) == {"bright", "odd"}
    for row in table["rows"]:
        own = scores.query("row == @row['row'] and split == 'test' and measure == 'auroc' and learned")
        assert row["values"] == pytest.approx(own.groupby("seed")["value"].mean().tolist())
        assert row["labels"] == 2
        rare = row["per_label"]["rare"]
        assert (rare["learned"], rare["versus"]) == (False, None)
        assert rare["mean"] is not None
        assert row["per_label"]["odd"]["learned"]
        assert rare["interval"] is None
    versus = table["rows"][1]["versus"]
    assert versus["labels"] == 2
    assert versus["patients"] is None or versus["patients"]["labels"] == 2


def test_the_round_of_stage_2_is_said_of_every_seed(finished: Path) -> None:
    plain, two_stages = read_comparison(finished / "_comparisons" / "two")["rows"]
    assert plain["rounds"] is None
    chosen = []
    for run in sorted({path.parent.parent for path in finished.rglob("stage2/checkpoint.safetensors")}):
        rounds = [json.loads(line) for line in (run / "stage2" / "log.jsonl").read_text().splitlines()]
        ends = [line for line in rounds if line["ends_round"]]
        chosen.append(max(ends, key=lambda line: line["val_auroc"])["round"])
    assert two_stages["rounds"] == chosen
    assert len(chosen) == 2


def test_what_is_shown_says_so(cli, finished: Path, tmp_path: Path, read_page: Callable) -> None:
    run = _run_of(finished, "ldrnet")
    evaluated = cli("evaluate", run).stdout
    assert "Not learned, and outside all means: rare." in evaluated
    assert "Groups: thirds of the labels by training positives." in evaluated
    page = read_page(ltml.write_report(run, tmp_path / "run.html"))
    line = next(
        line
        for line in page.tables["Every class on test, the most frequent in training first"][1:]
        if line[0] == "rare"
    )
    assert line[1] == "not learned"
    assert "Not learned, and outside all means: rare" in page.text
    tables = ltml.write_report(run, tmp_path / "run.csv", "csv").read_text()
    texts = {(entry["row"], entry["column"]): entry["text"] for entry in csv.DictReader(tables.splitlines())}
    assert texts["rare", "group"] == "not learned"
    folder = finished / "_comparisons" / "two"
    shown = read_page(ltml.write_report(folder, tmp_path / "two.html"))
    ranking = shown.tables["AUC on test, highest first"]
    place = ranking[0].index("round of stage 2")
    rounds = {line[0]: line[place] for line in ranking[1:]}
    assert rounds["bce"] == "–"
    assert rounds["ldrnet"].count(",") == 1
    assert "Not learned by a row and outside all means: rare." in shown.text
    classes = shown.tables["AUC of every class on test, the most frequent in training first"]
    assert classes[-1][0] == "rare (not learned)"
    markdown = ltml.write_report(folder, tmp_path / "two.md", "md").read_text()
    assert "rare (not learned)" in markdown
