"""Tables of the similarity of classes, and its CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from ltml.csv_table import without_formula
from ltml.errors import InputError
from ltml.files import write_atomically
from ltml.report.numbers import UNDEFINED, count_cell, number_cell, typeset
from ltml.report.page import Column, Prose, Table, TableCell, text_column

KINDS = {"queries": "class queries", "features": "mean features"}
"""Vectors by which `ltml.describe_relations` compares classes."""
MAX_PAIRS = 10
"""Number of pairs that are printed per kind; the JSON and the CSV have all."""


def relations_blocks(relations: Mapping[str, Any]) -> Iterator[Table | Prose]:
    """Yield the most similar pairs of classes by each kind of `ltml.describe_relations`, and what is undefined."""
    for kind, name in KINDS.items():
        relation = relations[kind]
        if relation is None:
            yield Prose(f"{name}: none, {relations['absent'][kind]}")
            continue
        yield _pairs_table(relations["labels"], relation["similarity"], f"Stage {relations['stage']}, {name}")
        yield from (Prose(f"{entry['label']}: undefined, {entry['reason']}") for entry in relation["undefined"])


def relations_frame(relations: Mapping[str, Any]) -> pd.DataFrame:
    """Return the similarity matrices in long form: kind, label_a, label_b, similarity (missing if undefined)."""
    names = [entry["label"] for entry in relations["labels"]]
    rows = [
        (kind, a, b, value)
        for kind in KINDS
        if relations[kind]
        for a, row in zip(names, relations[kind]["similarity"], strict=True)
        for b, value in zip(names, row, strict=True)
    ]
    return pd.DataFrame(rows, columns=["kind", "label_a", "label_b", "similarity"])


def write_relations(relations: Mapping[str, Any], path: Path) -> None:
    """Write `relations_frame` as a CSV in which no label is a spreadsheet formula.

    Raises:
        InputError: see `check_csv`.
    """
    check_csv(path)
    frame = relations_frame(relations)
    frame[["label_a", "label_b"]] = frame[["label_a", "label_b"]].map(without_formula)
    write_atomically(path, lambda temporary: frame.to_csv(temporary, index=False))


def check_csv(path: Path) -> None:
    """Raise if similarities cannot be written to a file.

    Raises:
        InputError: it is not a ``.csv``, or it exists.
    """
    if path.suffix != ".csv":
        raise InputError(f"cannot write the similarities to '{path}': give the name of a .csv file")
    if path.exists():
        raise InputError(f"{path} exists already; give another name or remove it first")


def _pairs_table(labels: list[Mapping[str, Any]], similarity: list[list[float | None]], title: str) -> Table:
    values = ((similarity[a][b], a, b) for a, b in combinations(range(len(labels)), 2))
    pairs = sorted(((value, a, b) for value, a, b in values if value is not None), key=lambda pair: -pair[0])
    count = f"{MAX_PAIRS} most similar of {len(pairs)} pairs" if len(pairs) > MAX_PAIRS else f"{len(pairs)} pair(s)"
    lines = []
    for value, *members in pairs[:MAX_PAIRS]:
        cells = [cell for c in members for cell in (TableCell(labels[c]["label"]), count_cell(labels[c]["n_pos"]))]
        lines.append([*cells, number_cell(value)])
    columns = [text_column("class"), Column("train +"), text_column("class"), Column("train +"), Column("cosine")]
    return Table(f"{title}: {count}", columns, lines)


def gain_tables(gains: Mapping[str, Any]) -> Iterator[Table]:
    """Yield a line per added class of `ltml.relate_gain`, the most similar last, and the correlations."""
    lines = []
    for entry in sorted(gains["classes"], key=lambda entry: (entry["features"] is None, entry["features"] or 0.0)):
        similar = [_two_digits(entry[kind]) for kind in ("features", "queries")]
        gain = None if entry["gain"] is None else 100 * entry["gain"]
        cell = TableCell(UNDEFINED if gain is None else typeset(f"{gain:+.1f}"), gain)
        lines.append([TableCell(entry["label"]), count_cell(entry["n_pos"]), *similar, cell])
    names = ("train +", "similarity (features)", "similarity (queries)", "gain, points")
    yield Table(f"Classes added to {gains['interest']}", [text_column("class"), *map(Column, names)], lines)
    yield correlations_table([gains], gains["interest"])


def correlations_table(gains: Sequence[Mapping[str, Any]], interest: str) -> Table:
    """Return a line per run and kind: how similarity and gain correlate, and how they do given class frequency.

    Args:
        gains: ``correlation`` and ``partial`` as from `ltml.relate_gain`, with the run's data, row and seed if there
            are several.
        interest: the class to which others were added.
    """
    run = [key for key in ("data", "row", "seed") if gains and key in gains[0]]
    lines = []
    for entry in gains:
        for kind, plain in entry["correlation"].items():
            if plain is None:
                continue
            given = entry["partial"][kind] or dict.fromkeys(("r", "p", "n"))
            names = [*(str(entry[key]) for key in run), KINDS[kind]]
            numbers = [number_cell(part[key]) for part in (plain, given) for key in ("r", "p")]
            lines.append([*map(TableCell, names), *numbers, count_cell(plain["n"])])
    note = (
        f"Pearson's r over the added classes, of their similarity to {interest} in the run and of the gain from adding "
        "them. Given log count: what is left after a linear regression of both on the logarithm of the added class's "
        "training positives."
    )
    columns = [*map(text_column, [*run, "similarity by"])]
    columns += map(Column, ("r", "p", "r given log count", "p given log count", "classes"))
    return Table("Do similar classes help more?", columns, lines, note)


def _two_digits(value: float | None) -> TableCell:
    return TableCell(UNDEFINED if value is None else typeset(f"{value:.2f}"), value)
