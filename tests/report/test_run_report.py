"""Reports on runs: every number is one that was saved, and what is missing is said."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fixtures.copies import copy_to_edit
from scipy.stats import norm

import ltml
from ltml.errors import InputError
from ltml.gaussians.resampler import GaussianResampler
from ltml.metrics.predictions import Predictions
from ltml.models.heads.ml_gcn import GraphClassifier
from ltml.report.curves import reliability
from ltml.report.run.figures import class_weights
from ltml.report.run.gaussians import project_real, project_virtual
from ltml.stages.features import load_features
from ltml.stages.run_directory import read_run
from ltml.training.checkpoint import load_weights

CLASSES = "Every class on test, the most frequent in training first"
PER_CLASS = {"AUC": "auroc", "AP": "ap", "F1": "f1"}
CALIBRATED = {"mACC": "macc", "balanced ACC": "balanced_accuracy", "kappa": "kappa", "F1": "f1"}
CALIBRATED |= {"Brier (lower is better)": "brier", "adaptive ECE (lower is better)": "adaptive_ece"}


@pytest.fixture(scope="module")
def page(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ltml.write_report(tiny_run, tmp_path_factory.mktemp("page") / "page.html")


def _metrics(run: Path) -> list[dict]:
    return [json.loads((run / stage / "metrics.json").read_text()) for stage in ("stage1", "stage2")]


def test_means_are_those_of_both_stages(page: Path, tiny_run: Path, read_page: Callable) -> None:
    shown, (before, after) = read_page(page), _metrics(tiny_run)
    lines = {line[0]: line[1:] for line in shown.tables["Means over classes on test"][1:]}
    for name, measure in {"AUC": "auroc", "mAP": "ap", "F1": "f1", "kappa": "kappa"}.items():
        old, new = before["macro"][measure], after["macro"][measure]
        assert lines[name][:2] == [f"{old:.3f}", f"{new:.3f}"]
        values = next(v for line, v in zip(*_both(shown, "Means over classes on test"), strict=True) if line[0] == name)
        assert [float(value) for value in values] == pytest.approx([old, new, 100 * (new - old), 10])
    assert "Means over classes on test_natural" in shown.tables
    auc = f"mean AUC from {before['macro']['auroc']:.3f} to {after['macro']['auroc']:.3f}"
    assert auc in shown.text


def test_classes_and_groups_are_those_of_the_metrics(page: Path, tiny_run: Path, read_page: Callable) -> None:
    shown, stages = read_page(page), _metrics(tiny_run)
    for caption, rows in (
        (
            "Every class on test, the most frequent in training first",
            {r["label"]: i for i, r in enumerate(stages[0]["per_class"])},
        ),
        ("Means over groups of classes on test", {name: name for name in stages[0]["groups"]}),
    ):
        lines, values = _both(shown, caption)
        assert {line[0] for line in lines} == set(rows)
        for line, numbers in zip(lines, values, strict=True):
            place = rows[line[0]]
            own = [m["per_class"][place] if isinstance(place, int) else m["groups"][place] for m in stages]
            expected = [v for m in PER_CLASS.values() for v in (own[0][m], own[1][m], 100 * (own[1][m] - own[0][m]))]
            scores = numbers[2:11] if isinstance(place, int) else numbers[1:]
            assert [float(number) for number in scores] == pytest.approx(expected)
            if isinstance(place, int):
                assert [int(number) for number in numbers[:2]] == [own[0]["train_pos"], own[0]["n_pos"]]


def test_intervals_of_classes_are_those_of_evaluate(page: Path, tiny_run: Path, read_page: Callable) -> None:
    ci = ltml.evaluate(tiny_run, ci=True).splits["test"]["stage2"]["ci"]
    shown = read_page(page)
    header, *lines = shown.tables[CLASSES]
    assert header[-2:] == ["AUC 95 %", "AP 95 %"]
    found = {row["label"]: row for row in ci["per_class"]}
    for line in lines:
        for text, measure in zip(line[-2:], ("auroc", "ap"), strict=True):
            ends = [f"{end:.3f}" for end in found[line[0]][measure] or ()]
            assert text == (" to ".join(ends) or "–")
    assert f"95 %: interval of stage 2 over 1000 resamples of {ci['groups']} patients" in shown.text


def test_every_part_is_there(page: Path, tiny_run: Path, read_page: Callable) -> None:
    shown, text = read_page(page), page.read_text()
    titles = re.findall(r'<section id="(\w+)"', text)
    assert titles == [
        "summary",
        "classes",
        "groups",
        "labels",
        "curves",
        "calibration",
        "training",
        "norms",
        "gaussians",
        "relations",
        "origin",
    ]
    how = f"`ltml calibrate {tiny_run}` fits them on val."
    assert f"Temperature and thresholds have not been fitted; {how}" in shown.text
    assert "Not in this report" not in shown.text
    assert text.count("<title>ROC curve of ") == text.count("<title>Precision-recall curve of ") == 10
    assert text.count("<title>Gaussians of ") == 10
    assert len(page.read_bytes()) < 500_000
    assert "Band of stage 2: 95% at each point, over 200 resamples of patients" in shown.text
    for field in ("imbalance_ratio: 10.0", "text:  # text encoder"):
        assert field.split("  #")[0] in shown.text


def test_what_occurs_together_is_counted_from_the_predictions(page: Path, tiny_run: Path) -> None:
    frame = pd.read_csv(tiny_run / "stage2" / "predictions_test.csv")
    ones = frame[frame["target:zero"] == 1]
    share = 100 * ones["target:one"].mean()
    assert f"<title>zero, one: {share:.1f} %</title>" in page.read_text()


def test_norms_are_those_of_the_checkpoints(page: Path, tiny_run: Path) -> None:
    run, _ = read_run(tiny_run)
    for stage, path in ((1, run.checkpoint1), (2, run.checkpoint2)):
        weights, about = load_weights(path)
        length = float(np.linalg.norm(weights["head.classifier.weight"].double().numpy()[0]))
        assert f"<title>{about['label_names'][0]}, after stage {stage}: {length:.3g}</title>" in page.read_text()


def test_curves_say_the_area_of_the_metrics(page: Path, tiny_run: Path) -> None:
    before, after = _metrics(tiny_run)
    for old, new in zip(before["per_class"], after["per_class"], strict=True):
        for measure in ("auroc", "ap"):
            assert f"<bdi>{old['label']}</bdi> <span>{old[measure]:.3f} → {new[measure]:.3f}</span>" in page.read_text()


def test_the_adapter_has_the_weights_that_its_queries_make(finished: Path) -> None:
    folder = next(finished.glob("digits_tiny/label_adapter*/seed0"))
    run, _ = read_run(folder)
    weights, _ = load_weights(run.checkpoint1)
    part = "head.classifier."
    expected = weights[f"{part}queries"] @ weights[f"{part}to_weights.weight"].T + weights[f"{part}to_weights.bias"]
    weight, bias = class_weights(weights)
    torch.testing.assert_close(weight.float(), expected)
    assert not bias.any()
    assert class_weights({"head.classifier.controller.weight": expected}) is None


def test_the_graph_has_the_weights_that_its_convolutions_make() -> None:
    classifier = GraphClassifier(None, torch.rand(3, 3), 4, 5)
    features = torch.randn(2, 5)
    state = {f"head.classifier.{name}": value for name, value in classifier.state_dict().items()}
    weight, bias = class_weights(state)
    torch.testing.assert_close((features.double() @ weight.T + bias).float(), classifier(features).detach())


@pytest.mark.parametrize("options", [(), ("--per-class",), ("--stage", 1)])
def test_what_calibration_fitted_and_changed_is_shown(
    cli, tiny_run: Path, tmp_path: Path, read_page: Callable, options: tuple
) -> None:
    copy_to_edit(tiny_run.parents[1], tmp_path / "runs")
    folder = tmp_path / "runs" / tiny_run.relative_to(tiny_run.parents[1])
    found = json.loads(cli("calibrate", folder, *options, "--json").stdout)
    shown, stage = read_page(ltml.write_report(folder)), found["stage"]
    assert "Left out" not in shown.text
    for split, scores in found["splits"].items():
        lines, values = _both(shown, f"Stage {stage} before and after calibration on {split}")
        for line, numbers in zip(lines, values, strict=True):
            old, new = (scores[when]["macro"][CALIBRATED[line[0]]] for when in ("before", "after"))
            assert line[1:3] == [f"{old:.3f}", f"{new:.3f}"]
            assert [float(number) for number in numbers] == pytest.approx([old, new, 100 * (new - old), 10])
        assert [line[0] for line in lines] == list(CALIBRATED)
    lines, values = _both(shown, f"Temperature and threshold of every class after stage {stage}, fitted on val")
    entries = {entry["label"]: entry for entry in found["labels"]}
    assert {line[0] for line in lines} == set(entries)
    for line, numbers in zip(lines, values, strict=True):
        expected = [entries[line[0]][key] for key in ("n_pos", "n_known", "temperature", "threshold")]
        assert [float(number) for number in numbers] == pytest.approx(expected)
    answers = Predictions.read(read_run(folder)[0].predictions(stage, "test"))
    inverse = 1 / np.array([entry["temperature"] for entry in found["labels"]])
    present, absent = answers.probs**inverse, (1 - answers.probs) ** inverse
    scaled = present / (present + absent)
    error = reliability(scaled, answers.targets).error
    assert f"stage {stage} with temperature {error:.3f}." in shown.text
    table = ltml.write_report(folder, tmp_path / "t.md", "md").read_text()
    assert f"**Stage {stage} before and after calibration on test\\_natural**" in table


def test_a_calibration_that_does_not_fit_is_refused(cli, tiny_run: Path, tmp_path: Path) -> None:
    copy_to_edit(tiny_run.parents[1], tmp_path / "runs")
    folder = tmp_path / "runs" / tiny_run.relative_to(tiny_run.parents[1])
    assert cli("calibrate", folder).exit_code == 0
    path = folder / "stage2" / "calibration.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"labels": content["labels"][1:]}))
    with pytest.raises(InputError, match=r"are not those of the predictions; run `ltml calibrate .*` again"):
        ltml.write_report(folder)
    path.write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*calibration.json: .*; run `ltml calibrate .*` again"):
        ltml.write_report(folder)


def test_projected_features_are_logits(finished: Path) -> None:
    folder = next(finished.glob("digits_tiny/bce_gaussian*/seed0"))
    run, _ = read_run(folder)
    weight, bias = class_weights(load_weights(run.checkpoint1)[0])
    logits, targets = project_real(run, weight, bias)
    store = load_features(run.features, "train")
    expected = torch.tensor(store.features).double() @ weight.T + bias
    np.testing.assert_allclose(logits, expected.numpy())
    np.testing.assert_array_equal(targets, store.masked_targets())


def test_virtual_logits_come_from_the_projected_gaussians() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, size=(400, 2)).astype(float)
    features = rng.normal(size=(400, 3)) + targets[:, :1]
    resampler = GaussianResampler(prior="uniform").fit(features, targets)
    weight, bias = torch.from_numpy(rng.normal(size=(2, 3))), torch.tensor([0.5, -1.0]).double()
    logits, drawn = project_virtual(resampler, weight, bias, count=4000)
    again, _ = project_virtual(resampler, weight, bias, count=600)
    np.testing.assert_allclose(again, logits[:600], atol=1e-5)
    for c in range(2):
        for label, gaussian in enumerate(resampler.gaussians_[c]):
            values = logits[drawn[:, c] == label, c]
            mean = float(weight[c] @ gaussian.mean + bias[c])
            deviation = float(weight[c] @ gaussian.covariance() @ weight[c]) ** 0.5
            assert np.mean(values) == pytest.approx(mean, abs=4 * deviation / len(values) ** 0.5)
            low = np.mean(values < norm.ppf(0.25, mean, deviation))
            assert low == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / len(values)) ** 0.5)


def test_a_run_without_stage2_says_what_it_lacks(finished: Path, tmp_path: Path, read_page: Callable) -> None:
    folder = next(finished.glob("digits_tiny/bce+*/seed0"))
    shown = read_page(ltml.write_report(folder, tmp_path / "bce.html"))
    assert "Scores are those of stage 1: the method has no stage 2." in shown.text
    left_out = re.findall("Not in this report: (.*)", shown.text)[0]
    assert left_out.startswith("Classifier weights (the method has no stage 2); Gaussians (the method has no stage 2)")
    assert not {"norms", "gaussians"} & {about["id"] for tag, about in shown.tags if tag == "section"}
    assert "No log of stage 2: the method has no stage 2." in shown.text
    assert shown.tables[CLASSES][0][-5:] == ["AUC", "AP", "F1", "AUC 95 %", "AP 95 %"]


def test_a_run_on_features_says_what_it_lacks(
    evil_run: Path, evil_names: tuple[str, ...], tmp_path: Path, read_page: Callable
) -> None:
    shown = read_page(ltml.write_report(evil_run, tmp_path / "evil.html"))
    assert "Stage 1 has no log" in shown.text
    assert "left out, for the features are not kept in the run" in shown.text
    assert f"Without a curve, for want of known positives or negatives: {evil_names[5]}." in shown.text
    tags = [tag for tag, _ in shown.tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert not [name for _, about in shown.tags for name in about if name.startswith("on")]
    for name in evil_names:
        assert name in shown.text
    assert "the run uses feature files" in shown.text
    undefined = {line[0]: line for line in shown.tables[CLASSES][1:]}
    assert undefined[evil_names[5]][4:7] == ["–", "–", "–"]


def test_parts_that_were_removed_are_left_out(tiny_run: Path, tmp_path: Path, read_page: Callable) -> None:
    copy_to_edit(tiny_run.parents[1], tmp_path / "runs")
    folder = tmp_path / "runs" / tiny_run.relative_to(tiny_run.parents[1])
    run, _ = read_run(folder)
    for path in [*run.shared.glob("predictions_*"), *(folder / "stage2").glob("predictions_*")]:
        path.unlink()
    shutil.rmtree(run.features)
    shown = read_page(ltml.write_report(folder))
    assert shown.text.count("the predictions of test do not exist") == 3
    assert "features are not kept" in shown.text
    assert "No relations by mean features: no features are stored" in shown.text
    assert (folder / "report.html").is_file()
    assert not list(folder.glob(".report*"))


def test_many_rows_and_classes_make_a_modest_page(tiny_run: Path, tmp_path: Path) -> None:
    copy_to_edit(tiny_run.parents[1], tmp_path / "runs")
    folder = tmp_path / "runs" / tiny_run.relative_to(tiny_run.parents[1])
    run, _ = read_run(folder)
    rng, rows = np.random.default_rng(0), 25_000
    for path in (run.predictions(1, "test"), run.predictions(2, "test")):
        names = Predictions.read(path).label_names
        targets = (rng.random((rows, len(names))) < 0.1).astype(float)
        probs = 1 / (1 + np.exp(-rng.normal(targets - 2)))
        ids = [str(row) for row in range(rows)]
        Predictions(names, ids, ids, probs, targets).to_frame().to_csv(path, index=False)
    split = pd.read_csv(folder / "split.csv", dtype=str)
    test = pd.DataFrame({"id": ids, "split": "test"})
    pd.concat([split[split["split"] != "test"], test]).to_csv(folder / "split.csv", index=False)
    size = ltml.write_report(folder).stat().st_size
    assert size * 14 / 10 < 3_000_000  # of 14 classes


def test_what_is_no_finished_run_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "seed0")
    for stage in ("stage1", "stage2"):
        for path in (tmp_path / "seed0" / stage).glob("metrics*"):
            path.unlink()
    with pytest.raises(InputError, match="has no scores yet; finish it with `ltml run`"):
        ltml.write_report(tmp_path / "seed0")
    with pytest.raises(InputError, match="neither a run"):
        ltml.write_report(tmp_path / "nothing")


def test_the_command_says_where_the_file_is(cli, tiny_run: Path, tmp_path: Path) -> None:
    result = cli("report", tiny_run, "--out", tmp_path / "deep" / "page.html")
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "deep" / "page.html"))
    before = (tmp_path / "deep" / "page.html").read_bytes()
    again = cli("report", tiny_run, "--out", tmp_path / "deep" / "page.html", "--json")
    assert json.loads(again.stdout) == {"report": str(tmp_path / "deep" / "page.html"), "format": "html"}
    assert (tmp_path / "deep" / "page.html").read_bytes() == before
    for kind in ("md", "latex", "csv"):
        ending = {"md": "md", "latex": "tex", "csv": "csv"}[kind]
        assert cli("report", tiny_run, "--format", kind, "--out", tmp_path / f"t.{ending}").exit_code == 0
        assert "nine" in (tmp_path / f"t.{ending}").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "pdf"], "--format pdf: Allowed: html, md, latex, csv"),
        (["--out", "table.tex"], "its name must end in .html, or add --format latex"),
        (["--out", "report"], "its name must end in .html\n"),
        (["--format", "csv", "--out", "x.html"], "its name must end in .csv, or add --format html"),
    ],
)
def test_wrong_options_are_explained(cli, tiny_run: Path, options: list[str], message: str) -> None:
    result = cli("report", tiny_run, *options)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def _both(shown, caption: str) -> tuple[list[list[str]], list[list[str]]]:
    """Texts and values of a table's lines."""
    return shown.tables[caption][1:], shown.values[caption][1:]
