"""Values that a sampler proposes: where they lie, that a search is gone through again alike, and what it comes to."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest

from ltml.comparison import search as search_module
from ltml.comparison.compare import rows_of
from ltml.comparison.grid import GridRun, make_grid
from ltml.comparison.plan import Plan
from ltml.comparison.result import read_comparison
from ltml.comparison.search import _trials, plan_search, search
from ltml.comparison.sweep import read_sweep
from ltml.errors import InputError, LtmlError
from ltml.files import write_json
from ltml.stages import pipeline

SETTINGS = ["train.lr=1e-5..1e-1", "stage2.alpha=0.5..2.0", "train.epochs=1..9", "loss.type=bce,asl", "stage2.rounds=0"]
Score = Callable[[dict[str, str]], float | None]


def _proposed(
    out: Path, score: Score, *, count: int, jobs: int = 1, seed: int = 0, settings: Sequence[str] = SETTINGS
) -> list[dict[str, str]]:
    """The values of each trial, where their score is told at once in place of any run's."""

    def done(plan: Plan, _: int) -> list[GridRun]:
        return [GridRun(row, 0, None, out, "done") for row in plan.rows]  # type: ignore[arg-type]

    sweep = read_sweep("digits_tiny", settings, seeds="0", name=None, measure="auroc", oracle=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            search_module, "_means", lambda plan, _: {row.name: score(_values(row.name)) for row in plan.rows}
        )
        return [_values(trial.row.name) for trial in _trials(sweep, count, seed, jobs, out, done)]


def _values(name: str) -> dict[str, str]:
    return dict(part.split("=") for part in name.split())


def _off(values: dict[str, str]) -> float:
    """How far from the best learning rate, in powers of ten."""
    return abs(np.log10(float(values["train.lr"])) + 3.5)


def _peak(values: dict[str, str]) -> float:
    return -_off(values)


def test_values_lie_in_their_space(tmp_path: Path) -> None:
    trials = _proposed(tmp_path, lambda _: 0.5, count=80)
    rates = [float(values["train.lr"]) for values in trials]
    assert min(rates) >= 1e-5
    assert max(rates) <= 1e-1
    decades = Counter(int(np.floor(np.log10(rate))) for rate in rates)
    assert all(decades[power] >= 8 for power in (-5, -4, -3, -2))  # even on a log scale; 72 in the last if not
    assert all(0.5 <= float(values["stage2.alpha"]) <= 2.0 for values in trials)
    epochs = {values["train.epochs"] for values in trials}
    assert epochs <= {str(number) for number in range(1, 10)}
    assert len(epochs) >= 7
    assert {values["loss.type"] for values in trials} == {"bce", "asl"}
    for key in ("train.lr", "stage2.alpha"):
        assert all(f"{float(values[key]):.4g}" == values[key] for values in trials)


def test_an_end_with_more_than_four_digits_is_kept(tmp_path: Path) -> None:
    settings = ["stage2.alpha=1.00001..1.00149"]  # rounded, its values are 1, below it, or 1.001
    assert {values["stage2.alpha"] for values in _proposed(tmp_path, _peak_of_alpha, count=12, settings=settings)} == {
        "1.00001",
        "1.001",
    }


def _peak_of_alpha(values: dict[str, str]) -> float:
    return -float(values["stage2.alpha"])


@pytest.mark.parametrize("jobs", [1, 3])
def test_scores_steer_what_is_proposed(tmp_path: Path, jobs: int) -> None:
    means = []
    for seed in range(5):
        trials = _proposed(tmp_path, _peak, count=40, jobs=jobs, seed=seed)
        means.append([np.mean([_off(values) for values in part]) for part in (trials[:10], trials[20:])])
    first, later = np.mean(means, axis=0)
    assert first > 0.8  # by chance: 1.06
    assert later < 0.75 * first
    blind = _proposed(tmp_path, lambda _: 0.5, count=40, jobs=jobs)
    assert np.mean([_off(values) for values in blind[20:]]) > 0.8


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_search_is_the_same_again_and_a_longer_one_begins_with_it(tmp_path: Path, jobs: int) -> None:
    long = _proposed(tmp_path, _peak, count=25, jobs=jobs)
    assert _proposed(tmp_path, _peak, count=25, jobs=jobs) == long
    for count in (1, 11, 20):
        assert _proposed(tmp_path, _peak, count=count, jobs=jobs) == long[:count]
    assert _proposed(tmp_path, _peak, count=25, jobs=jobs, seed=1)[:3] != long[:3]


