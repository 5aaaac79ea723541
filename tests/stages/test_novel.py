from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures.datasets import odir5k
from sklearn.metrics import roc_auc_score

from ltml.recipe.load import load_recipe
from ltml.stages.build import build_dataset

HELD = ("data.novel=[zero, seven]", "train.epochs=1", "stage2.rounds=0")


@pytest.fixture(scope="module")
def run_dir(cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("novel")
    result = cli("run", "digits_tiny", *HELD, "--out", out)
    assert result.exit_code == 0, result.output
    return next(out.rglob("seed0"))


def test_held_out_labels_are_no_classes_and_not_in_train_or_val() -> None:
    plain, held = build_dataset(load_recipe("digits_tiny")), build_dataset(load_recipe("digits_tiny", HELD))
    assert held.label_names == tuple(name for name in plain.label_names if name not in ("zero", "seven"))
    shows = dict(zip(plain.table["id"], plain.targets[:, [0, 7]].any(axis=1), strict=True))
    for split in ("train", "val"):
        expected = [name for name in plain.ids(split) if not shows[name]]
        assert held.ids(split).tolist() == expected
    assert held.ids("test").tolist() == plain.ids("test").tolist()
    places = {name: row for row, name in enumerate(plain.table["id"])}
    rows = [places[name] for name in held.table["id"]]
    np.testing.assert_array_equal(held.novel["zero"], plain.targets[rows, 0])
    np.testing.assert_array_equal(held.targets[:, 0], plain.targets[rows, 1])
    np.testing.assert_array_equal(held.images.read(5), plain.images.read(rows[5]))


def test_the_score_is_one_minus_the_highest_answer(cli, run_dir: Path) -> None:
    found = json.loads(cli("evaluate", run_dir, "--novel", "zero", "--json").stdout)
    assert set(found["splits"]) == {"test", "test_natural"}
    table = pd.read_csv(run_dir / "stage2" / "predictions_test.csv")
    probs = table[[name for name in table if name.startswith("prob:")]].to_numpy()
    assert probs.shape[1] == 8
    entry = found["splits"]["test"]["stage2"]
    counted = (table["novel:zero"] == 1) | (table["novel:seven"] == 0)
    expected = roc_auc_score(table["novel:zero"][counted], 1 - probs.max(axis=1)[counted])
    assert entry["auroc"] == pytest.approx(expected)
    assert entry["n_novel"] == int((table["novel:zero"] == 1).sum()) > 0
    assert entry["n_novel"] + entry["n_seen"] == counted.sum() < len(table)
    assert "zero, test, stage1: AUC" in cli("evaluate", run_dir, "--novel", "zero").stdout


def test_units_keep_what_is_known_of_the_held_out_label(tmp_path: Path) -> None:
    root = odir5k.build(tmp_path)
    dataset = build_dataset(load_recipe("odir5k", [f"data.root={root}", "data.novel=[C]", "metrics.groups={}"]))
    assert dataset.units is not None
    assert len(dataset.novel["C"]) == len(dataset.units.ids)
    assert dataset.units.codes.shape[1] == len(dataset.label_names) == 7


def test_wrong_labels_are_named(cli, run_dir: Path, tmp_path: Path) -> None:
    result = cli("evaluate", run_dir, "--novel", "one")
    assert result.exit_code == 2
    assert "did not hold out 'one' (held out: zero, seven)" in result.stderr
    for value, words in (
        ("[zeero]", "did you mean 'zero'"),
        ("[zero, one, two, three, four, five, six, seven, eight, nine]", "every label"),
    ):
        result = cli("run", "digits_tiny", f"data.novel={value}", "--out", tmp_path)
        assert result.exit_code == 2
        assert words in result.stderr
