"""Reports on comparisons: every number is one that was saved, and the words say what the numbers do."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fixtures.copies import copy_to_edit
from safetensors import safe_open

import ltml
from ltml.comparison.across import rank_over_data
from ltml.errors import InputError
from ltml.report.comparison.data import is_uneven, judge, leads
from ltml.report.comparison.sections import patients_in_words, ranking_in_words, verdict_in_words
from ltml.stages.run_directory import read_run
from ltml.training.checkpoint import load_weights, save_weights

MEASURES = {"AUC": "auroc", "mAP": "ap", "mACC": "macc", "balanced ACC": "balanced_accuracy"}
MEASURES |= {"kappa": "kappa", "F1": "f1"}
CLASSES = "AUC of every class on test, the most frequent in training first"


def _row(name: str, mean: float | None, *, gap: float | None = None, p: float | None = None, n: int = 5) -> dict:
    versus = None if gap is None else {"mean": gap, "sd": 0.01, "p_holm": p, "n": n}
    return {"row": name, "mean": mean, "sd": 0.01, "versus": versus}


def _points(mean: float, sd: float) -> str:
    text = f"{100 * mean:.1f} ± {100 * sd:.1f}"
    return text.removeprefix("-") if text.startswith("-0.0 ") else text.replace("-", "−")


@pytest.fixture(scope="module")
def page(comparison: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ltml.write_report(comparison, tmp_path_factory.mktemp("page") / "page.html")


def test_scores_are_those_of_the_comparison(page: Path, comparison: Path, read_page: Callable) -> None:
    result = json.loads((comparison / "comparison.json").read_text())
    shown = read_page(page)
    table = shown.tables["AUC on test, highest first"]
    by_row = {line[0]: dict(zip(table[0], line, strict=True)) for line in table[1:]}
    assert set(by_row) == {"bce", "bce_gaussian", "label_adapter", "asl"}
    for row in result["rows"]:
        line = by_row[row["row"]]
        assert line["AUC"].rstrip("†‡") == _points(row["mean"], row["sd"])
        if row["versus"] is None:
            assert line["against bce"] == "reference"
            continue
        versus = row["versus"]
        assert line["Δ"].lstrip("+") == _points(versus["mean"], versus["sd"])
        assert line["p Holm"] == f"{versus['p_holm']:.3f}"
        assert line["against bce"] == judge(versus)
    means = [float(line[1]) for line in shown.values["AUC on test, highest first"][1:]]
    assert means == sorted(means, reverse=True)
    assert means == pytest.approx(sorted((100 * row["mean"] for row in result["rows"]), reverse=True))


def test_all_measures_are_those_of_the_runs(page: Path, comparison: Path, read_page: Callable) -> None:
    cells = json.loads((comparison / "comparison.json").read_text())["cells"]
    header, *lines = read_page(page).tables["All measures on test"]
    for line in lines:
        runs = [Path(cell["run"]) for cell in cells if cell["row"] == line[0]]
        metrics = [json.loads(((run / f"stage{_last(run)}") / "metrics.json").read_text()) for run in runs]
        for name, text in list(zip(header, line, strict=True))[1:]:
            values = [content["macro"][MEASURES[name]] for content in metrics]
            assert text.rstrip("†‡") == _points(np.mean(values), np.std(values, ddof=1))


def test_groups_are_those_of_the_runs(page: Path, comparison: Path, read_page: Callable) -> None:
    cells = json.loads((comparison / "comparison.json").read_text())["cells"]
    header, *lines = read_page(page).tables["AUC by training frequency"]
    assert header == ["row", "head", "medium", "tail"]
    for line in lines:
        runs = [Path(cell["run"]) for cell in cells if cell["row"] == line[0]]
        for group, text in list(zip(header, line, strict=True))[1:]:
            paths = [run / f"stage{_last(run)}" / "metrics.json" for run in runs]
            values = [json.loads(path.read_text())["groups"][group]["auroc"] for path in paths]
            assert text.rstrip("†‡") == _points(np.mean(values), np.std(values, ddof=1))


def test_uncertainty_over_patients_is_that_of_the_comparison(page: Path, comparison: Path, read_page: Callable) -> None:
    result = json.loads((comparison / "comparison.json").read_text())
    shown = read_page(page)
    caption = "95 % intervals over patients of the mean over seeds"
    for row, line, values in zip(result["rows"], shown.tables[caption][1:], shown.values[caption][1:], strict=True):
        assert line[:3] == [row["row"], *(f"{100 * end:.1f}" for end in row["interval"])]
        if row["versus"] is None:
            assert line[3:] == ["–"] * 4
            continue
        found = row["versus"]["patients"]
        wanted = [100 * end for end in (*row["interval"], *found["interval"])] + [found["p"], found["p_holm"]]
        assert [float(value) for value in values] == pytest.approx(wanted)
    table = shown.tables["Every class over patients"]
    assert table[0] == [
        "class",
        "bce 95 %",
        "bce_gaussian 95 %",
        "bce_gaussian p",
        "label_adapter 95 %",
        "label_adapter p",
        "asl 95 %",
        "asl p",
    ]
    for line in table[1:]:
        for column, row in zip((2, 4, 6), result["rows"][1:], strict=True):
            entry = row["per_label"][line[0]]
            ends = [f"{100 * end:.1f}" for end in entry["interval"] or ()]
            assert line[column] == (" to ".join(ends) or "–")
            p = entry["versus"]["delong"]["p_holm"]
            assert line[column + 1] == ("–" if p is None else "<.001" if p < 0.001 else f"{p:.3f}")
    assert "which over 3 seeds cannot reach p < 0.05 (least possible: 0.25)" in shown.text


def test_ranks_over_several_data_are_shown(comparison: Path, tmp_path: Path, read_page: Callable) -> None:
    copy_to_edit(comparison, tmp_path / "ranked")
    result = json.loads((tmp_path / "ranked" / "comparison.json").read_text())
    means = np.random.default_rng(0).random((6, 3))
    rows = [
        {"data": f"data{i}", "row": name, "mean": means[i, j], "seeds": [0], "labels": 1}
        | {"per_label": {"cat": {"mean": means[i, j]}}}
        for i in range(6)
        for j, name in enumerate(("a", "b", "c"))
    ]
    ranks, _ = rank_over_data(rows, [0])
    assert ranks is not None
    (tmp_path / "ranked" / "comparison.json").write_text(json.dumps(result | {"ranks": ranks}))
    shown = read_page(ltml.write_report(tmp_path / "ranked"))
    _, *lines = shown.tables["Rank over 6 data, 1 is best"]
    assert {line[0]: line[1] for line in lines} == {
        name: f"{rank:.2f}" for name, rank in zip(ranks["rows"], ranks["ranks"], strict=True)
    }
    assert [float(line[1]) for line in lines] == pytest.approx(sorted(ranks["ranks"]), abs=0.005)
    assert f"differ by {ranks['critical_difference']:.2f} or more" in shown.text
    best, last = lines[0][0], lines[-1][0]
    p = ranks["pairs"][ranks["rows"].index(best)][ranks["rows"].index(last)]
    assert lines[0][-1] == f"{p:.3f}"


def test_warnings_are_shown(comparison: Path, tmp_path: Path, read_page: Callable) -> None:
    copy_to_edit(comparison, tmp_path / "warned")
    result = json.loads((tmp_path / "warned" / "comparison.json").read_text())
    texts = ["digits_tiny: fewer than 10 known positives: nine (3)", "1000 resamples cannot"]
    (tmp_path / "warned" / "comparison.json").write_text(json.dumps(result | {"warnings": texts}))
    shown = read_page(ltml.write_report(tmp_path / "warned")).text
    assert "Be careful with" in shown
    assert all(text in shown for text in texts)


def test_rows_with_other_seeds_are_not_ranked_in_bold() -> None:
    rows = [
        {"mean": 0.8, "seeds": seeds, "per_label": {"a": {"mean": 0.8}, "b": {"mean": None}}}
        for seeds in ([0, 1], [1, 0])
    ]
    assert not is_uneven(rows)
    assert is_uneven([*rows, rows[0] | {"seeds": [1]}])
    assert is_uneven([*rows, rows[0] | {"per_label": {"a": {"mean": 0.8}, "b": {"mean": 0.8}}}])
    assert not is_uneven([*rows, rows[0] | {"seeds": [], "mean": None}])


def test_what_other_patients_would_show_is_said() -> None:
    def row(name: str, interval: list[float] | None, p: float | None) -> dict:
        return {"row": name, "versus": {"patients": {"interval": interval, "p": p, "p_holm": p}}}

    rows = [{"row": "base", "versus": None}, row("a", [0.008, 0.022], 0.002), row("b", [-0.05, -0.01], 0.004)]
    rows += [row("c", [-0.01, 0.03], 0.3), row("d", None, None), {"row": "e", "versus": {"patients": None}}]
    assert patients_in_words(rows) == (
        "With the models as trained, on other patients, against base: better: a (+0.8 to +2.2 points); worse: b "
        "(−5.0 to −1.0 points); no difference found: c (−1.0 to +3.0 points)."
    )
    assert patients_in_words([rows[0], rows[-1]]) == ""


def _versus(p: float | None, mean: float = 0.1) -> dict:
    return {"mean": mean, "p_holm": p}


@pytest.mark.parametrize(
    ("means", "versus", "leader"),
    [
        ([0.8, 0.9, 0.85], [None, _versus(0.01), _versus(0.3)], 1),
        ([0.8, 0.9, 0.85], [None, _versus(0.06), _versus(0.01)], None),  # no difference found of the highest
        ([0.9, 0.8, 0.85], [None, _versus(0.01, -0.1), _versus(0.02, -0.05)], 0),
        ([0.9, 0.8, 0.85], [None, _versus(0.01, -0.1), _versus(0.2, -0.05)], None),  # the next may be as good
        ([0.9, 0.8, 0.9001], [None, _versus(0.01, -0.1), _versus(0.9, 0.0)], None),  # equal as printed
        ([0.8, 0.9, None], [None, _versus(None), _versus(None)], None),  # not tested
        ([0.8, None, None], [None, _versus(None), _versus(None)], None),  # alone
    ],
)
def test_a_row_leads_where_a_difference_was_found(means: list, versus: list, leader: int | None) -> None:
    entries = [{"mean": mean, "versus": entry} for mean, entry in zip(means, versus, strict=True)]
    assert [leads(entry, entries) for entry in entries] == [place == leader for place in range(3)]


def test_classes_are_those_of_the_scores_and_what_leads_is_bold(
    page: Path, comparison: Path, read_page: Callable
) -> None:
    scores = pd.read_csv(comparison / "scores.csv").query("split == 'test' and measure == 'auroc'")
    shown = read_page(page)
    header, *lines = shown.tables[CLASSES]
    assert len(lines) == 10
    counts = [int(line[1]) for line in lines]
    assert counts == sorted(counts, reverse=True)
    positives = json.loads((_first_run(comparison) / "labels.json").read_text())
    for line, values in zip(lines, shown.values[CLASSES][1:], strict=True):
        means = {}
        for row, text, value in zip(header[3:], line[3:], values[2:], strict=True):
            found = scores.query("row == @row and label == @line[0]")
            means[row] = 100 * found["value"].mean()
            assert float(value) == pytest.approx(means[row])
            assert text.rstrip("†‡") == _points(found["value"].mean(), found["value"].std())
        assert int(line[1]) == positives[line[0]]["train_pos"]
        assert int(line[2]) == scores.query("label == @line[0]")["n_pos"].iloc[0]
        bold = re.findall(r"<strong><bdi>([^<]*)</bdi>", _line_of(page, line[0]))
        highest = max(round(mean, 1) for mean in means.values())
        best = {
            row: text for (row, mean), text in zip(means.items(), line[3:], strict=True) if round(mean, 1) == highest
        }
        rare = scores.query("label == @line[0]")[["n_pos", "n_neg"]].to_numpy().min() < 10
        shown_better = {text.rstrip("†") for text in best.values() if text.endswith("†") and not rare}
        assert set(bold) <= {text.rstrip("†‡") for text in best.values()}
        assert shown_better <= set(bold)
        if rare:
            assert not bold


def _weights(run: Path) -> Path:
    return read_run(run)[0].checkpoint2 if _last(run) == 2 else read_run(run)[0].checkpoint1


def test_norms_are_those_of_the_last_classifiers(page: Path, comparison: Path) -> None:
    cells = json.loads((comparison / "comparison.json").read_text())["cells"]
    chart = page.read_text().partition('<section id="norms"')[2].partition("</section>")[0]
    for row in ("bce", "bce_gaussian", "label_adapter", "asl"):
        lengths = []
        for cell in (cell for cell in cells if cell["row"] == row):
            with safe_open(_weights(Path(cell["run"])), framework="np") as file:
                names = json.loads(file.metadata()["ltml"])["label_names"]
                tensors = {key.removeprefix("head.classifier."): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if row == "label_adapter":
                weight = tensors["queries"] @ tensors["to_weights.weight"].T + tensors["to_weights.bias"]
            else:
                weight = tensors["weight"]
            lengths.append(np.linalg.norm(weight, axis=1))
        for name, length in zip(names, np.mean(lengths, axis=0), strict=True):
            assert f"<title>{name}, {row}: {length:.3g}</title>" in chart
    order = re.findall(r'class="label end"[^>]*><title>(\w+)</title>', chart)
    positives = json.loads((_first_run(comparison) / "labels.json").read_text())
    assert order == sorted(positives, key=lambda name: -positives[name]["train_pos"])
    assert chart.count('class="thin line s') == 4 * 9
    assert "Left out" not in chart


def test_rows_without_norms_say_why(finished: Path, tmp_path: Path, read_page: Callable) -> None:
    copy_to_edit(finished, tmp_path / "runs")
    folder = tmp_path / "runs" / "_comparisons" / "digits_tiny"
    rows = {run.parent.name.partition("+")[0]: run for run in (tmp_path / "runs").glob("digits_tiny/*/seed0")}
    _weights(rows["bce_gaussian"]).unlink()
    for run in (tmp_path / "runs").glob("digits_tiny/label_adapter*/seed*"):
        _, about = load_weights(_weights(run))
        save_weights(_weights(run), {"head.classifier.controller.weight": torch.ones(2, 2)}, about)
    page = ltml.write_report(folder)
    text = read_page(page).text
    assert "No line for bce_gaussian: a checkpoint no longer exists." in text
    why = "the classifier of head label_adapter has no weight vector per class of its own"
    assert f"No line for label_adapter: {why}." in text
    assert "bce_gaussian: " not in page.read_text().partition('<section id="norms"')[2].partition("</figure>")[0]
    shutil.rmtree(tmp_path / "runs" / "digits_tiny")
    result = json.loads((folder / "comparison.json").read_text())
    for cell in result["cells"]:
        cell["run"] = str(tmp_path / "gone" / cell["row"] / f"seed{cell['seed']}")
    (folder / "comparison.json").write_text(json.dumps(result))
    text = read_page(ltml.write_report(folder)).text
    assert "Not in this report: Classifier weights (no run exists any longer); " in text


def test_runs_are_listed_with_what_makes_them_alike(page: Path, comparison: Path, read_page: Callable) -> None:
    shown = read_page(page)
    lines = shown.tables["Every run of the grid"][1:]
    assert len(lines) == 12
    assert len({line[5] for line in lines}) == 1
    assert lines[0][5] in (_first_run(comparison) / "recipe.yaml").read_text()
    fields = next(table for caption, table in shown.tables.items() if caption.startswith("Fields of the recipe"))
    by_field = {line[0]: line[1:] for line in fields[1:]}
    assert by_field["train.epochs"] == ["1"] * 4  # the shipped recipe has 3
    assert by_field["head.type"] == ["linear", "linear", "label_adapter", "linear"]
    assert "backbone.name" not in by_field


def test_every_picture_has_a_text_alternative_and_every_table_a_caption(page: Path, read_page: Callable) -> None:
    shown, text = read_page(page), page.read_text()
    tags = [tag for tag, _ in shown.tags]
    pictures = [about for tag, about in shown.tags if tag == "svg"]
    assert len([about for about in pictures if about.get("role") == "img"]) >= 4
    assert all(about.get("role") == "img" or about.get("aria-hidden") == "true" for about in pictures)
    assert len(re.findall(r'role="img"><title>[^<]+</title><desc>[^<]+</desc>', text)) == len(
        [about for about in pictures if about.get("role") == "img"]
    )
    assert tags.count("table") == tags.count("caption") >= 5
    assert tags.count("figure") == tags.count("figcaption") >= 3
    for landmark in ("header", "nav", "main", "footer"):
        assert tags.count(landmark) == 1
    ids = [about["id"] for _, about in shown.tags if "id" in about]
    assert len(ids) == len(set(ids))
    links = [about["href"] for tag, about in shown.tags if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_names_stay_text(
    evil_comparison: Path, evil_names: tuple[str, ...], tmp_path: Path, read_page: Callable
) -> None:
    shown = read_page(ltml.write_report(evil_comparison, tmp_path / "evil.html"))
    _assert_harmless(shown, evil_names)
    assert "1 of 12 runs failed" in shown.text
    assert f"no memory for {evil_names[0]}" in shown.tables["Runs that failed, and why"][1][3]
    assert shown.tables["Claims of the paper on these data"][1][:2] == [
        f"{evil_names[0]} wins",
        "no difference found",
    ]


def _sections(shown: Any) -> set[str]:
    """Return the ids of the page's sections."""
    return {about["id"] for tag, about in shown.tags if tag == "section"}


