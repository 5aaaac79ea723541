"""RESULTS.md of the experiments: its text with every figure from the saved tables."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[1] / "recipes" / "experiments"
SAVED = EXPERIMENTS / "results"
REFERENCE = re.compile(r"\{\{(.*?)\}\}", flags=re.DOTALL)
TABLE = re.compile(r"<!-- table (\w+) -->")
TITLES = {"auroc": "AUC", "ap": "mAP", "accuracy": "mACC", "kappa": "kappa", "f1": "F1"}

Line = dict[str, str]


def results_page() -> str:
    """Return the text of RESULTS.md.

    Raises:
        KeyError: the template refers to a figure that is in no saved table.
    """
    text = (SAVED / "RESULTS.template.md").read_text(encoding="utf-8")
    figures = _figures()
    text = REFERENCE.sub(lambda found: figures[tuple(" ".join(found[1].split()).split("|"))], text)
    return TABLE.sub(lambda found: TABLES[found[1]](), text)


def _read(name: str) -> list[Line]:
    with (SAVED / f"{name}-digits.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _figures() -> dict[tuple[str, ...], str]:
    """Return what the text may refer to: changes by stage 2 rounded to 0.1 points, and the figures of the remarks."""
    changes = {
        (line["row"], line["split"], line["classes"], line["measure"]): f"{float(line['mean']):+.1f}"
        for line in _read("stage2")
    }
    remarks = {
        (line["experiment"], line["row"], line["quantity"]): _spread(line["value"], line["sd"])
        for line in _read("remarks")
    }
    return changes | remarks


def _spread(mean: str, sd: str) -> str:
    return f"{mean} ± {sd}" if sd else mean


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _measures(name: str, key: str) -> str:
    """Return a table with a row per method and a column per split, group of classes and measure."""
    groups = {row: list(lines) for row, lines in groupby(_read(name), key=lambda line: line[key])}
    first = next(iter(groups.values()))
    columns = [
        " ".join(filter(None, (line["split"], "tail" * (line["classes"] == "tail"), TITLES[line["measure"]])))
        for line in first
    ]
    rows = [[row, *(_spread(line["mean"], line["sd"]) for line in lines)] for row, lines in groups.items()]
    return _markdown(["stage 2" if key == "row" else "stage 1 of", *columns], rows)


def _experiments() -> str:
    rows = [
        [
            f"`{line['experiment']}`",
            line["row"],
            _spread(line["auroc"], line["sd"]),
            _spread(line["difference"], line["difference_sd"]) or "reference",
            line["p_holm"],
        ]
        for line in _read("experiments")
    ]
    return _markdown(["experiment", "row", "AUC", "Δ", "p (Holm)"], rows)


def _claims() -> str:
    rows = [
        [
            f"{line['claim']} (`{line['experiment']}`)",
            _spread(line["difference"], line["difference_sd"]),
            line["p_holm"],
            line["verdict"],
        ]
        for line in _read("claims")
    ]
    return _markdown(["claim of the paper", "Δ", "p (Holm)", "here"], rows)


TABLES = {
    "stage2": lambda: _measures("stage2", "row"),
    "stage1": lambda: _measures("stage1", "method"),
    "experiments": _experiments,
    "claims": _claims,
}
"""Function that lays out each table, by the name in the template."""
