"""Uncertainty over patients of a grid, against its definition on the predictions that the runs have saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

import ltml
from ltml.checksums import DamagedFileError
from ltml.comparison.across import rank_over_data
from ltml.comparison.patients import warn_of_resamples
from ltml.comparison.plan import plan_comparison
from ltml.comparison.statistics import holm
from ltml.errors import InputError
from ltml.metrics.bootstrap import draw_weights
from ltml.report.comparison.data import Comparison
from ltml.report.comparison.patients import interval_classes_in_words, patients_table

RESAMPLES, SEED, ROWS = 120, 3, 50
FIELDS = ["train.epochs=1", "data.train_size=120", "data.val_size=60", f"data.test_size={ROWS}"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    plan = plan_comparison(
        ["digits_tiny"], methods=["bce", "bce_gaussian", "label_adapter"], seeds="0..1", overrides=FIELDS
    )
    return ltml.compare(plan, tmp_path_factory.mktemp("runs"), resamples=RESAMPLES, seed=SEED)


def _files(result: dict, row: str) -> list[pd.DataFrame]:
    """Predictions of a row's runs in the order of their groups, which is what resamples are numbered by."""
    runs = [Path(cell["run"]) for cell in result["cells"] if cell["row"] == row]
    runs = [run / ("stage2" if row == "bce_gaussian" else _stage1(run)) for run in runs]
    return [pd.read_csv(run / "predictions_test.csv", dtype={"group": str}).sort_values("group") for run in runs]


def _stage1(run: Path) -> str:
    text = (run / "recipe.yaml").read_text()
    return next(line.partition(": ")[2] for line in text.splitlines() if line.startswith("stage1: "))


def _labels(result: dict) -> list[str]:
    return list(result["rows"][0]["per_label"])


def _slow_resamples(result: dict, row: str) -> np.ndarray:
    """AUC per resample and class by scikit-learn with weights, averaged over seeds: ``(R, C)``."""
    files = _files(result, row)
    rng, values = np.random.default_rng(SEED), []
    # Resamples are drawn sixteen at a time; the generator runs on from part to part.
    parts = [draw_weights(rng, len(files[0]), min(16, RESAMPLES - start)) for start in range(0, RESAMPLES, 16)]
    for weights in np.concatenate(parts, axis=1).T:
        values.append([np.mean([_weighted_auc(file, label, weights) for file in files]) for label in _labels(result)])
    return np.array(values)


def _weighted_auc(file: pd.DataFrame, label: str, weights: np.ndarray) -> float:
    drawn = weights > 0
    targets = file[f"target:{label}"].to_numpy()[drawn]
    if len(set(targets)) < 2:
        return float("nan")
    return float(roc_auc_score(targets, file[f"prob:{label}"].to_numpy()[drawn], sample_weight=weights[drawn]))


def _enough(result: dict) -> list[str]:
    """Classes with ten known positives and negatives."""
    positives = _files(result, "bce")[0].filter(like="target:").sum()
    return [label for label in _labels(result) if 10 <= positives[f"target:{label}"] <= ROWS - 10]


def test_intervals_and_differences_are_those_of_weighted_scikit_learn(result: dict) -> None:
    slow = {row["row"]: _slow_resamples(result, row["row"]) for row in result["rows"]}
    enough = _enough(result)
    assert 0 < len(enough) < 10
    places = [_labels(result).index(label) for label in enough]
    p_values = []
    for row in result["rows"]:
        mean = slow[row["row"]][:, places].mean(axis=1)
        assert row["interval"] == pytest.approx(np.quantile(mean, [0.025, 0.975]), abs=1e-12)
        assert row["interval_labels"] == enough
        plain = np.mean([row["per_label"][label]["mean"] for label in enough])
        assert row["interval_mean"] == pytest.approx(plain, abs=1e-12)
        if row["versus"] is None:
            continue
        gaps = mean - slow["bce"][:, places].mean(axis=1)
        found = row["versus"]["patients"]
        assert found["interval"] == pytest.approx(np.quantile(gaps, [0.025, 0.975]), abs=1e-12)
        assert found["difference"] == pytest.approx(plain - result["rows"][0]["interval_mean"], abs=1e-12)
        assert (found["n"], found["labels"]) == (RESAMPLES, len(enough))
        p_values.append(min(1.0, 2 * (min((gaps <= 0).sum(), (gaps >= 0).sum()) + 1) / (RESAMPLES + 1)))
        assert found["p"] == pytest.approx(p_values[-1])
    adjusted = [row["versus"]["patients"]["p_holm"] for row in result["rows"] if row["versus"]]
    assert adjusted == pytest.approx(holm(p_values))
    for number, label in zip(places, enough, strict=True):
        wanted = np.nanquantile(slow["label_adapter"][:, number], [0.025, 0.975])
        assert result["rows"][2]["per_label"][label]["interval"] == pytest.approx(wanted, abs=1e-12)


