"""Going over values of settings: which values, and that nothing is chosen on test unsaid."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fixtures.copies import copy_to_edit

import ltml
from ltml.comparison.summary import choose, summarise
from ltml.comparison.sweep import plan_sweep, space_of, values_of
from ltml.errors import InputError
from ltml.report.comparison.sections import choice_in_words


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


def test_one_value_holds_for_all_rows_however_it_is_written() -> None:
    plan = plan_sweep("digits_tiny", ["stage2.alpha=1..1", "train.epochs=2,", "train.lr=1e-4,1e-3"])
    assert plan.rows[0].overrides == ("stage2.alpha=1", "train.epochs=2", "train.lr=1e-4")
    assert plan.name == "digits_tiny-lr"


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
        ({"measure": "auc"}, "--measure auc: did you mean 'auroc'"),
        ({"measure": "novel"}, "--measure novel: val shows nothing novel"),
        ({"name": "a/b"}, "--name 'a/b': letters"),
    ],
)
def test_nothing_is_run_for_what_cannot_be_asked_for(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_sweep("digits_tiny", ["stage2.alpha=0.1,0.2"], **options)
    assert plan_sweep("digits_tiny", ["stage2.alpha=0.1,0.2"], measure="novel", oracle=True).measure == "novel"


def test_values_that_change_what_is_scored_are_refused_before_anything_is_run(cli, tmp_path: Path) -> None:
    for setting, split in (("data.val_size=40,60", "val"), ("data.test_size=80,90", "test")):
        result = cli("sweep", "digits_tiny", setting, "train.epochs=1", "--out", tmp_path)
        assert result.exit_code == 2
        assert f"have different images or labels in {split}" in result.stderr
        assert not list(tmp_path.rglob("recipe.yaml"))
    found = cli("sweep", "digits_tiny", "data.train_size=120,160", "--out", tmp_path, "--dry-run")
    assert found.exit_code == 0


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
    refused = _sweep(cli, out, "--oracle")
    assert (refused.exit_code, "holds another comparison, by split val" in refused.stderr) == (2, True)
    shown = _sweep(cli, out, "--oracle", "--name", "digits_tiny-alpha-oracle").stdout
    assert "ORACLE, chosen on test: digits_tiny-alpha" in shown
    assert "ORACLE, chosen on test: stage2.alpha=" in shown
    assert (
        json.loads(_sweep(cli, out, "--oracle", "--name", "digits_tiny-alpha-oracle", "--json").stdout)["chosen"][
            "oracle"
        ]
        is True
    )
    assert "ORACLE" not in _sweep(cli, out).stdout


@pytest.fixture(scope="module")
def oracle(cli, out: Path) -> Path:
    """Folder of a sweep that chose on test."""
    return Path(json.loads(_sweep(cli, out, "--oracle", "--name", "oracle", "--json").stdout)["folder"])


@pytest.fixture(scope="module")
def honest(cli, out: Path) -> Path:
    """Folder of the same sweep, chosen on val."""
    return Path(json.loads(_sweep(cli, out, "--name", "honest", "--json").stdout)["folder"])


CAPTIONS = {"md": r"^\*\*(.*)\*\*$", "latex": r"\\caption\{(.*)\}$"}
ENDINGS = {"md": "md", "latex": "tex", "csv": "csv"}


def _captions(folder: Path, kind: str) -> list[str]:
    text = ltml.write_report(folder, folder / f"t.{ENDINGS[kind]}", kind).read_text()
    if kind == "csv":
        return [line["table"] for line in csv.DictReader(text.splitlines())]
    return re.findall(CAPTIONS[kind], text, flags=re.MULTILINE)


@pytest.mark.parametrize("kind", ["md", "latex", "csv"])
def test_every_table_of_a_choice_on_test_is_marked(oracle: Path, honest: Path, kind: str) -> None:
    marked, plain = _captions(oracle, kind), _captions(honest, kind)
    assert len(marked) >= 4
    assert all(caption.startswith("ORACLE, chosen on test: ") for caption in marked)
    assert "ORACLE" not in "".join(plain)
    assert plain[0].startswith("What the sweep chose on val")


def test_a_page_of_a_choice_on_test_says_so_at_the_top_and_everywhere(oracle: Path, honest: Path) -> None:
    page = ltml.write_report(oracle).read_text()
    for place in (r"<title>(.*?)</title>", r"<h1><bdi>(.*?)</bdi>"):
        assert re.findall(place, page)[0] == "ORACLE, chosen on test: oracle"
    header = page.partition("<header>")[2].partition("</header>")[0]
    assert '<p class="warning" role="note">ORACLE: this sweep chose among its rows' in header
    of_scores = page.partition('<section id="summary"')[2].partition('<section id="recipes"')[0]
    captions = re.findall(r"<(?:fig)?caption>(.*?)</", of_scores)
    leads = re.findall(r'<p class="lead">(.*?)</p>', of_scores)
    assert len(captions) >= 8
    assert len(leads) == 2
    assert all(text.startswith("ORACLE, chosen on test: ") for text in (*captions, *leads))
    plain = ltml.write_report(honest).read_text()
    assert "ORACLE" not in plain
    assert 'class="warning"' not in plain


def test_a_page_says_what_val_chose_and_what_that_scores_on_test(honest: Path) -> None:
    result = json.loads((honest / "comparison.json").read_text())
    chosen = result["chosen"]
    (best,) = (row for row in result["rows"] if row["row"] == chosen["row"])
    page = ltml.write_report(honest).read_text()
    on_val, on_test = (f"{100 * value:.1f}" for value in (best["mean"], chosen["test"]["mean"]))
    assert f'<p class="lead">{chosen["row"]}, chosen on val, scores {on_test} points on test.</p>' in page
    table = page.partition("<caption>What the sweep chose on val</caption>")[2].partition("</table>")[0]
    assert re.findall(r"<bdi>(.*?)</bdi>", table) == ["row", "F1 on val", "F1 on test", best["row"], on_val, on_test]
    with (ltml.write_report(honest, honest / "t.csv", "csv")).open() as lines:
        values = [line for line in csv.DictReader(lines) if line["table"] == "What the sweep chose on val"]
    assert [float(line["value"]) for line in values] == [100 * best["mean"], 100 * chosen["test"]["mean"]]


def test_the_order_of_the_seeds_does_not_matter_for_the_choice() -> None:
    plan = plan_sweep("digits_tiny", ["stage2.alpha=0.0,0.9"], seeds="1,0")
    records = [
        ("digits_tiny", row.name, seed, split, "zero", "auroc", 0.5 + 0.1 * place)
        for place, row in enumerate(plan.rows)
        for seed in (1, 0)
        for split in ("val", "test")
    ]
    columns = ["data", "row", "seed", "split", "label", "measure", "value"]
    scores = pd.DataFrame(records, columns=columns).assign(learned=True)
    chosen = choose(plan, scores, summarise(plan, scores, {}))
    assert (chosen["row"], chosen["test"]["mean"]) == ("stage2.alpha=0.9", pytest.approx(0.6))


def test_nothing_is_chosen_where_no_row_has_every_seed(honest: Path, tmp_path: Path) -> None:
    result = json.loads((honest / "comparison.json").read_text())
    plan = replace(plan_sweep("digits_tiny", ["stage2.alpha=0.0,0.9,3.0"], seeds="0..1"), measure="f1")
    chosen = choose(plan, pd.read_csv(honest / "scores.csv"), result["rows"])
    assert chosen == {"row": None, "on": "val", "oracle": False, "test": None}
    assert choice_in_words(chosen) == "Nothing is chosen on val, because no row has every seed."
    on_test = {"chosen": chosen | {"on": "test", "oracle": True}}
    copy_to_edit(honest, tmp_path / "none")
    (tmp_path / "none" / "comparison.json").write_text(json.dumps(result | on_test))
    page = ltml.write_report(tmp_path / "none").read_text()
    assert "Nothing is chosen on test, because no row has every seed." in page
    assert "What the sweep chose" not in page
    assert '<p class="warning"' in page
