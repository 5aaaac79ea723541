"""Read the columns and cells of a predictions file strictly: similar names and values are refused, not ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ltml.arrays import Float64Array
from ltml.errors import InputError, brief, shown
from ltml.near_names import fold_id, fold_name, is_missing, near_misses

KINDS = ("prob", "target", "novel")
SURE = {
    "prob": "prob",
    "probs": "prob",
    "probability": "prob",
    "target": "target",
    "targets": "target",
    "novel": "novel",
}
"""Words that have only one meaning beside a label's name."""
WORDS = (
    SURE
    | dict.fromkeys(("probabilities", "pred", "prediction", "predicted", "score", "logit", "p"), "prob")
    | dict.fromkeys(("label", "labels", "truth", "true", "groundtruth", "gt", "y"), "target")
)
"""Meaning of words that people write before a label's name."""
SIGNS = r"[:=_\-./|\s]+"
NEEDS = "It needs the columns id, group (optional: the patient), prob:<label> and target:<label> (0, 1 or empty)."
EMPTY_CELL = "leave target:<label> empty where it is unknown, and take the column out"
UNREAD = {"known": EMPTY_CELL, "mask": EMPTY_CELL, "split": "keep the rows of one split, and take the column out"}
"""Advice about columns that do not belong in a predictions file and would change the scores."""
TRUTH = {"true": 1.0, "false": 0.0, "": np.nan, "nan": np.nan}
"""Values of targets that are not numbers, in lower case."""