def test_delong_of_means_over_seeds_is_its_definition_over_all_pairs(result: dict) -> None:
    for label in _labels(result):
        kernels = []
        for row in ("label_adapter", "bce"):
            of_seeds = []
            for file in _files(result, row):
                scores, targets = file[f"prob:{label}"].to_numpy(), file[f"target:{label}"].to_numpy()
                gaps = scores[targets == 1][:, None] - scores[targets == 0][None, :]
                of_seeds.append((gaps > 0) + 0.5 * (gaps == 0))
            kernels.append(np.mean(of_seeds, axis=0))
        gap = kernels[0] - kernels[1]
        n_pos, n_neg = gap.shape
        error = np.var(gap.mean(axis=1), ddof=1) / n_pos + np.var(gap.mean(axis=0), ddof=1) / n_neg
        z = gap.mean() / np.sqrt(error)
        found = result["rows"][2]["per_label"][label]["versus"]
        assert found["mean"] == pytest.approx(gap.mean())
        if n_pos < 10:  # noise would be called a difference too often
            assert found["delong"] is None
            continue
        assert found["delong"]["z"] == pytest.approx(z)
        assert found["delong"]["p"] == pytest.approx(2 * norm.sf(abs(z)))
    family = [row["per_label"][label]["versus"]["delong"] for row in result["rows"][1:] for label in row["per_label"]]
    family = [entry for entry in family if entry is not None]
    assert [entry["p_holm"] for entry in family] == pytest.approx(holm([entry["p"] for entry in family]))


def test_groups_are_compared_too(result: dict) -> None:
    groups = result["groups"]["digits_tiny"]
    assert list(groups) == ["head", "medium", "tail"]
    family = []
    for row in result["rows"]:
        for name, group in groups.items():
            means = np.mean([row["per_label"][label]["values"] for label in group["labels"]], axis=0)
            assert row["groups"][name]["values"] == pytest.approx(means)
            if row["versus"] is not None:
                reference = np.array(result["rows"][0]["groups"][name]["values"])
                assert row["groups"][name]["versus"]["mean"] == pytest.approx((means - reference).mean())
                family.append(row["groups"][name]["versus"])
    assert [entry["p_holm"] for entry in family] == pytest.approx(holm([entry["p"] for entry in family]))


def test_tables_name_the_classes_outside_the_intervals(result: dict) -> None:
    few = [label for label in _labels(result) if label not in _enough(result)]
    table = patients_table(Comparison(Path(), result, pd.DataFrame(), {}, {}), "digits_tiny")
    assert table is not None
    text = table.explanation()
    assert f"at least 10 known positives and negatives, so without {', '.join(few)}, in the resamples" in text
    page = interval_classes_in_words([row | {"interval_labels": list(row["per_label"])} for row in result["rows"]])
    assert page == ""


def test_what_was_resampled_is_told_and_rare_classes_are_warned_of(result: dict) -> None:
    assert result["patients"] == {"digits_tiny": {"rows": ROWS, "groups": ROWS, "resamples": RESAMPLES, "seed": SEED}}
    positives = _files(result, "bce")[0].filter(like="target:").sum()
    few = [label for label in _labels(result) if positives[f"target:{label}"] < 10]
    texts = [text for text in result["warnings"] if text.startswith("digits_tiny: fewer than 10 known positives")]
    assert bool(texts) == bool(few)
    assert all(label in texts[0] for label in few)
    for row in result["rows"]:
        assert {label for label, entry in row["per_label"].items() if entry["interval"] is None} == set(few)
    assert json.dumps(result, allow_nan=False)


def test_too_few_resamples_are_warned_of() -> None:
    assert warn_of_resamples(1000, 24) == []
    assert "1000 resamples cannot give an adjusted p below 0.052 for 26 comparisons" in warn_of_resamples(1000, 26)[0]


def _rows(table: list[list[float | None]]) -> list[dict]:
    """Rows of one class and one seed."""
    return [_row(i, j, {"cat": mean}) for i, line in enumerate(table) for j, mean in enumerate(line)]


def _row(data: int, row: int, means: dict[str, float | None], *, seeds: tuple[int, ...] = (0,)) -> dict:
    defined = [mean for mean in means.values() if mean is not None]
    per_label = {label: {"mean": mean} for label, mean in means.items()}
    about = {"data": f"data{data}", "row": f"row{row}", "seeds": list(seeds), "labels": len(defined)}
    return about | {"mean": float(np.mean(defined)) if defined else None, "per_label": per_label}


def test_ranks_over_six_data_are_those_by_hand() -> None:
    table = [[0.763, 0.768, 0.771], [0.599, 0.591, 0.590], [0.954, 0.971, 0.968], [0.628, 0.661, 0.654]]
    table += [[0.882, 0.888, 0.886], [0.936, 0.931, 0.916]]
    found, warnings = rank_over_data(_rows(table), [0])
    assert warnings == []
    assert found is not None
    assert found["ranks"] == pytest.approx([14 / 6, 9 / 6, 13 / 6])
    # chi-squared = 12 N / (k (k + 1)) * (sum of squared mean ranks - k (k + 1)^2 / 4), 2 degrees of freedom
    statistic = 12 * 6 / 12 * ((14 / 6) ** 2 + (9 / 6) ** 2 + (13 / 6) ** 2 - 12)
    assert found["p"] == pytest.approx(np.exp(-statistic / 2))
    assert found["critical_difference"] == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 6)), abs=1e-3)


