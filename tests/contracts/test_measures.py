"""What every measure keeps; and a measure of one plugin file, compared and reported with no other change."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ltml.errors import InputError
from ltml.metrics.measures import measure_sign, measure_titles
from ltml.recipe.load import load_recipe
from ltml.registry import MEASURES
from ltml.stages.checks import check_recipe
from ltml.stages.run_directory import read_run
from ltml.testing import check_measure

RANGES = {"kappa": (-1.0, 1.0)}
TOY = '''"""A measure of one's own."""

from ltml.metrics.measures import ClassScores, measure
from ltml.registry import MEASURES


@MEASURES.register("miss_rate")
@measure("miss rate", per_class=True, higher_is_better=False)
def miss_rate(scores: ClassScores) -> float:
    """Share of positives that are missed."""
    counts = scores.outcomes
    return counts.fn / (counts.fn + counts.tp) if counts.fn + counts.tp else float("nan")
'''
SMALL = ("data.train_size=64", "data.val_size=64", "data.test_size=64", "train.epochs=1", "stage2.method=none")


@pytest.mark.parametrize("name", MEASURES.names())
def test_every_measure_keeps_the_contract(name: str) -> None:
    low, high = RANGES.get(name, (0.0, 1.0))
    check_measure(MEASURES.get(name), low=low, high=high)
    assert MEASURES.summary(name).endswith(".")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_toy_measure.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_toy_measure"
    _forget()


def _forget() -> None:
    MEASURES._components.pop("miss_rate", None)
    sys.modules.pop("my_toy_measure", None)


def _missed(run: str) -> float:
    """Macro share of missed positives on test, straight from the file of predictions."""
    table = pd.read_csv(read_run(Path(run))[0].predictions(1, "test"))
    labels = [name.removeprefix("prob:") for name in table if name.startswith("prob:")]
    rates = []
    for label in labels:
        present, predicted = table[f"target:{label}"] == 1, table[f"prob:{label}"] >= 0.5
        if present.any() and (table[f"target:{label}"] == 0).any():
            rates.append((present & ~predicted).sum() / present.sum())
    return float(np.mean(rates))


def test_a_measure_of_one_plugin_file_is_compared_and_reported(cli, plugin: str, tmp_path: Path) -> None:
    command = ("compare", "digits_tiny", *SMALL, "--methods", "bce,asl", "--seeds", "0", "--out", tmp_path / "runs")
    assert cli(*command, "--name", "plain").exit_code == 0  # the runs are made before the measure exists
    ours = (*command, f"plugins=[{plugin}]", "--measure", "miss_rate", "--name", "ours")
    done = cli(*ours)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "runs" / "_comparisons" / "ours"
    content = json.loads((folder / "comparison.json").read_text())
    for cell, row in zip(content["cells"], content["rows"], strict=True):
        assert row["mean"] == pytest.approx(_missed(cell["run"]))
        assert row["interval"] is None
    run = content["cells"][0]["run"]
    assert cli("report", folder).exit_code == 0
    assert "miss rate" in (folder / "report.html").read_text()
    assert cli("report", run).exit_code == 0
    page = (Path(run) / "report.html").read_text()
    assert "miss rate" in page  # the table of measures has it, and the run made before it a dash
    _forget()
    assert cli("report", folder).exit_code == 0
    assert "miss_rate" in (folder / "report.html").read_text()  # without the plugin, by its name


def test_a_plugin_measure_has_its_place_title_and_direction(plugin: str) -> None:
    assert measure_titles(["auroc", "gone"])["gone"] == "gone"
    assert list(measure_titles())[:2] == ["auroc", "ap"]
    __import__(plugin)
    assert list(measure_titles())[-1] == "miss_rate"
    assert measure_titles(per_class=True)["miss_rate"] == "miss rate"
    assert (measure_sign("miss_rate"), measure_sign("auroc")) == (-1, 1)
    with pytest.raises(InputError, match=r"train.select=miss_rate: lower is better"):
        check_recipe(load_recipe("digits_tiny", ["train.select=miss_rate"]))


def test_a_checkpoint_is_chosen_by_a_measure_that_exists() -> None:
    check_recipe(load_recipe("digits_tiny", ["train.select=f1"]))
    with pytest.raises(InputError, match=r"train.select=auc is no measure: did you mean 'auroc'"):
        check_recipe(load_recipe("digits_tiny", ["train.select=auc"]))