def _assert_harmless(shown, names) -> None:
    tags = [tag for tag, _ in shown.tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert not [name for _, about in shown.tags for name in about if name.startswith("on")]
    for name in names:
        assert name in shown.text


def test_runs_that_are_gone_are_left_out_with_a_sentence(comparison: Path, tmp_path: Path, read_page: Callable) -> None:
    folder = tmp_path / "_comparisons" / "alone"
    copy_to_edit(comparison, folder)
    result = json.loads((folder / "comparison.json").read_text())
    for cell in result["cells"]:
        cell["run"] = str(tmp_path / "gone" / cell["row"] / f"seed{cell['seed']}")
    (folder / "comparison.json").write_text(json.dumps(result))
    shown = read_page(ltml.write_report(folder))
    assert "What differs between rows (the runs no longer exist)." in shown.text
    assert "recipes" not in _sections(shown)
    assert len(shown.tables["AUC by training frequency"]) == 5
    assert {line[1] for line in shown.tables[CLASSES][1:]} == {"–"}
    assert len(shown.tables["All measures on test"]) == 5


def test_a_comparison_moved_with_its_runs_finds_them(finished: Path, tmp_path: Path, read_page: Callable) -> None:
    copy_to_edit(finished, tmp_path / "moved")
    folder = tmp_path / "moved" / "_comparisons" / "digits_tiny"
    result = json.loads((folder / "comparison.json").read_text())
    for cell in result["cells"]:
        cell["run"] = cell["run"].replace(str(finished), "/nowhere")
    (folder / "comparison.json").write_text(json.dumps(result))
    assert "AUC by training frequency" in read_page(ltml.write_report(folder)).tables


def test_rows_on_several_data_are_kept_apart(comparison: Path, tmp_path: Path, read_page: Callable) -> None:
    copy_to_edit(comparison, tmp_path / "two")
    result = json.loads((tmp_path / "two" / "comparison.json").read_text())
    for kind in ("rows", "cells"):
        result[kind] += [entry | {"data": "other"} for entry in result[kind]]
    (tmp_path / "two" / "comparison.json").write_text(json.dumps(result))
    scores = pd.read_csv(tmp_path / "two" / "scores.csv")
    scores = pd.concat([scores, scores.assign(data="other", value=scores["value"] / 2)])
    scores.to_csv(tmp_path / "two" / "scores.csv", index=False)
    page = ltml.write_report(tmp_path / "two")
    titles = re.findall(r'<section id="([\w-]+)"', page.read_text())
    assert len(titles) == len(set(titles))
    assert [title for title in titles if title.startswith("classes")] == ["classes-0", "classes-1"]
    whole, half = (read_page(page).tables[f"{data}: All measures on test"] for data in ("digits_tiny", "other"))
    for one, other in zip(whole[1:], half[1:], strict=True):
        assert float(other[1].split()[0]) == pytest.approx(float(one[1].split()[0]) / 2, abs=0.11)


def test_rows_that_know_other_classes_say_so(comparison: Path, tmp_path: Path, read_page: Callable) -> None:
    copy_to_edit(comparison, tmp_path / "uneven")
    result = json.loads((tmp_path / "uneven" / "comparison.json").read_text())
    del result["rows"][1]["per_label"]["nine"]
    result["rows"][1]["labels"] = 9
    result["rows"][1]["means"] = {"even digits": {"mean": 0.5, "sd": 0.1, "values": [], "labels": 5}}
    (tmp_path / "uneven" / "comparison.json").write_text(json.dumps(result))
    shown = read_page(ltml.write_report(tmp_path / "uneven"))
    header, *lines = shown.tables["AUC on test, highest first"]
    by_row = {line[0]: dict(zip(header, line, strict=True)) for line in lines}
    assert {name: line["classes"] for name, line in by_row.items()} == {
        "bce": "10",
        "bce_gaussian": "9",
        "label_adapter": "10",
        "asl": "10",
    }
    assert (by_row["bce_gaussian"]["even digits"], by_row["bce"]["even digits"]) == ("50.0 ± 10.0", "–")
    assert "Rows know different classes" in shown.text
    markup = (tmp_path / "uneven" / "report.html").read_text().partition("</table>")[0]
    assert "<strong>" not in markup  # no mean is the best
    nine = next(line for line in shown.tables[CLASSES] if line[0] == "nine")
    assert nine[shown.tables[CLASSES][0].index("bce_gaussian")] == "–"


def test_a_novel_class_has_no_groups(comparison: Path, tmp_path: Path, read_page: Callable) -> None:
    copy_to_edit(comparison, tmp_path / "novel")
    result = json.loads((tmp_path / "novel" / "comparison.json").read_text())
    rows = [row | {"groups": {}} for row in result["rows"]]
    novel = result | {"measure": "novel", "rows": rows, "patients": {}}
    (tmp_path / "novel" / "comparison.json").write_text(json.dumps(novel))
    shown = read_page(ltml.write_report(tmp_path / "novel"))
    assert "Not in this report: Head, medium, tail (this measure has no groups of labels)." in shown.text
    assert "groups" not in _sections(shown)
    assert "highest mean AUC of the novel class" in shown.text


@pytest.mark.parametrize("kind", ["md", "latex", "csv"])
def test_tables_for_papers_hold_the_same_numbers(comparison: Path, tmp_path: Path, kind: str) -> None:
    ending = {"md": "md", "latex": "tex", "csv": "csv"}[kind]
    text = ltml.write_report(comparison, tmp_path / f"table.{ending}", kind).read_text()
    result = json.loads((comparison / "comparison.json").read_text())
    for row in result["rows"]:
        for entry in [row, *row["per_label"].values()]:
            expected = _points(entry["mean"], entry["sd"])
            assert (expected.replace("±", r"$\pm$") if kind == "latex" else expected) in text
    if kind == "csv":
        entries = [line for line in csv.DictReader(text.splitlines()) if line["column"] == "mean"]
        assert [float(line["value"]) for line in entries] == pytest.approx([100 * r["mean"] for r in result["rows"]])


def test_equal_results_give_equal_bytes(comparison: Path, tmp_path: Path) -> None:
    first, second = (ltml.write_report(comparison, tmp_path / name) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_words_say_who_leads_and_what_is_significant() -> None:
    rows = [_row("base", 0.8), _row("up", 0.9, gap=0.1, p=0.001), _row("down", 0.7, gap=-0.1, p=0.04)]
    rows += [_row("even", 0.81, gap=0.01, p=0.5), _row("gone", None, gap=None)]
    rows[-1]["versus"] = {"mean": None, "sd": None, "p_holm": None, "n": 0}
    assert (
        ranking_in_words(rows, "AUC") == "up has the highest mean AUC, 90.0 ± 1.0 points; even follows with 81.0 ± 1.0."
    )
    text = verdict_in_words(rows)
    assert "Significantly better than base: up (+10.0 ± 1.0 points, p 0.001)." in text
    assert "Significantly worse than base: down (−10.0 ± 1.0 points, p 0.040)." in text
    assert "No difference from base was found for even." in text
    assert "gone" not in text
    assert "over 5 seeds" in text
    assert [judge(row["versus"]) for row in rows] == ["", "better", "worse", "no difference found", "not tested"]


def test_words_name_no_leader_without_a_difference_or_on_few_samples() -> None:
    even = [_row("base", 0.8), _row("even", 0.81, gap=0.01, p=0.5)]
    assert ranking_in_words(even, "AUC") == (
        "No row leads significantly: the highest mean AUC is that of even, 81.0 ± 1.0 points, then base 80.0 ± 1.0."
    )
    better = [_row("base", 0.8), _row("up", 0.9, gap=0.1, p=0.001)]
    assert ranking_in_words(better, "AUC").startswith("up has the highest mean AUC")
    text = ranking_in_words(better, "AUC", {"Hernia": 2})
    assert text.startswith("No row leads significantly")
    assert text.endswith("fewer than 10 known positives or negatives: Hernia (2).")


def test_words_say_what_one_seed_cannot_tell() -> None:
    assert "needs two finished seeds" in verdict_in_words([_row("base", 0.8), _row("up", 0.9, gap=0.1, p=None, n=1)])
    assert "no second row" in verdict_in_words([_row("base", 0.8)])
    assert ranking_in_words([_row("base", None)], "AUC") == "No row has a defined score."


def test_what_is_no_comparison_is_refused(comparison: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a run, which has a recipe.yaml"):
        ltml.write_report(tmp_path)
    copy_to_edit(comparison, tmp_path / "broken")
    (tmp_path / "broken" / "scores.csv").write_text("data,row\n1")
    with pytest.raises(InputError, match=r"cannot read .*scores.csv"):
        ltml.write_report(tmp_path / "broken")
    (tmp_path / "broken" / "comparison.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*comparison.json"):
        ltml.write_report(tmp_path / "broken")
    (tmp_path / "broken" / "comparison.json").write_text("{}")
    with pytest.raises(InputError, match="holds something else than it should .*run the same comparison again"):
        ltml.write_report(tmp_path / "broken")


def _last(run: Path) -> int:
    return 2 if (run / "stage2").is_dir() else 1


def _first_run(comparison: Path) -> Path:
    return Path(json.loads((comparison / "comparison.json").read_text())["cells"][0]["run"])


def _line_of(page: Path, label: str) -> str:
    """The markup of a class's line in the table of classes."""
    table = page.read_text().partition("AUC of every class on test")[2]
    return table.partition(f"<bdi>{label}</bdi>")[2].partition("</tr>")[0]
