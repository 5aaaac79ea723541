"""Going over values of settings: which values, and that nothing is chosen on test unsaid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ltml.comparison.sweep import plan_sweep, space_of, values_of
from ltml.errors import InputError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1..0.4", ["0.1", "0.2", "0.3", "0.4"]),
        ("0.8..1.0", ["0.8", "0.9", "1.0"]),
        ("1..3", ["1", "2", "3"]),
        ("2..2", ["2"]),
        ("-1..1", ["-1", "0", "1"]),
        ("0.25..0.27", ["0.25", "0.26", "0.27"]),
        ("1e-4,1e-3", ["1e-4", "1e-3"]),
        ("adam", ["adam"]),
        ("[1, 2]", ["[1, 2]"]),
    ],
)
def test_values_of_a_setting(text: str, values: list[str]) -> None:
    assert values_of(space_of(text, "key"), "key") == values


def test_every_combination_is_a_row() -> None:
    plan = plan_sweep("digits_tiny", ["stage2.alpha=0.1..0.3", "train.lr=1e-4,1e-3", "train.epochs=2"], seeds="0..1")
    assert len(plan.rows) == 6
    assert plan.rows[1].name == "stage2.alpha=0.1 train.lr=1e-3"
    assert plan.rows[1].overrides == ("train.epochs=2", "stage2.alpha=0.1", "train.lr=1e-3")
    assert (plan.split, plan.name, plan.chooses) == ("val", "digits_tiny-alpha-lr", True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.epochs=2"], "nothing to go over"),
        (["stage2.alpha=1.0..0.1"], "stage2.alpha=1.0..0.1: a range goes up"),
        (["stage2.alpha=0.0001..1"], "at most 1000 steps"),
        (["train.lr=1e-5..1e-2"], "train.lr=1e-5..1e-2: a range with exponents has no steps: name its values, or add"),
        (["seeds.train=0..3"], "use --seeds"),
        (["seeds.split=0..3"], "seeds.split changes which images are scored"),
        (["stage2.alpha=0.1,0.1"], "stage2.alpha has a value more than once"),
        (["stage2.alpha=0.1,0.2", "stage2.alpha=0.3"], "stage2.alpha is there more than once"),
    ],
)
def test_what_cannot_be_gone_over(settings: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_sweep("digits_tiny", settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "acu"}, "--measure acu: Allowed: auroc"),
        ({"name": "a/b"}, "--name 'a/b': letters"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_sweep("digits_tiny", ["stage2.alpha=0.1,0.2"], **options)


@pytest.fixture(scope="module")
def out(cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    assert _sweep(cli, folder).exit_code == 0
    return folder


def _sweep(cli, out: Path, *more: str):
    sizes = ("data.train_size=120", "data.val_size=60", "data.test_size=80", "train.epochs=1", "stage2.rounds=0")
    return cli("sweep", "digits_tiny", "stage2.alpha=0.0,0.9,3.0", *sizes, "--out", out, "--measure", "f1", *more)


def test_the_best_on_validation_is_chosen_and_told_on_test(cli, out: Path) -> None:
    found = json.loads(_sweep(cli, out, "--json").stdout)
    best = max(found["rows"], key=lambda row: row["mean"])
    assert (found["chosen"]["row"], found["chosen"]["on"], found["chosen"]["oracle"]) == (best["row"], "val", False)
    (cell,) = (cell for cell in found["cells"] if cell["row"] == best["row"])
    metrics = json.loads((Path(cell["run"]) / "stage2" / "metrics.json").read_text())
    assert found["chosen"]["test"]["mean"] == pytest.approx(metrics["macro"]["f1"])
    assert len(list(out.rglob("_stage1/*/checkpoint.safetensors"))) == 1  # all values share one stage 1


def test_choosing_on_test_is_marked_wherever_it_is_shown(cli, out: Path) -> None:
    shown = _sweep(cli, out, "--oracle").stdout
    assert "ORACLE, digits_tiny-alpha" in shown
    assert "ORACLE, chosen on test: stage2.alpha=" in shown
    assert json.loads(_sweep(cli, out, "--oracle", "--json").stdout)["chosen"]["oracle"] is True
    assert "ORACLE" not in _sweep(cli, out).stdout