def test_other_jobs_make_another_search(tmp_path: Path) -> None:
    long = _proposed(tmp_path, _peak, count=25)
    sweep = read_sweep("digits_tiny", SETTINGS, seeds="0", name=None, measure="auroc", oracle=False)
    rows = [sweep.row(values.values()) for values in long]
    tables = {"plan": rows_of(sweep.plan(rows)), "rows": [], "cells": []}
    tables |= {"measure": "auroc", "split": "val", "seeds": [0], "trials": 25}
    tables |= {"reference": "", "groups": {}, "patients": {}, "ranks": None, "warnings": []}
    write_json(tmp_path / "_comparisons" / sweep.name / "comparison.json", tables)
    assert _proposed(tmp_path, _peak, count=25) == long
    with pytest.raises(InputError, match="holds another search, with train.lr=.*: give this one a --name"):
        _proposed(tmp_path, _peak, count=25, jobs=3)


def test_failed_trials_steer_nothing_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, object]] = []
    tell = optuna.Study.tell

    def spy(study: optuna.Study, trial: int, values: object, **options: object) -> object:
        told.append((values, options["state"]))
        return tell(study, trial, values, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(optuna.Study, "tell", spy)
    trials = _proposed(tmp_path, lambda v: None if v["loss.type"] == "asl" else _peak(v), count=30)
    for values, (value, state) in zip(trials, told, strict=True):
        failed = values["loss.type"] == "asl"
        assert (value, state) == (
            (None, optuna.trial.TrialState.FAIL) if failed else (_peak(values), optuna.trial.TrialState.COMPLETE)
        )
    assert {values["loss.type"] for values in trials} == {"asl", "bce"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["train.lr=0e0..1e-2"],
            "train.lr=0e0..1e-2: a range with exponents is searched on a log scale, which has no 0",
        ),
        (["train.lr=1e-2..1e-5"], "a range goes up from its first number"),
        (["stage2.alpha=1.00001..1.00002"], "values have four digits, and the ends differ after them"),
        (["stage2.alpha=-1.0..1.0"], "stage2.alpha"),
        (["train.epochs=1.5..9.5"], "train.epochs"),
        (["train.epochs=0..9"], "train.epochs"),
        (["loss.type=bce,asll", "train.lr=1e-4..1e-2"], "did you mean 'asl'"),
        (["train.epochs=3"], "nothing to go over"),
        (["seeds.split=0..3"], "seeds.split changes which images are scored"),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_is_run(
    settings: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        search("digits_tiny", settings, trials=3, out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "--trials 0: at least 1"),
        ({"trials": 1, "search_seed": -1}, "--search-seed -1: from 0 to 4294967295"),
        ({"trials": 1, "measure": "acu"}, "--measure acu"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        search("digits_tiny", ["stage2.alpha=0.5..2.0"], out=tmp_path, **options)  # type: ignore[arg-type]


def test_without_optuna_the_message_says_how_to_get_it(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = cli("sweep", "digits_tiny", "stage2.alpha=0.5..2.0", "--trials", "2", "--out", tmp_path)
    assert result.exit_code == 2
    assert "--trials needs optuna: pip install 'ltml[search]'" in result.stderr


def _search(cli, out: Path, trials: int, *more: object):
    sizes = ("data.train_size=120", "data.val_size=60", "data.test_size=80", "train.epochs=1", "stage2.rounds=0")
    options = ("--trials", trials, "--out", out, "--measure", "f1", *more)
    return cli("sweep", "digits_tiny", "stage2.alpha=0.0..3.0", *sizes, *options)


@pytest.fixture(scope="module")
def four(cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search")
    result = _search(cli, out, 4)
    assert result.exit_code == 0, result.output
    assert "trial 4 of 4: stage2.alpha=" in result.stderr
    return out


def _folder(out: Path) -> Path:
    return out / "_comparisons" / "digits_tiny-alpha-search"


def test_the_best_on_validation_is_chosen_and_told_on_test(four: Path) -> None:
    found = read_comparison(_folder(four))
    assert len(found["rows"]) == 4
    scores = {}
    for cell in found["cells"]:
        split = json.loads((Path(cell["run"]) / "stage2" / "metrics_val.json").read_text())
        scores[cell["row"]] = split["macro"]["f1"]
    best = max(scores, key=lambda row: scores[row])
    assert (found["chosen"]["row"], found["chosen"]["on"], found["chosen"]["oracle"]) == (best, "val", False)
    (run,) = (Path(cell["run"]) for cell in found["cells"] if cell["row"] == best)
    test = json.loads((run / "stage2" / "metrics.json").read_text())
    assert found["chosen"]["test"]["mean"] == pytest.approx(test["macro"]["f1"])
    assert len(list(four.rglob("_stage1/*/checkpoint.safetensors"))) == 1


def test_cut_off_and_gone_on_with_it_gives_the_same_tables(cli, four: Path, tmp_path: Path) -> None:
    first = json.loads(_search(cli, tmp_path, 2, "--dry-run", "--json").stdout)
    assert [(cell["row"], cell["state"]) for cell in first] == [
        (read_comparison(_folder(four))["rows"][0]["row"], "to do")
    ]
    assert not list(tmp_path.iterdir())
    assert _search(cli, tmp_path, 2).exit_code == 0
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint.safetensors")}
    assert len(trained) == 3  # a stage 1 and two of stage 2
    shown = _search(cli, tmp_path, 4, "--dry-run")
    assert "1 of 3 runs are left" in shown.stdout
    assert "3 of 4 trials are known; what the others try depends on their scores" in shown.stderr
    again = _search(cli, tmp_path, 4)
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    for name in ("scores.csv", "comparison.json"):
        ours, theirs = ((_folder(out) / name).read_text().replace(str(out), "") for out in (tmp_path, four))
        assert ours == theirs
    assert "0 of 4 runs are left" in _search(cli, four, 4, "--dry-run").stdout


@pytest.mark.parametrize(
    ("trials", "options", "message"),
    [
        (5, ["--search-seed", "1"], "holds another search, with stage2.alpha="),
        (4, ["train.lr=0.1"], "holds another search, with stage2.alpha="),
        (3, [], "holds a longer search"),
        (4, ["--measure", "ap"], "holds another search, with another measure"),
        (4, ["--oracle"], "holds another search, with another split"),
    ],
)
def test_another_search_does_not_take_its_place(cli, four: Path, trials: int, options: list[str], message: str) -> None:
    runs = set(four.rglob("recipe.yaml"))
    result = _search(cli, four, trials, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "--jobs and --search-seed, and no fewer --trials: give this one a --name" in result.stderr
    assert set(four.rglob("recipe.yaml")) == runs


def test_a_failure_is_recorded_tried_once_and_not_chosen(
    cli, four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = read_comparison(_folder(four))["chosen"]["row"]
    real, begun = pipeline.run, []

    def run(recipe, out):
        begun.append(f"stage2.alpha={recipe.stage2.alpha}")
        if begun[-1] == best:
            raise RuntimeError("singular")
        return real(recipe, out)

    monkeypatch.setattr(pipeline, "run", run)
    result = _search(cli, tmp_path, 4)
    assert result.exit_code == 1
    assert f"{best}: failed" in result.stderr
    assert re.search(rf"digits_tiny +{re.escape(best)} +0 +RuntimeError: singular", result.stderr)
    assert len(begun) == len(set(begun)) == 4
    found = read_comparison(_folder(tmp_path))
    assert [cell["state"] for cell in found["cells"]].count("failed") == 1
    assert found["chosen"]["row"] in set(begun) - {best}
    monkeypatch.setattr(pipeline, "run", real)
    again = _search(cli, tmp_path, 4)  # what failed in passing does not stop the search for good
    assert again.exit_code == 0, again.output
    assert {cell["state"] for cell in read_comparison(_folder(tmp_path))["cells"]} == {"done"}


def test_when_all_fail_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("singular")

    monkeypatch.setattr(pipeline, "run", fail)
    with pytest.raises(LtmlError, match="no run could be finished; the first failed so: RuntimeError: singular"):
        search("digits_tiny", ["stage2.alpha=0.0..3.0"], trials=2, out=tmp_path)
    assert not _folder(tmp_path).exists()


def test_searching_on_test_is_marked(cli, four: Path) -> None:
    found = json.loads(_search(cli, four, 2, "--oracle", "--name", "peeked", "--json").stdout)
    assert (found["split"], found["chosen"]["oracle"]) == ("test", True)
    assert "on test, ORACLE" in _search(cli, four, 2, "--oracle", "--name", "peeked").stderr


def test_optuna_says_nothing_and_keeps_its_verbosity(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = optuna.logging.get_verbosity()
    logging.getLogger("optuna").addHandler(caplog.handler)
    try:
        _proposed(tmp_path, lambda values: None if float(values["train.lr"]) < 1e-3 else 0.5, count=15)
    finally:
        logging.getLogger("optuna").removeHandler(caplog.handler)
    assert not caplog.records
    assert optuna.logging.get_verbosity() == before


def test_the_plan_of_a_search_runs_in_the_grid_as_any_other(four: Path) -> None:
    sizes = ["data.train_size=120", "data.val_size=60", "data.test_size=80", "train.epochs=1", "stage2.rounds=0"]
    plan = plan_search("digits_tiny", ["stage2.alpha=0.0..3.0", *sizes], trials=4, measure="f1", out=four)
    assert [cell.state for cell in make_grid(plan, four)] == ["done"] * 4


def test_a_search_seed_is_for_trials(cli, tmp_path: Path) -> None:
    result = cli("sweep", "digits_tiny", "stage2.alpha=0.1,0.2", "--search-seed", "1", "--out", tmp_path)
    assert (result.exit_code, "--search-seed is for --trials" in result.stderr) == (2, True)