def test_what_few_data_do_not_allow_is_said() -> None:
    few, warnings = rank_over_data(_rows([[0.7, 0.8, 0.9], [0.6, 0.5, 0.9]]), [0])
    assert few is not None
    assert (few["ranks"], few["test"], few["p"]) == ([2.5, 2.5, 1.0], None, None)
    assert warnings == ["ranks over 2 data are not tested: Friedman's test takes at least 5"]
    two, warnings = rank_over_data(_rows([[0.7, 0.8], [0.6, 0.9], [0.5, 0.6]]), [0])
    assert two is not None
    assert (two["test"], two["p"]) == ("wilcoxon", 0.25)
    assert "3 pair(s) that differ cannot reach p < 0.05" in warnings[0]
    assert rank_over_data(_rows([[0.7, 0.8]]), [0]) == (None, [])


def test_rows_that_lack_a_score_are_left_out_of_ranks_and_named() -> None:
    five = _rows([[0.7, 0.8, 0.6], [0.6, 0.9, 0.7], [0.5, 0.6, 0.4], [0.5, 0.6, 0.7], [0.5, 0.6, None]])
    found, warnings = rank_over_data(five, [0])
    assert found is not None
    assert (found["rows"], found["test"]) == (["row0", "row1"], "wilcoxon")
    assert warnings[0] == "ranks leave out row2: not every seed of it has a score on data4"
    found, warnings = rank_over_data(_rows([[0.7, 0.8], [0.7, 0.6]]), [0, 1])
    assert found is None
    assert [text.partition(":")[0] for text in warnings] == ["ranks leave out row0", "ranks leave out row1"]


def test_rows_are_ranked_over_the_classes_that_all_know() -> None:
    rows = []
    for data in range(5):
        rows += [_row(data, 0, {"easy": 0.95, "hard": 0.6}), _row(data, 1, {"easy": 0.9}), _row(data, 2, {"easy": 0.5})]
    found, warnings = rank_over_data(rows, [0])
    assert found is not None
    assert found["ranks"] == [1.0, 2.0, 3.0]
    assert warnings[0] == "data0: ranks are over the 1 classes that all rows know"
    none, warnings = rank_over_data([*rows, *(_row(data, 3, {"other": 0.9}) for data in range(5))], [0])
    assert none is None
    assert "there is no class that all rows know" in warnings[-1]


@pytest.fixture
def small(image_table, tmp_path: Path) -> tuple[Path, list[str]]:
    """A CSV of images and what makes a quick comparison of it."""
    file = image_table()
    return file, [f"data.file={file}", "train.epochs=1", "data.image_size=16", f"data.root={file.parent}"]


def _compare(fields: list[str], out: Path, **more: object) -> dict:
    plan = plan_comparison(["csv_small"], methods=["bce", "asl"], seeds="0", overrides=fields)
    return ltml.compare(plan, out, **more)


def test_one_patient_alone_is_no_reason_to_lose_the_tables(small: tuple[Path, list[str]], tmp_path: Path) -> None:
    file, fields = small
    table = pd.read_csv(file, dtype=str)
    table["split"] = ["train", "val", "test"] * (len(table) // 3) + ["train"] * (len(table) % 3)
    table["group"] = np.where(table["split"] == "test", "one", table.index.astype(str))
    table.to_csv(file, index=False)
    found = _compare(fields, tmp_path / "runs")
    assert [row["interval"] for row in found["rows"]] == [None, None]
    assert found["rows"][1]["versus"]["patients"] is None
    assert any("all rows belong to one group ('one')" in text for text in found["warnings"])
    assert (Path(found["folder"]) / "scores.csv").is_file()


def test_predictions_that_have_changed_are_refused_and_made_again_once_removed(
    small: tuple[Path, list[str]], tmp_path: Path
) -> None:
    found = _compare(small[1], tmp_path / "runs")
    run = Path(found["cells"][1]["run"])
    (run / _stage1(run) / "predictions_test.csv").write_text("id\n")
    with pytest.raises(DamagedFileError, match=r"predictions_test.csv: it has changed .* remove it and run"):
        _compare(small[1], tmp_path / "runs")
    (run / _stage1(run) / "predictions_test.csv").unlink()
    again = _compare(small[1], tmp_path / "runs")
    assert again["rows"] == found["rows"]


def test_resamples_that_make_no_sense_are_refused_before_anything_is_run(
    small: tuple[Path, list[str]], tmp_path: Path
) -> None:
    for wrong in ({"resamples": 0}, {"seed": -1}):
        with pytest.raises(InputError, match="at least 1 resample, and a seed from 0"):
            _compare(small[1], tmp_path / "runs", **wrong)
    assert not (tmp_path / "runs").exists()
