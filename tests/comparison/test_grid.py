"""Grids of real runs on tiny data: done once, resumed, failures borne, and the tables that come of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import ltml
from ltml.comparison.gain import relate_gain
from ltml.comparison.result import read_comparison
from ltml.errors import InputError
from ltml.report.comparison.data import Comparison
from ltml.report.comparison.sections import terminal_blocks
from ltml.report.comparison.tables import ranking_table
from ltml.report.writers.terminal import to_terminal
from ltml.stages.relations import partial_correlation

SIZES = {"data.train_size": 120, "data.val_size": 60, "data.test_size": 80}
TINY = ("train.epochs=1", *(f"{key}={value}" for key, value in SIZES.items()))
METHODS = "bce,label_adapter"


def _experiment(path: Path, fields: dict, rows: list[dict], *, claims: Sequence[dict] = (), **of_place: str) -> Path:
    place = {"recipe": "digits_tiny", "set": fields, "rows": rows, **of_place}
    content = {"name": path.stem, "description": "of a test", "paper": "none", "data": {"tiny": place}}
    path.write_text(yaml.safe_dump(content | {"claims": list(claims)}))
    return path


def _compare(cli, out: Path, *more: object):
    return cli("compare", "digits_tiny", *TINY, "--methods", METHODS, "--seeds", "0..1", "--out", out, *more)


@pytest.fixture(scope="module")
def finished(cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the runs of a finished grid; read only."""
    out = tmp_path_factory.mktemp("grid")
    done = _compare(cli, out)
    assert done.exit_code == 0, done.output
    return out


def test_the_tables_say_what_the_runs_say(finished: Path) -> None:
    table = read_comparison(finished / "_comparisons" / "digits_tiny")
    assert [row["row"] for row in table["rows"]] == ["bce", "label_adapter"]
    values = {}
    for cell in table["cells"]:
        assert cell["state"] == "done"
        metrics = json.loads((Path(cell["run"]) / "stage1" / "metrics.json").read_text())
        values[cell["row"], cell["seed"]] = metrics["macro"]["auroc"]
    for row in table["rows"]:
        assert row["values"] == pytest.approx([values[row["row"], seed] for seed in (0, 1)])
        assert row["mean"] == pytest.approx(np.mean(row["values"]))
        assert row["sd"] == pytest.approx(np.std(row["values"], ddof=1))
    bce, adapter = table["rows"]
    assert bce["versus"] is None
    assert adapter["versus"]["mean"] == pytest.approx(adapter["mean"] - bce["mean"])
    scores = pd.read_csv(finished / "_comparisons" / "digits_tiny" / "scores.csv")
    of_adapter = scores.query("row == 'label_adapter' and seed == 1 and split == 'test' and measure == 'auroc'")
    assert of_adapter["value"].mean() == pytest.approx(adapter["values"][1])


def test_what_is_done_is_not_redone_and_a_dry_run_says_so(cli, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("checkpoint.safetensors")}
    cells = json.loads(_compare(cli, finished, "--dry-run", "--json").stdout)
    assert {cell["state"] for cell in cells} == {"done"}
    again = _compare(cli, finished)
    assert again.exit_code == 0
    assert "of 4 runs" not in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("checkpoint.safetensors")}
    assert "1000 resamples of 80 groups (80 rows, seed 0)" in again.stdout
    more = _compare(cli, finished, "--dry-run", "train.lr=0.1", "--name", "other")
    assert "4 of 4 runs are left" in more.stdout


def test_parallel_jobs_give_the_same_tables(cli, finished: Path, tmp_path: Path) -> None:
    done = _compare(cli, tmp_path, "--jobs", "2")
    assert done.exit_code == 0, done.output
    names = ("metrics*.json", "predictions_*.csv", "_comparisons/digits_tiny/scores.csv")
    ours, theirs = (
        {str(path.relative_to(out)): path.read_bytes() for name in names for path in sorted(out.rglob(name))}
        for out in (tmp_path, finished)
    )
    assert ours == theirs


