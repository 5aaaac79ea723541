"""How alike classes are, as text for a terminal of 80 columns and as a CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from ltml.csv_table import without_formula
from ltml.errors import InputError
from ltml.files import write_atomically
from ltml.report.terminal_tables import render

KINDS = {"queries": "class queries", "features": "mean features"}
"""What `ltml.describe_relations` compares classes by."""
SHOWN = 10
"""Pairs that are printed per kind; all are in the JSON and the CSV."""


def relations_table(found: Mapping[str, Any]) -> str:
    """The most similar pairs of classes by each kind of `ltml.describe_relations`, and what is not defined."""
    return "\n".join(part for kind in KINDS for part in _parts(found, kind))


def relations_frame(found: Mapping[str, Any]) -> pd.DataFrame:
    """The whole similarity matrices in long form: kind, label_a, label_b, similarity (missing where undefined)."""
    names = [entry["label"] for entry in found["labels"]]
    rows = [
        (kind, a, b, value)
        for kind in KINDS
        if found[kind]
        for a, row in zip(names, found[kind]["similarity"], strict=True)
        for b, value in zip(names, row, strict=True)
    ]
    return pd.DataFrame(rows, columns=["kind", "label_a", "label_b", "similarity"])


def write_relations(found: Mapping[str, Any], path: Path) -> None:
    """Write `relations_frame` as a CSV in which no label is a formula.

    Raises:
        InputError: see `check_csv`.
    """
    check_csv(path)
    frame = relations_frame(found)
    frame[["label_a", "label_b"]] = frame[["label_a", "label_b"]].map(without_formula)
    write_atomically(path, lambda temporary: frame.to_csv(temporary, index=False))


def check_csv(path: Path) -> None:
    """Refuse a file that no similarities are to be written to.

    Raises:
        InputError: it is no ``.csv``, or exists.
    """
    if path.suffix != ".csv":
        raise InputError(f"cannot write the similarities to '{path}': give the name of a .csv file")
    if path.exists():
        raise InputError(f"{path} exists already; give another name or remove it first")


def _parts(found: Mapping[str, Any], kind: str) -> Iterator[str]:
    relation = found[kind]
    if relation is None:
        yield fill(f"{KINDS[kind]}: none, {found['absent'][kind]}", width=80)
        return
    yield _pairs_table(found["labels"], relation["similarity"], f"stage {found['stage']}, {KINDS[kind]}")
    for entry in relation["undefined"]:
        yield fill(f"{entry['label']}: undefined, {entry['reason']}", width=80)


def _pairs_table(labels: list[Mapping[str, Any]], similarity: list[list[float | None]], title: str) -> str:
    values = ((similarity[a][b], a, b) for a, b in combinations(range(len(labels)), 2))
    pairs = sorted(((value, a, b) for value, a, b in values if value is not None), key=lambda pair: -pair[0])
    count = f"{SHOWN} most similar of {len(pairs)} pairs" if len(pairs) > SHOWN else f"{len(pairs)} pair(s)"
    table = Table(title=Text(f"{title}: {count}"), title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("class", "class"):
        table.add_column(name, min_width=10)
        table.add_column("train+", justify="right", no_wrap=True)
    table.add_column("cosine", justify="right", no_wrap=True)
    for value, *members in pairs[:SHOWN]:
        cells = [cell for c in members for cell in (Text(labels[c]["label"]), str(labels[c]["n_pos"]))]
        table.add_row(*cells, f"{value:.3f}")
    return render(table)


def gain_table(found: Mapping[str, Any]) -> str:
    """A line per added class of what `ltml.relate_gain` gave, the most alike last, and the correlations."""
    table = Table(box=box.SIMPLE_HEAD, title=Text(f"classes added to {found['interest']}"), title_justify="left")
    table.add_column("class", min_width=10)
    for name in ("train+", "alike (features)", "alike (queries)", "gain, points"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in sorted(found["classes"], key=lambda entry: (entry["features"] is None, entry["features"] or 0.0)):
        alike = ("–" if entry[kind] is None else f"{entry[kind]:.2f}" for kind in ("features", "queries"))
        count = "–" if entry["n_pos"] is None else str(entry["n_pos"])
        table.add_row(
            Text(entry["label"]), count, *alike, "–" if entry["gain"] is None else f"{100 * entry['gain']:+.1f}"
        )
    return "\n".join([render(table), *correlations_in_words(found)])


def relations_in_words(found: Mapping[str, Any]) -> str:
    """How alike classes help in a comparison, by one of its own runs (``relations`` of `ltml.compare`)."""
    title = f"{found['data']}: {found['row']}, seed {found['seed']}: do alike classes help more?"
    return "\n".join([title, *correlations_in_words(found)])


def correlations_in_words(found: Mapping[str, Any]) -> list[str]:
    """Lines that say, by kind, how similarity and gain correlate, and what of it class frequency does not explain."""
    lines = []
    for kind in ("features", "queries"):
        if found["correlation"][kind] is not None:
            lines.append(_correlation(f"{kind}: Pearson r", found["correlation"][kind]))
        if found["partial"][kind] is not None:
            lines.append(_correlation("  given the log count of training positives: r", found["partial"][kind]))
    return lines


def _correlation(what: str, found: Mapping[str, Any]) -> str:
    if found["r"] is None:
        return f"{what} is undefined with these {found['n']} classes"
    return f"{what} = {found['r']:.2f}, p = {found['p']:.3g}, {found['n']} classes"
