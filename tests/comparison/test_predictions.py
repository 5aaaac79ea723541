"""Methods compared by their prediction files: what the figures are, which files fit, and the commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import ltml
from ltml.comparison.statistics import holm
from ltml.errors import InputError
from ltml.metrics.bootstrap import draw_weights
from ltml.metrics.predictions import Predictions
from ltml.report.tables.predictions import predictions_blocks
from ltml.report.writers.terminal import to_terminal

LABELS = ("common", "rare", "tiny")
ENOUGH = LABELS[:2]
"""Those with ten positives."""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three methods on 400 films of 150 patients: the second knows more of `common`, the third is the first's twin."""
    rng = np.random.default_rng(0)
    targets = (rng.random((400, 3)) < [0.3, 0.08, 0]).astype(float)
    targets[:4, 2] = 1
    targets[rng.random((400, 3)) < 0.05] = np.nan
    targets[:4, 2] = 1
    groups = [f"p{number}" for number in rng.integers(0, 150, 400)]
    shared = np.nan_to_num(targets) + rng.normal(size=(400, 3))
    noise = rng.normal(size=(2, 400, 3)) * [0.5, 0.5, 0]
    scores = {"a": shared + noise[0], "b": shared + noise[1] + 1.2 * np.nan_to_num(targets) * [1, 0, 0]}
    scores["c"] = scores["a"]
    for name, values in scores.items():
        probs = 1 / (1 + np.exp(-values))
        answers = Predictions(LABELS, [f"{i:03d}" for i in range(400)], groups, probs, targets)
        answers.to_frame().to_csv(tmp_path / f"{name}.csv", index=False)
    return [tmp_path / f"{name}.csv" for name in scores]


def _macro(file: Path, rows: np.ndarray, labels: Sequence[str] = LABELS) -> tuple[float, float]:
    """Macro AUROC and AP of some rows and classes by scikit-learn."""
    frame = pd.read_csv(file).iloc[rows]
    values = []
    for label in labels:
        known = frame[frame[f"target:{label}"].notna()]
        truth, answer = known[f"target:{label}"].to_numpy(), known[f"prob:{label}"].to_numpy()
        values.append((roc_auc_score(truth, answer), average_precision_score(truth, answer)))
    area, precision = np.mean(values, axis=0)
    return float(area), float(precision)


def test_figures_are_those_of_a_plain_loop_over_resamples(files: list[Path]) -> None:
    result = ltml.compare_predictions(files[:2], resamples=12, seed=5)
    groups = pd.read_csv(files[0])["group"].to_numpy()
    names, numbers = np.unique(groups, return_inverse=True)
    weights = draw_weights(np.random.default_rng(5), len(names), 12)[numbers].astype(int)
    loop = np.array([[_macro(file, np.repeat(np.arange(400), w), ENOUGH) for w in weights.T] for file in files[:2]])
    first, second = result["methods"]
    assert [first["name"], second["name"], result["reference"]] == ["a", "b", "a"]
    assert (result["rows"], result["groups"], result["resamples"]) == (400, len(names), 12)
    for m, measure in enumerate(("auroc", "ap")):
        for method, values in zip((first, second), loop[:, :, m], strict=True):
            assert method["ci"]["macro"][measure] == pytest.approx(list(np.quantile(values, [0.025, 0.975])))
        gaps = loop[1, :, m] - loop[0, :, m]
        versus = second["versus"][measure]
        assert versus["interval"] == pytest.approx(list(np.quantile(gaps, [0.025, 0.975])))
        assert versus["p"] == pytest.approx(min(1, 2 * (1 + min((gaps <= 0).sum(), (gaps >= 0).sum())) / 13))
        everything = [_macro(file, np.arange(400))[m] for file in files[:2]]
        assert versus["difference"] == pytest.approx(everything[1] - everything[0])
        enough = [_macro(file, np.arange(400), ENOUGH)[m] for file in files[:2]]
        assert [method["ci"]["estimate"][measure] for method in (first, second)] == pytest.approx(enough)
        assert versus["estimate"] == pytest.approx(enough[1] - enough[0])
        assert first["ci"]["classes"] == list(ENOUGH)
    assert first["versus"] is None