def test_other_measures_are_read_from_the_same_runs(cli, finished: Path) -> None:
    result = _compare(cli, finished, "--measure", "f1", "--split", "test_natural", "--per-class", "--name", "other")
    assert result.exit_code == 0, result.output
    assert "other: F1 on test_natural; 2 rows, 2 seeds, against bce" in result.stdout
    assert "nine" in result.stdout
    assert "resamples of" not in result.stdout  # patients are resampled for AUC and mAP alone
    blocks = terminal_blocks(finished / "_comparisons" / "other", per_class=True)
    assert max(map(len, to_terminal(blocks, 80).splitlines())) <= 80
    wrong = _compare(cli, finished, "--split", "tset", "--name", "wrong", "train.epochs=2")
    assert (wrong.exit_code, "--split tset: did you mean 'test'" in wrong.stderr) == (2, True)
    assert "of 4 runs" not in wrong.stderr  # said before anything is run
    novel = _compare(cli, finished, "--measure", "novel", "--name", "novel")
    assert (novel.exit_code, "needs a label held out of training" in novel.stderr) == (2, True)


def test_a_failure_is_recorded_and_the_others_go_on(cli, tmp_path: Path) -> None:
    rows = [{"name": "good", "method": "bce"}, {"name": "bad", "method": "luo"}]
    rows += [{"name": "better", "method": "label_adapter"}]
    claims = [{"text": "the adapter is better", "better": "better", "than": "good"}]
    claims += [{"text": "so is luo", "better": "bad", "than": "good"}]
    experiment = _experiment(tmp_path / "mine.yaml", SIZES | {"train.epochs": 1}, rows, claims=claims)
    result = cli("compare", experiment, "--seeds", "0", "--out", tmp_path / "runs")
    assert result.exit_code == 1
    assert re.search(r"tiny +bad +0 +the objective 'adversarial' needs images of two sources", result.stderr)
    table = read_comparison(tmp_path / "runs" / "_comparisons" / "mine-tiny")
    good, bad, better = table["rows"]
    assert good["mean"] is not None
    assert better["mean"] is not None
    assert (bad["mean"], bad["seeds"]) == (None, [])
    assert [claim["verdict"] for claim in table["claims"]] == ["no difference found"] * 2
    assert table["claims"][1]["difference"] is None


def test_nothing_is_run_before_what_a_row_asks_for_is_there(cli, tmp_path: Path) -> None:
    asking = {"name": "words", "method": "ldrnet", "set": {"text.encoder": "word_vectors", "stage2.method": "none"}}
    rows = [{"name": "plain", "method": "bce"}, asking | {"asks": {"text.name": "a file of word vectors"}}]
    experiment, out = _experiment(tmp_path / "mine.yaml", SIZES | {"train.epochs": 1}, rows), tmp_path / "runs"
    options = ("--seeds", "0", "--out", out)
    assert "2 of 2 runs are left" in cli("compare", experiment, "--dry-run", *options).stdout
    file = tmp_path / "words.txt"
    for more, message in (
        ([], "row 'words' on tiny needs text.name, a file of word vectors: add text.name=VALUE"),
        ([f"text.name={file}"], f"row 'words' on tiny: text.name={file}: there is no such file"),
    ):
        refused = cli("compare", experiment, *more, *options)
        assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
        assert not out.exists()
    file.write_text("the 1 2\nimage 0 1\nnine 3 0\n")
    done = cli("compare", experiment, f"text.name={file}", *options)
    assert done.exit_code == 0, done.output
    (_, cell) = read_comparison(out / "_comparisons" / "mine-tiny")["cells"]
    assert yaml.safe_load((Path(cell["run"]) / "recipe.yaml").read_text())["text"]["name"] == str(file)
    file.unlink()
    again = cli("compare", experiment, f"text.name={file}", *options)
    assert again.exit_code == 0, again.output  # nothing is left that would read it