def find_labels(columns: Sequence[str], path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels that have a probability and a target, and those that are novel.

    Raises:
        InputError: if a column is missing, has no partner, is repeated in another spelling or resembles a read one.
    """
    parts = [
        match.groups() for column in columns if (match := re.fullmatch(r"(prob|target|novel):(\S|\S.*\S)", column))
    ]
    labels, targets, novel = ([label for kind, label in parts if kind == wanted] for wanted in KINDS)
    read = {"id", "group", *(f"{kind}:{label}" for kind, label in parts)}
    others = [column for column in columns if column not in read]
    _refuse_near_labels(others, {fold_name(label) for _, label in parts}, path, sparse=not (labels and targets))
    for name in ("id", "group"):
        _refuse_near(name, columns, others, path)
    _refuse_unread(others, path)
    _refuse_twins([column for column in columns if column in read], path)
    if not labels or "id" not in columns:
        lack = [name for name, exists in (("id", "id" in columns), ("prob:<label>", labels)) if not exists]
        raise InputError(f"{path} is not a predictions file: it lacks {' and '.join(lack)}. {NEEDS}")
    _refuse_single("prob", labels, "target", targets, path)
    _refuse_single("target", targets, "prob", labels, path)
    return tuple(labels), tuple(novel)


def _refuse_near_labels(others: Sequence[str], known: set[str], path: Path, *, sparse: bool) -> None:
    """Refuse columns that are almost ``prob:<label>``, such as ``Prob:Mass``, ``target: Mass`` or ``Mass_prob``."""
    for column in others:
        first, colon, rest = column.replace("：", ":").partition(":")
        if not colon:
            first, *rests = re.split(SIGNS, column, maxsplit=1)
            rest = rests[0] if rests else ""
        last = re.split(SIGNS, column)[-1]
        kind = WORDS.get(fold_name(first)) if rest or colon else None
        sure = fold_name(first) in SURE or bool(colon) or sparse or fold_name(rest) in known
        if kind is None and last != column:
            kind, sure, rest = SURE.get(fold_name(last)), True, column[: -len(last) - 1]
        if kind and sure:
            wanted = f"{kind}:{rest.strip() or '<label>'}"
            raise InputError(f"{path}: the column {shown(column)} is not read: call it {shown(wanted)}, or take it out")


def _refuse_near(name: str, columns: Sequence[str], others: Sequence[str], path: Path) -> None:
    near = near_misses(others, name)
    if name in columns:
        near = [column for column in near if fold_name(column) == name]
    if near:
        unless = "; if it is not the patient, take it out" if name == "group" else ""
        remedy = f"there is '{name}' too, keep one" if name in columns else f"call it '{name}'{unless}"
        raise InputError(f"{path}: the column {shown(near[0])} is not read: {remedy}")


def _refuse_unread(others: Sequence[str], path: Path) -> None:
    """Refuse a column such as ``known``, ``mask:Mass`` or ``Splits``."""
    for column in others:
        first = fold_name(re.split(SIGNS, column, maxsplit=1)[0])
        if remedy := UNREAD.get(first.removesuffix("s")):
            raise InputError(f"{path}: the column {shown(column)} is not read: {remedy}")


def _refuse_twins(columns: Sequence[str], path: Path) -> None:
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(fold_name(column), column)
        if other != column:
            raise InputError(f"{path}: the columns {shown(other)} and {shown(column)} differ in form alone; keep one")


def _refuse_single(kind: str, labels: Sequence[str], partner: str, partners: Sequence[str], path: Path) -> None:
    alone = [label for label in labels if label not in partners]
    if not alone:
        return
    near = [label for label in partners if fold_name(label) == fold_name(alone[0])]
    hint = f"is {shown(f'{partner}:{near[0]}')} meant?" if near else "add it, or take the column out"
    raise InputError(
        f"{path}: the column {shown(f'{kind}:{alone[0]}')} has no {shown(f'{partner}:{alone[0]}')} beside it: {hint} "
        f"({len(alone)} such)"
    )


def read_ids(cells: pd.Series, path: Path) -> list[str]:
    """Return the ids, which must be unique.

    Raises:
        InputError: names the line of one that is empty or repeated.
    """
    _refuse_empty(cells, path)
    doubled = cells[cells.duplicated()]
    if len(doubled):
        raise InputError(f"{path}, line {doubled.index[0]}: the id {shown(doubled.iloc[0])} appears more than once")
    ids: list[str] = cells.tolist()
    return ids


def read_groups(cells: pd.Series, path: Path) -> list[str]:
    """Return the groups; names that differ only in spelling are refused, because they may be one patient.

    Raises:
        InputError: names the line of one that is empty or differs from another only in spelling.
    """
    _refuse_empty(cells, path)
    first: dict[str, str] = {}
    for text in cells.unique():
        other = first.setdefault(fold_id(text), text)
        if other != text:
            lines = [cells.index[int((cells == name).argmax())] for name in (text, other)]
            raise InputError(
                f"{path}, line {lines[0]}: the group {shown(text)} is {shown(other)} on line {lines[1]}; they differ "
                "only in case, blanks, leading zeros or a '.0'. Write one patient alike, and two in another way"
            )
    groups: list[str] = cells.tolist()
    return groups


def _refuse_empty(cells: pd.Series, path: Path) -> None:
    empty = cells.isin([text for text in cells.unique() if is_missing(text)])
    if empty.any():
        advice = "rows of nobody would all be one patient" if cells.name == "group" else "rows are matched by it"
        raise InputError(
            f"{path}, line {cells.index[int(empty.argmax())]}: the column {cells.name} is empty ({int(empty.sum())} "
            f"such): {advice}. Fill it in, or take the rows out"
        )


def read_probs(table: pd.DataFrame, labels: Sequence[str], path: Path) -> Float64Array:
    """Return probabilities, float64 ``(N, C)``.

    Raises:
        InputError: names line, column and value of one that is empty, not a number, or outside [0, 1].
    """
    probs = np.empty((len(table), len(labels)))
    for c, label in enumerate(labels):
        cells = table[f"prob:{label}"]
        try:
            probs[:, c] = cells.to_numpy(dtype=object).astype(np.float64)
        except ValueError:
            probs[:, c] = [_number(cell) for cell in cells]
        wrong = ~((probs[:, c] >= 0) & (probs[:, c] <= 1))
        if wrong.any():
            raise InputError(_refusal(cells, pd.Series(wrong), path, _why_no_probability))
    return probs


def read_targets(table: pd.DataFrame, columns: Sequence[str], path: Path) -> Float64Array:
    """Return targets, float64 ``(N, C)``: 0, 1, or NaN where a cell is empty; true and false are 1 and 0.

    Raises:
        InputError: names line, column and value of any other cell.
    """
    targets = np.empty((len(table), len(columns)))
    for c, column in enumerate(columns):
        cells: list[str] = table[column].unique().tolist()
        values = {cell: TRUTH.get(cell.casefold(), _number(cell)) for cell in cells}
        targets[:, c] = table[column].map(values)
        strange = [cell for cell in cells if cell.casefold() not in TRUTH and values[cell] not in (0, 1)]
        if strange:
            raise InputError(_refusal(table[column], table[column].isin(strange), path, _why_no_target))
    return targets


def _number(cell: str) -> float:
    """Convert a cell to a number, NaN if it is not one."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _refusal(cells: pd.Series, wrong: pd.Series, path: Path, why: Callable[[str], str]) -> str:
    at = int(wrong.argmax())
    return f"{path}, line {cells.index[at]}, column {cells.name}: {why(cells.iloc[at])} ({int(wrong.sum())} such)"


def _why_no_probability(cell: str) -> str:
    if is_missing(cell):
        return f"{shown(cell) if cell else 'empty'}; every row needs a probability in [0, 1]"
    if _is_comma_number(cell):
        return f"{shown(cell)} has a decimal comma; write a point"
    if np.isnan(_number(cell)):
        return f"{shown(cell)} is not a number; a probability in [0, 1] is needed"
    return f"{brief(cell)} (logits? apply a sigmoid; percent? divide by 100)"


def _why_no_target(cell: str) -> str:
    if _number(cell) == -1:
        return "-1; uncertain or unknown? Leave the cell empty, never a negative; allowed are 0, 1 and empty"
    comma = "; it has a decimal comma" if _is_comma_number(cell) else ""
    soft = "; are prob: and target: swapped?" if 0 < _number(cell) < 1 else ""
    return f"{shown(cell)}; allowed are 0, 1 (or true, false) and empty (unknown){comma}{soft}"


def _is_comma_number(cell: str) -> bool:
    return re.fullmatch(r"-?\d*,\d+", cell) is not None