def test_a_method_that_knows_more_is_told_from_a_twin(files: list[Path]) -> None:
    result = ltml.compare_predictions(files, ["ours", "more", "twin"], resamples=400)
    _, more, twin = result["methods"]
    assert more["versus"]["auroc"]["p_holm"] < 0.05
    assert (twin["versus"]["ap"]["difference"], twin["versus"]["ap"]["p_holm"]) == (0, 1.0)
    assert [row["label"] for row in more["delong"]] == list(LABELS)
    assert more["delong"][0]["p_holm"] < 0.01 < more["delong"][1]["p_holm"]
    assert [row["p"] for row in twin["delong"]] == [None] * 3
    family = [row["p"] for method in (more, twin) for row in method["delong"]]
    assert [row["p_holm"] for row in more["delong"]] == holm(family)[:3]
    assert [row["reason"] for row in more["ci"]["per_class"]] == [None, None, "n_pos"]
    assert len(result["warnings"]) == 1
    assert "tiny (4)" in result["warnings"][0]
    json.dumps(result, allow_nan=False)


def test_warnings_of_a_test_that_cannot_tell(files: list[Path], tmp_path: Path) -> None:
    for file in files:
        pd.read_csv(file).drop(columns="group").to_csv(file, index=False)
    warnings = ltml.compare_predictions(files, resamples=50)["warnings"]
    assert [text.split()[0] for text in warnings] == ["fewer", "No", "50"]


def test_order_of_rows_and_columns_does_not_matter(files: list[Path]) -> None:
    before = ltml.compare_predictions(files[:2], resamples=20)
    frame = pd.read_csv(files[1], dtype=str).sample(frac=1, random_state=0)
    frame[frame.columns[::-1]].to_csv(files[1], index=False)
    assert ltml.compare_predictions(files[:2], resamples=20) == before


@pytest.mark.parametrize(
    ("column", "value", "parts"),
    [
        ("id", "new", ["the id '007' is in", "a.csv but not in", "same ids"]),
        ("group", "someone", ["group of id '007' is 'someone', but 'p", "same groups"]),
        ("target:rare", "", ["target of id '007', label 'rare' is unknown, but 0 in", "(1 differ)"]),
        ("target:rare", "1", ["target of id '007', label 'rare' is 1, but 0 in"]),
    ],
)
def test_files_that_differ_are_refused(files: list[Path], column: str, value: str, parts: list[str]) -> None:
    frame = pd.read_csv(files[1], dtype=str)
    assert frame.loc[7, "target:rare"] == "0"
    frame.loc[7, column] = value
    frame.to_csv(files[1], index=False)
    with pytest.raises(InputError) as caught:
        ltml.compare_predictions(files, resamples=5)
    assert all(part in str(caught.value) for part in [*parts, "b.csv"])


def test_other_labels_or_more_rows_are_refused(files: list[Path]) -> None:
    frame = pd.read_csv(files[1], dtype=str)
    frame[:-1].to_csv(files[1], index=False)
    with pytest.raises(InputError, match=r"'399' is in .*a\.csv but not in .*b\.csv \(1 such\)"):
        ltml.compare_predictions(files[:2])
    with pytest.raises(InputError, match=r"'399' is in .*a\.csv but not in .*b\.csv"):
        ltml.compare_predictions(files[1::-1])
    frame.drop(columns=["prob:rare", "target:rare"]).to_csv(files[1], index=False)
    with pytest.raises(InputError, match="the label 'rare' is in"):
        ltml.compare_predictions([files[1], files[0]])