def test_other_rows_do_not_take_the_place_of_a_comparison(cli, finished: Path) -> None:
    path = finished / "_comparisons" / "digits_tiny" / "comparison.json"
    before = path.read_bytes()
    result = cli("compare", "digits_tiny", "--methods", "bce,asl", "--out", finished)
    assert result.exit_code == 2
    assert "holds another comparison, with bce, label_adapter run otherwise or not in this one" in result.stderr
    assert path.read_bytes() == before
    assert not list(finished.glob("digits_tiny/asl*"))  # nothing was run
    for options, what in ((["--measure", "f1"], "by measure auroc"), (["--split", "val"], "by split test")):
        result = _compare(cli, finished, *options, "--dry-run")
        assert (result.exit_code, f"holds another comparison, {what}" in result.stderr) == (2, True)
    fewer = cli("compare", "digits_tiny", *TINY, "--methods", METHODS, "--seeds", "1", "--out", finished)
    assert (fewer.exit_code, "with seeds that this one lacks (0)" in fewer.stderr) == (2, True)
    assert path.read_bytes() == before


def test_data_that_are_not_there_are_told_before_every_run_fails(cli, tmp_path: Path) -> None:
    result = cli("compare", "csv_small", "--methods", "bce,asl", "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: row 'bce' on csv_small: ")
    assert not list(tmp_path.rglob("recipe.yaml"))


def test_runs_on_data_that_have_changed_since_are_not_compared(cli, image_table, tmp_path: Path) -> None:
    file = image_table()
    small = (f"data.file={file}", "train.epochs=1", "data.image_size=16", "--seeds", "0", "--out", tmp_path / "runs")
    assert cli("compare", "csv_small", *small, "--methods", "bce").exit_code == 0
    table = pd.read_csv(file, dtype=str)
    table.assign(bright=table["bright"].sample(frac=1, random_state=0).to_numpy()).to_csv(file, index=False)
    result = cli("compare", "csv_small", *small, "--methods", "bce,bce_maxpool")
    assert result.exit_code == 2
    assert "row 'bce' on csv_small, seed 0:" in result.stderr
    assert "differs in the data (ids, labels or split have changed since)" in result.stderr
    assert not list((tmp_path / "runs" / "csv_small").glob("bce_maxpool*"))  # said before anything is run
    assert len(list((tmp_path / "runs").rglob("recipe.yaml"))) == 1


def test_any_failure_is_borne_and_when_all_fail_the_tables_stay(
    cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("singular")

    shutil.copytree(finished, tmp_path / "runs")
    path = tmp_path / "runs" / "_comparisons" / "digits_tiny" / "scores.csv"
    before = path.read_bytes()
    shutil.rmtree(tmp_path / "runs" / "digits_tiny")
    monkeypatch.setattr("ltml.stages.pipeline.run", fail)
    result = _compare(cli, tmp_path / "runs")
    assert result.exit_code == 1
    assert "no run could be finished; the first failed so: LinAlgError: singular" in result.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--launcher", "slrum"], "--launcher slrum: did you mean 'slurm'"),
        (["--launch", "slurm_partition=gpu"], "--launch is for --launcher slurm"),
        (["--launcher", "submitit", "--launch", "gpu"], "--launch gpu: write KEY=VALUE"),
        (["--launcher", "submitit", "--launch", "pbs_queue=gpu"], "--launcher submitit: Unknown executor .pbs."),
        (["--launcher", "slurm"], "--launcher slurm: "),
    ],
)
def test_what_cannot_be_launched_is_said(cli, tmp_path: Path, options: list[str], message: str) -> None:
    result = _compare(cli, tmp_path, *options)
    assert result.exit_code == 2
    assert re.search(message, result.stderr)
    assert not list(tmp_path.rglob("checkpoint*"))


