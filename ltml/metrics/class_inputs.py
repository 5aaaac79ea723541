"""Arguments with one value per class: names, thresholds, counts and groups of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ltml.arrays import Float64Array as Floats
from ltml.errors import first_few, suggest
from ltml.metrics.arguments import ArrayError, bare_array, in_words, is_default, read_argument
from ltml.near_names import fold_name


def read_threshold(threshold: Any, label_names: Sequence[str]) -> float | tuple[float, ...]:
    """Read one threshold, or one per class: by position, or by label in a mapping or series.

    Raises:
        ArrayError: one lies outside [0, 1], or there are too few or too many.
    """
    if np.ndim(bare_array(threshold)) == 0 and not isinstance(threshold, Mapping):
        (limit,) = check_thresholds(read_argument([threshold], "threshold").values)
        return float(limit)
    limits = by_label(threshold, label_names, "threshold", f"one threshold or {len(label_names)}")
    return tuple(check_thresholds(np.array(limits)).tolist())


def check_thresholds(limits: Any) -> Floats:
    """Read thresholds of any shape.

    Raises:
        ArrayError: one is NaN or outside [0, 1].
    """
    given = read_argument(limits, "threshold")
    wrong = ~((given.values >= 0) & (given.values <= 1))
    if wrong.any():
        value = given.values[wrong][0]
        raise ArrayError(f"Expected a threshold in [0, 1] but got {value:g}; a threshold is a probability.")
    return given.values


def read_counts(counts: Any, label_names: Sequence[str], what: str) -> list[int]:
    """Read whole numbers per class: by position, or by label in a mapping, series, or frame of one row or column.

    Raises:
        ArrayError: a label has none, or one is no whole number of 0 or more.
    """
    values = by_label(counts, label_names, what, f"{what} of {len(label_names)} classes")
    for name, value in zip(label_names, values, strict=True):
        if not (value >= 0 and value.is_integer()):
            raise ArrayError(f"Expected {what} as whole numbers of 0 or more but got {value:g} for '{name}'.")
    return [int(value) for value in values]


def by_label(values: Any, label_names: Sequence[str], what: str, expected: str) -> list[float]:
    """Read one number per class, in the order of the labels; see `read_counts`. A message says what was `expected`.

    Raises:
        ArrayError: a label has no number or two, or the number of values is another.
    """
    if isinstance(values, pd.DataFrame) and 1 in values.shape:
        values = values.iloc[:, 0] if values.shape[1] == 1 else values.iloc[0]
    if isinstance(values, pd.Series) and not is_default(values.index):
        if values.index.has_duplicates:
            raise ArrayError(f"{what} has the label {in_words(values.index[values.index.duplicated()][0])} twice.")
        values = values.to_dict()
    if isinstance(values, Mapping):
        named = {str(key): value for key, value in values.items()}
        if absent := [name for name in label_names if name not in named]:
            near = [key for key in named if fold_name(key) == fold_name(absent[0])]
            hint = f" (it has {in_words(near[0])})" if near else f"; it has {first_few(map(in_words, named))}"
            raise ArrayError(f"{what} has no value for the label {in_words(absent[0])}{hint}.")
        values = [named[name] for name in label_names]
    numbers = read_argument(values, what).values
    if numbers.shape != (len(label_names),):
        raise ArrayError(f"Expected {expected} but got {numbers.size}.")
    if np.isnan(numbers).any():
        raise ArrayError(f"{what} has no number for {in_words(label_names[int(np.isnan(numbers).argmax())])}.")
    listed: list[float] = numbers.tolist()
    return listed


def read_names(names: Any, count: int | None = None, what: str = "label_names") -> list[str]:
    """Read the names of classes.

    Raises:
        ArrayError: one is empty, no name, or there twice, or there are not `count`.
    """
    if isinstance(names, str | bytes | Mapping) or not isinstance(names, Iterable):
        raise ArrayError(f"Expected {what} as a list of names but got {type(names).__name__} {in_words(names)}.")
    listed = list(names)
    for name in listed:
        if not isinstance(name, str | int | np.integer | tuple) or isinstance(name, bool) or not str(name).strip():
            raise ArrayError(f"Expected {what} that are text but got {in_words(name)}.")
    texts = [str(name) for name in listed]
    if doubled := [name for place, name in enumerate(texts) if name in set(texts[:place])]:
        raise ArrayError(f"{what} holds {in_words(doubled[0])} twice; every class needs a name of its own.")
    if count is not None and len(texts) != count:
        raise ArrayError(f"Expected {count} label names but got {len(texts)}.")
    return texts


def read_label_groups(groups: Any, label_names: Sequence[str]) -> dict[str, list[str]]:
    """Read labels by the name of their group.

    Raises:
        ArrayError: another form, or a label that is not among the names.
    """
    form = 'labels by group name, e.g. {"head": ["Edema"], "tail": ["Hernia"]}'
    if not isinstance(groups, Mapping):
        raise ArrayError(
            f"Expected groups as {form} but got {type(groups).__name__} (`ltml.metrics.groups` makes them of counts). "
            "Patients are not for scores: give them to `ltml.metrics.bootstrap.bootstrap_scores`."
        )
    found = {}
    for group, members in groups.items():
        if isinstance(members, str) or not isinstance(members, Iterable):
            raise ArrayError(f"Expected groups as {form} but group {in_words(group)} is {in_words(members)}.")
        found[str(group)] = [str(member) for member in members]
        for member in found[str(group)]:
            if member not in label_names:
                raise ArrayError(f"group {in_words(group)} names the label '{member}': {suggest(member, label_names)}")
    return found
