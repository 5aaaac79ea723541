"""Read what users give to a measure: any kind of array, frame or list becomes float64, with NaN where unknown.

Every public function of `ltml.metrics` reads its arguments here and nowhere else. Nothing is guessed: masks count, rows
and columns of two frames are matched by their names or refused, and what cannot be meant is refused with its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.arrays import Float64Array as Floats
from ltml.metrics.arguments import Argument, ArrayError, in_words, is_default, match_names, read_argument
from ltml.metrics.class_inputs import read_names


@dataclass(frozen=True)
class Scored:
    """Scores beside their targets, both ``(N, C)``.

    Attributes:
        scores: float64.
        targets: float64: 0, 1, or NaN for unknown.
        label_names: ``(C,)``.
        rows: index of the rows, where a frame gave one.
    """

    scores: Floats
    targets: Floats
    label_names: list[str]
    rows: pd.Index | None


def read_table(
    scores: Any, targets: Any, *, label_names: Any = None, what: str = "probs", chances: bool = True
) -> Scored:
    """Read scores and targets of all classes.

    Args:
        scores: ``(N, C)``: numpy (a mask hides values), pandas (frames are matched by index and columns), torch, or
            lists.
        targets: ``(N, C)`` of 0, 1, or unknown: NaN, None, pandas' NA, or masked.
        label_names: ``(C,)``; by default the columns of the frames, else ``"0"``, ``"1"``, ….
        what: what messages call the scores.
        chances: the scores are probabilities.

    Raises:
        ArrayError: names the argument, place and value.
    """
    one, other = read_argument(scores, what), read_argument(targets, "targets")
    _check_shapes(one, other, (2,))
    one, other = _match(one, other)
    names = _label_names(label_names, one, other)
    _check_values(one, other, chances=chances)
    return Scored(one.values, other.values, names, one.rows if one.rows is not None else other.rows)


def read_pair(
    scores: Any, targets: Any, *, what: str = "probs", chances: bool = True, any_shape: bool = False
) -> tuple[Floats, Floats]:
    """Read scores and targets of one class ``(N,)``, or of any one shape; see `read_table`.

    Raises:
        ArrayError: names the argument, place and value.
    """
    one, other = read_argument(scores, what), read_argument(targets, "targets")
    _check_shapes(one, other, tuple(range(1, 9)) if any_shape else (1,))
    one, other = _match(one, other)
    _check_values(one, other, chances=chances)
    return one.values, other.values


def read_runs(scores: Mapping[str, Any], targets: Any) -> tuple[list[Floats], Floats]:
    """Read several methods' scores of one class, each ``(N,)`` or of S runs ``(S, N)``, beside their targets ``(N,)``.

    Series are matched by index with the targets, or with the first series where the targets have none.

    Returns:
        Scores ``(S, N)`` of each method, and the targets.

    Raises:
        ArrayError: names the argument, place and value.
    """
    labels = read_argument(targets, "targets")
    found: list[Floats] = []
    for what, values in scores.items():
        given = read_argument(values, what)
        if labels.values.ndim != 1 or given.values.ndim not in (1, 2) or given.values.shape[-1] != len(labels.values):
            shapes = f"{given.values.shape} and {labels.values.shape}"
            raise ArrayError(f"Expected {what} (N,) or (S, N) and targets (N,) but got {shapes}.")
        if given.values.ndim == 2:
            given = replace(given, rows=None, columns=None)
        labels, given = _match(labels, given)
        labels = labels if labels.rows is not None else replace(labels, rows=given.rows)
        for run in np.atleast_2d(given.values):
            _check_values(replace(given, values=run), labels, chances=False)
        found.append(np.atleast_2d(given.values))
    return found, labels.values


def read_targets(targets: Any, *, dimensions: int) -> Floats:
    """Read targets alone, ``(N,)`` or ``(N, C)``.

    Raises:
        ArrayError: another shape, or a value other than 0, 1, NaN.
    """
    given = read_argument(targets, "targets")
    if given.values.ndim != dimensions:
        raise ArrayError(f"Expected targets {'(N,)' if dimensions == 1 else '(N, C)'} but got {given.values.shape}.")
    _check_targets(given)
    return given.values


def read_probs(probs: Any) -> Floats:
    """Read probabilities alone, of any shape; NaN stays.

    Raises:
        ArrayError: one lies outside [0, 1].
    """
    given = read_argument(probs, "probs")
    _check_chances(given)
    return given.values


def _check_shapes(one: Argument, other: Argument, dimensions: tuple[int, ...]) -> None:
    first, second = one.values.shape, other.values.shape
    if first == second and len(first) in dimensions and 0 not in first[1:]:
        return
    form = " (N, C)" if dimensions == (2,) else " (N,)" if dimensions == (1,) else ""
    hint = ""
    if dimensions[0] == 2 and {len(first), len(second)} <= {1, 2} and first[:1] == second[:1]:
        if first[1:] in ((), (1,)) and second[1:] in ((), (1,)):
            hint = " For one class give both as (N, 1): values.reshape(-1, 1)."
        elif len(second) == 1:
            hint = " Targets need a column of 0 and 1 for each class; class numbers have to be made one-hot."
    elif len(first) == len(second) == 2 and first == second[::-1]:
        hint = " One of them looks transposed (.T)."
    elif dimensions == (1,) and (*first, 1)[:2] == (*second, 1)[:2]:
        hint = " Give one class at a time, values[:, c], or use ltml.score for all."
    raise ArrayError(f"Expected {one.what} and targets of one shape{form} but got {first} and {second}.{hint}")


def _match(one: Argument, other: Argument) -> tuple[Argument, Argument]:
    """Bring rows and columns of the other frame into the order of the first."""
    names = one.what, other.what
    if one.rows is not None and other.rows is not None and not one.rows.equals(other.rows):
        order = match_names(one.rows, other.rows, "index", *names)
        other = replace(other, values=other.values[order], rows=one.rows)
    if one.columns is None or other.columns is None or list(one.columns) == list(other.columns):
        return one, other
    if is_default(one.columns) and not any(isinstance(name, int | np.integer) for name in other.columns):
        return one, other
    if is_default(other.columns) and not any(isinstance(name, int | np.integer) for name in one.columns):
        return one, other
    order = match_names(one.columns, other.columns, "columns", *names)
    return one, replace(other, values=other.values[:, order], columns=one.columns)


def _label_names(label_names: Any, one: Argument, other: Argument) -> list[str]:
    count = one.values.shape[1]
    named = [given for given in (one, other) if given.columns is not None and not is_default(given.columns)]
    columns = [read_names(given.columns, count, f"the columns of {given.what}") for given in named]
    if label_names is None:
        return columns[0] if columns else [str(c) for c in range(count)]
    names = read_names(label_names)
    if len(names) != count:
        turned = (
            f" {one.what} of shape {one.values.shape} look transposed (.T)." if len(names) == len(one.values) else ""
        )
        raise ArrayError(f"Expected {count} label names but got {len(names)}.{turned}")
    for given, own in zip(named, columns, strict=True):
        if own != names:
            place = next(c for c, pair in enumerate(zip(own, names, strict=True)) if pair[0] != pair[1])
            raise ArrayError(
                f"label_names contradict the columns of {given.what}: column {place} is {in_words(own[place])}, but "
                f"{in_words(names[place])} in label_names. Leave label_names out, or give them in that order."
            )
    return names


def _check_values(one: Argument, other: Argument, *, chances: bool) -> None:
    _check_targets(other, one)
    lost = np.isnan(one.values) & ~np.isnan(other.values)
    if lost.any():
        raise ArrayError(
            f"Expected {one.what} without NaN where the target is known but {one.place(lost)[1]} is NaN or masked."
        )
    if chances:
        _check_chances(one)


def _check_targets(given: Argument, scores: Argument | None = None) -> None:
    labels = given.values
    wrong = _is_no_label(labels)
    if not wrong.any():
        return
    at, place = given.place(wrong)
    why = ""
    if (labels == -1).any():
        why = (
            " -1 is CheXpert's mark of an uncertain label: make what is unknown NaN, never a negative "
            "(np.where(targets == -1, np.nan, targets))."
        )
    elif scores is not None and not _is_no_label(scores.values).any():
        why = f" {scores.what} holds nothing but 0 and 1: are the two swapped?"
    raise ArrayError(
        f"Expected targets of 0, 1 or NaN (unknown) but {place} is {labels[at]:g} ({int(wrong.sum())} such).{why}"
    )


def _is_no_label(values: Floats) -> npt.NDArray[np.bool_]:
    wrong: npt.NDArray[np.bool_] = ~(np.isnan(values) | (values == 0) | (values == 1))
    return wrong


def _check_chances(given: Argument) -> None:
    wrong = (given.values < 0) | (given.values > 1)
    if wrong.any():
        at, place = given.place(wrong)
        raise ArrayError(
            f"Expected {given.what} in [0, 1] but {place} is {given.values[at]:g} ({int(wrong.sum())} such; logits? "
            "apply a sigmoid; percent? divide by 100)."
        )