def test_compare_as_written_in_the_shell(cli, files: list[Path]) -> None:
    words = ["compare", "--predictions", *files, "--names", "ours,[theirs],twin", "--resamples", 100, "--seed", 1]
    shown = cli(*words)
    assert shown.exit_code == 0, shown.output
    for part in ("mAP in points: 100 resamples of", "[theirs]", "twin against ours", "DeLong"):
        assert part in shown.stdout
    assert "warning: fewer than 10" in shown.stderr
    content = json.loads(cli(*words, "--json").stdout)
    assert max(map(len, to_terminal(predictions_blocks(content), 80).splitlines())) <= 80
    assert content == ltml.compare_predictions(files, ["ours", "[theirs]", "twin"], resamples=100, seed=1)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--predictions", "a.csv"], "1 predictions file(s): at least two"),
        (["--predictions", "a.csv", "b.csv", "--names", "x"], "1 name(s) (x) for 2 files"),
        (["--predictions", "a.csv", "a.csv"], "two methods are called 'a'"),
        (["--predictions", "a.csv", "none.csv"], "there is no such file"),
        (["--predictions", "a.csv", "b.csv", "--seeds", "0..4"], "--seeds is for runs"),
        (["--predictions", "a.csv", "b.csv", "--resamples", "5"], "100"),
        (["digits", "--methods", "bce", "--names", "x"], "--names is for --predictions"),
        ([], "name recipes, an experiment"),
    ],
)
def test_wrong_words_are_refused(cli, files: list[Path], monkeypatch, arguments: list[str], part: str) -> None:
    monkeypatch.chdir(files[0].parent)
    result = cli("compare", *arguments)
    assert result.exit_code == 2
    assert part in result.stderr
    assert result.stdout == ""


def test_evaluate_a_file_with_intervals(cli, files: list[Path]) -> None:
    content = json.loads(cli("evaluate", files[1], "--ci", "--resamples", 100, "--seed", 3, "--json").stdout)
    compared = ltml.compare_predictions(files[:2], resamples=100, seed=3)["methods"][1]
    assert {key: compared["ci"][key] for key in ("macro", "per_class")} == {
        key: content["ci"][key] for key in ("macro", "per_class")
    }
    assert (content["ci"]["seed"], content["ci"]["resamples"]) == (3, 100)
    low, high = content["ci"]["macro"]["auroc"]
    assert low < content["macro"]["auroc"] < high
    shown = cli("evaluate", files[1], "--ci", "--resamples", 100).stdout
    assert "b: 100 resamples of" in shown
    assert f"{content['per_class'][0]['auroc']:.3f}" in shown
    assert "ci" not in json.loads(cli("evaluate", files[1], "--json").stdout)


def test_evaluate_a_run_with_intervals(cli, tiny_run: Path) -> None:
    shown = cli("evaluate", tiny_run, "--ci", "--resamples", 100)
    assert shown.exit_code == 0, shown.output
    for part in ("test, stage 1: 100 resamples", "test, stage 2: 100 resamples", "test_natural, stage 2"):
        assert part in shown.stdout
    content = json.loads(cli("evaluate", tiny_run, "--ci", "--resamples", 100, "--json").stdout)
    assert content["stage1"]["ci"]["macro"].keys() == {"auroc", "ap"}
    saved = json.loads((tiny_run / "stage2" / "metrics.json").read_text())
    assert {key: value for key, value in content["stage2"].items() if key != "ci"} == saved


@pytest.mark.parametrize(
    ("options", "part"),
    [(["--ci", "--novel", "x"], "leave --ci out"), (["--resamples", "200"], "add --ci"), (["--seed", "0"], "add --ci")],
)
def test_evaluate_refuses_options_that_say_nothing(cli, files: list[Path], options: list[str], part: str) -> None:
    result = cli("evaluate", files[0], *options)
    assert result.exit_code == 2
    assert part in result.stderr


def test_one_patient_has_no_intervals(cli, files: list[Path]) -> None:
    pd.read_csv(files[0]).assign(group="only").to_csv(files[0], index=False)
    result = cli("evaluate", files[0], "--ci")
    assert result.exit_code == 2
    assert "all rows belong to one group ('only')" in result.stderr