def test_gains_are_related_to_how_alike_classes_are(cli, tmp_path: Path) -> None:
    sizes = {"train_size": 120, "val_size": 60, "test_size": 80}
    base = {"data.type": "union", "data.sources": [{"type": "digits", **sizes}], "train.epochs": 1}
    rows = [{"name": "alone", "method": "bce", "set": {"data.labels": ["zero"]}}]
    rows += [
        {"name": f"+ {label}", "method": "bce", "adds": label, "set": {"data.labels": ["zero", label]}}
        for label in ("one", "two", "three")
    ]
    everything = {"data.labels": ["zero", "one", "two", "three", "four"]}
    rows += [{"name": "+ four", "method": "label_adapter", "adds": "four", "set": {"data.labels": ["zero", "four"]}}]
    rows += [{"name": "all", "method": "label_adapter", "set": everything}]
    experiment = _experiment(tmp_path / "adds.yaml", base, rows, interest="zero", recipe="digits")
    out = tmp_path / "runs"
    assert cli("compare", experiment, "--seeds", "0..1", "--out", out).exit_code == 0
    run = cli("run", "digits_tiny", *TINY, "method=bce_gaussian", "--out", out)
    assert run.exit_code == 0, run.output
    run_dir = run.stdout.rpartition("run: ")[2].strip()
    found = relate_gain(run_dir, out / "_comparisons" / "adds-tiny")
    table = read_comparison(out / "_comparisons" / "adds-tiny")
    alone, *added = (row["per_label"]["zero"]["mean"] for row in table["rows"][:5])
    gains = [value - alone for value in added]
    assert [entry["gain"] for entry in found["classes"]] == pytest.approx(gains)
    alike = [entry["features"] for entry in found["classes"]]
    assert found["correlation"]["features"]["r"] == pytest.approx(np.corrcoef(alike, gains)[0, 1])
    counts = [entry["n_pos"] for entry in found["classes"]]
    partial = partial_correlation(alike, gains, counts)
    assert (found["partial"]["features"]["r"], found["partial"]["features"]["p"]) == pytest.approx(partial)
    assert found["partial"]["features"]["n"] == 4
    shown = cli("relations", run_dir, "--gain", out / "_comparisons" / "adds-tiny")
    r, given = (found[kind]["features"]["r"] for kind in ("correlation", "partial"))
    line = next(line for line in shown.stdout.splitlines() if line.startswith("mean features"))
    assert {f"{value:.3f}".replace("-", "−") for value in (r, given)} <= set(line.split())
    own = table["relations"]  # of the row that knows all classes
    assert [(entry["row"], entry["seed"]) for entry in own] == [("all", 0), ("all", 1)]
    run_of_all = next(cell["run"] for cell in table["cells"] if cell["row"] == "all")
    again = relate_gain(run_of_all, out / "_comparisons" / "adds-tiny")
    assert own[0] == own[0] | {key: again[key] for key in ("correlation", "partial")}
    assert own[0]["correlation"]["features"] is None  # none are stored
    page = ltml.write_report(out / "_comparisons" / "adds-tiny").read_text()
    assert "Do similar classes help more?" in page
    assert "r given log count" in page
    with pytest.raises(InputError, match="is not a comparison"):
        relate_gain(run_dir, out)


def test_a_comparison_without_added_classes_has_no_gains(finished: Path, tiny_run: Path) -> None:
    with pytest.raises(InputError, match="does not add classes to a class of interest"):
        relate_gain(tiny_run, finished / "_comparisons" / "digits_tiny")


def test_rows_keep_their_names_beside_further_means() -> None:
    entry = {"mean": 0.8123, "sd": 0.0123}
    versus = {**entry, "p": 0.02, "p_holm": 0.04, "p_independent": 0.1}
    versus |= {"p_wilcoxon": 0.1, "n": 2}
    row = {"data": "d", **entry, "means": {"internal only": entry, "common": entry}, "versus": versus}
    row |= {"labels": 1, "seeds": [0, 1], "per_label": {}}
    result = {
        "rows": [{**row, "row": "g TW TAT UTE"}, {**row, "row": "h TW HAT UTE"}],
        "measure": "auroc",
        "paper": "P",
    }
    result |= {"split": "test", "seeds": [0, 1], "chosen": None, "reference": "a", "name": "n"}
    shown = to_terminal([ranking_table(Comparison(Path(), result, pd.DataFrame(), {}, {}), "d")], 80)
    assert re.search(r"^g TW TAT UTE +better +81\.2 ± 1\.2[*†]* ", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 80
