"""Read what users give to a measure: any kind of array, frame or list becomes float64, with NaN where unknown.

Every public function of `ltml.metrics` reads its arguments here and nowhere else. Nothing is guessed: masks count, rows
and columns of two frames are matched by their names or refused, and what cannot be meant is refused with its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.arrays import Float64Array as Floats
from ltml.errors import InputError, first_few, first_line, suggest
from ltml.near_names import fold_id, fold_name, is_missing

PLAIN = (bool, int, float, str, bytes, type(None), type(pd.NA), np.generic, Decimal)
"""Kinds of value that a list may hold beside lists of them."""
NO_PATIENTS = (
    "No patients are known: every row is counted as a patient of its own. If patients have several rows, name them "
    "(column `group`, array `groups`), or splits may share them and intervals are too narrow"
)
"""Warning where patients are split, resampled or tested and each row is a patient of its own."""


class ArrayError(InputError, ValueError):
    """An argument that cannot be meant; a ValueError too, as other libraries of measures raise."""


@dataclass(frozen=True)
class Given:
    """One argument.

    Attributes:
        what: the argument's name, for messages.
        values: float64, NaN where there is no value.
        rows: index of a frame or series; None for other arrays.
        columns: those of a frame; None for other arrays.
    """

    what: str
    values: Floats
    rows: pd.Index | None = None
    columns: pd.Index | None = None

    def place(self, wrong: npt.NDArray[np.bool_]) -> tuple[tuple[int, ...], str]:
        """Return where the first True lies, and in words: ``targets[3, 1] (column 'Mass')``."""
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        column = f" (column {_shown(self.columns[at[-1]])})" if self.columns is not None else ""
        return at, f"{self.what}[{', '.join(map(str, at))}]{column}"


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
    one, other = _read(scores, what), _read(targets, "targets")
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
    one, other = _read(scores, what), _read(targets, "targets")
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
    labels = _read(targets, "targets")
    found: list[Floats] = []
    for what, values in scores.items():
        given = _read(values, what)
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
    given = _read(targets, "targets")
    if given.values.ndim != dimensions:
        raise ArrayError(f"Expected targets {'(N,)' if dimensions == 1 else '(N, C)'} but got {given.values.shape}.")
    _check_targets(given)
    return given.values


def read_probs(probs: Any) -> Floats:
    """Read probabilities alone, of any shape; NaN stays.

    Raises:
        ArrayError: one lies outside [0, 1].
    """
    given = _read(probs, "probs")
    _check_chances(given)
    return given.values


def read_threshold(threshold: Any, label_names: Sequence[str]) -> float | tuple[float, ...]:
    """Read one threshold, or one per class: by position, or by label in a mapping or series.

    Raises:
        ArrayError: one lies outside [0, 1], or there are too few or too many.
    """
    if np.ndim(_bare(threshold)) == 0 and not isinstance(threshold, Mapping):
        (limit,) = check_thresholds(_read([threshold], "threshold").values)
        return float(limit)
    limits = by_label(threshold, label_names, "threshold", f"one threshold or {len(label_names)}")
    return tuple(check_thresholds(np.array(limits)).tolist())


def check_thresholds(limits: Any) -> Floats:
    """Read thresholds of any shape.

    Raises:
        ArrayError: one is NaN or outside [0, 1].
    """
    given = _read(limits, "threshold")
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
    if isinstance(values, pd.Series) and not _is_default(values.index):
        if values.index.has_duplicates:
            raise ArrayError(f"{what} has the label {_shown(values.index[values.index.duplicated()][0])} twice.")
        values = values.to_dict()
    if isinstance(values, Mapping):
        named = {str(key): value for key, value in values.items()}
        if absent := [name for name in label_names if name not in named]:
            near = [key for key in named if fold_name(key) == fold_name(absent[0])]
            hint = f" (it has {_shown(near[0])})" if near else f"; it has {first_few(map(_shown, named))}"
            raise ArrayError(f"{what} has no value for the label {_shown(absent[0])}{hint}.")
        values = [named[name] for name in label_names]
    numbers = _read(values, what).values
    if numbers.shape != (len(label_names),):
        raise ArrayError(f"Expected {expected} but got {numbers.size}.")
    if np.isnan(numbers).any():
        raise ArrayError(f"{what} has no number for {_shown(label_names[int(np.isnan(numbers).argmax())])}.")
    listed: list[float] = numbers.tolist()
    return listed


def read_names(names: Any, count: int | None = None, what: str = "label_names") -> list[str]:
    """Read the names of classes.

    Raises:
        ArrayError: one is empty, no name, or there twice, or there are not `count`.
    """
    if isinstance(names, str | bytes | Mapping) or not isinstance(names, Iterable):
        raise ArrayError(f"Expected {what} as a list of names but got {type(names).__name__} {_shown(names)}.")
    listed = list(names)
    for name in listed:
        if not isinstance(name, str | int | np.integer | tuple) or isinstance(name, bool) or not str(name).strip():
            raise ArrayError(f"Expected {what} that are text but got {_shown(name)}.")
    texts = [str(name) for name in listed]
    if doubled := [name for place, name in enumerate(texts) if name in set(texts[:place])]:
        raise ArrayError(f"{what} holds {_shown(doubled[0])} twice; every class needs a name of its own.")
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
            raise ArrayError(f"Expected groups as {form} but group {_shown(group)} is {_shown(members)}.")
        found[str(group)] = [str(member) for member in members]
        for member in found[str(group)]:
            if member not in label_names:
                raise ArrayError(f"group {_shown(group)} names the label '{member}': {suggest(member, label_names)}")
    return found


def read_patients(groups: Any, count: int | None = None, rows: pd.Index | None = None) -> npt.NDArray[np.object_]:
    """Read the patient of each row as text; whole numbers lose their ``.0``, so that 7 and 7.0 are one.

    Args:
        groups: ``(N,)``: text or numbers; a series is matched by its index.
        count: ``N``, if known.
        rows: index of the rows, if a frame gave one.

    Raises:
        ArrayError: a row has no patient, two names differ in form alone (``7`` and ``007``), or the shape is another.
    """
    if isinstance(groups, pd.DataFrame) and groups.shape[1] == 1:
        groups = groups.iloc[:, 0]
    if isinstance(groups, str | bytes | Mapping):
        raise ArrayError(f"Expected groups (N,), the patient of each row, but got {type(groups).__name__}.")
    index = groups.index if isinstance(groups, pd.Series) else None
    values = pd.Series(_objects(groups))
    if count is not None and len(values) != count:
        raise ArrayError(f"Expected groups (N,), the patient of each of {count} rows, but got ({len(values)},).")
    if rows is not None and index is not None:
        values = values.iloc[_order(rows, index, "index", "the scores", "groups")]
    numbers, distinct = pd.factorize(values.to_numpy(dtype=object), use_na_sentinel=True)
    names = np.array([*map(_name_of, distinct), ""], dtype=object)  # the last is where the number is -1
    texts: npt.NDArray[np.object_] = names[numbers]
    nobody = np.array([is_missing(name) for name in names])[numbers]
    if nobody.any():
        raise ArrayError(
            f"groups[{int(nobody.argmax())}] is empty ({int(nobody.sum())} such): rows of nobody would all be one "
            "patient. Fill it in, or take the rows out."
        )
    check_alike(dict.fromkeys(names[:-1].tolist()), "groups")
    return texts


def check_alike(names: Iterable[str], what: str) -> None:
    """Refuse two names that differ in form alone, as ``7`` and ``7.0`` or ``p1`` and ``P1``.

    Raises:
        ArrayError: names them.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(fold_id(name), name)
        if other != name:
            raise ArrayError(
                f"{what}: {_shown(other)} and {_shown(name)} differ only in case, blanks, leading zeros or a '.0'. "
                "If they are one, write them alike; if not, make them differ in more."
            )


def _read(values: Any, what: str) -> Given:
    if isinstance(values, Mapping | str | bytes | set | frozenset) or values is None:
        raise ArrayError(f"Expected {what} as an array but got {type(values).__name__}.")
    if type(values).__module__.startswith("pyarrow"):
        values = values.to_pandas()
    if isinstance(values, pd.Series):
        return Given(what, _column(values, what), values.index)
    if isinstance(values, pd.DataFrame):
        if values.columns.has_duplicates:
            name = values.columns[values.columns.duplicated()][0]
            raise ArrayError(f"{what} has the column {_shown(name)} twice; every class needs a name of its own.")
        parts = [_column(values[name], what) for name in values]
        array = np.stack(parts, axis=1) if parts else np.empty(values.shape)
        return Given(what, array, values.index, _labels_of(values.columns))
    columns = getattr(values, "columns", None)  # of other libraries' frames
    named = None if columns is None else pd.Index(list(columns))
    return Given(what, _to_float(_bare(values), what), None, named)


def _labels_of(columns: pd.Index) -> pd.Index:
    """Return columns without the ``prob:`` or ``target:`` that all of them have in a predictions file."""
    for prefix in ("prob:", "target:"):
        if len(columns) and all(isinstance(name, str) and name.startswith(prefix) for name in columns):
            return columns.str.removeprefix(prefix)
    return columns


def _bare(values: Any) -> Any:
    """Return a numpy array without mask, device, gradient or sparseness: masked values are NaN, or None as objects."""
    if hasattr(values, "detach"):  # a tensor; torch need not be here
        dense = values.detach().cpu()
        dense = dense if str(dense.layout) == "torch.strided" else dense.to_dense()
        return (dense if dense.is_complex() else dense.double()).numpy()
    if isinstance(values, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(values)
        if not hidden.any():
            return np.asarray(values.data)
        numeric = values.dtype.kind in "biuf"
        data = values.data.astype(np.float64 if numeric else object)
        data[hidden] = np.nan if numeric else None
        return data
    if hasattr(values, "toarray"):  # a sparse matrix of scipy
        return values.toarray()
    if isinstance(values, list | tuple):
        return _from_list(values)
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    return np.asarray(values)


def _from_list(values: Sequence[Any]) -> Any:
    """Return a list as an array; its tensors, masked arrays and series are read as such."""
    nested = all(isinstance(item, list | tuple) for item in values)
    kinds = set(map(type, chain.from_iterable(values) if nested else values))
    try:
        if all(issubclass(kind, PLAIN) for kind in kinds):
            return np.asarray(values, dtype=object if type(None) in kinds or type(pd.NA) in kinds else None)
        return np.array([_read(item, "an item").values for item in values])
    except ValueError as error:
        raise ArrayError(f"Expected lists of numbers, of one length each: {first_line(error)}") from error


def _objects(values: Any) -> npt.NDArray[np.object_]:
    """Return ``(N,)`` values as objects.

    Raises:
        ArrayError: another shape.
    """
    if isinstance(values, pd.Series | pd.Index):
        return values.to_numpy(dtype=object)
    if isinstance(values, np.ma.MaskedArray):
        hidden, values = np.ma.getmaskarray(values), values.data.astype(object)
        values[hidden] = None
    elif hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values if hasattr(values, "__array__") else list(values), dtype=object)
    if array.ndim != 1:
        raise ArrayError(f"Expected groups (N,), the patient of each row, but got the shape {array.shape}.")
    return array


def _name_of(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value).strip()


def _column(values: Any, what: str) -> Floats:
    """Return a series of any dtype as float64."""
    name = what if values.name is None else f"{what}, column {_shown(values.name)}"
    dtype = values.dtype
    if isinstance(dtype, pd.SparseDtype):
        values = values.sparse.to_dense()
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        if pd.api.types.is_complex_dtype(dtype):
            raise ArrayError(f"Expected numbers in {name} but got {dtype}.")
        if not isinstance(dtype, pd.CategoricalDtype):
            numbers: Floats = values.to_numpy(dtype=np.float64, na_value=np.nan)
            return numbers
    return _to_float(values.astype(object).to_numpy(), name)


def _to_float(array: npt.NDArray[Any], what: str) -> Floats:
    """Return an array as float64.

    Raises:
        ArrayError: it holds something else than numbers.
    """
    if array.dtype.kind in "cMm" or array.dtype.names:
        raise ArrayError(f"Expected numbers in {what} but got {array.dtype}.")
    if array.dtype.kind not in "OUST":
        return np.asarray(array, dtype=np.float64)
    numbers = np.empty(array.shape)
    for at in np.ndindex(array.shape):
        numbers[at] = _number(array[at], f"{what}[{', '.join(map(str, at))}]")
    return numbers


def _number(value: Any, place: str) -> float:
    if value is None or value is pd.NA:
        return float("nan")
    if isinstance(value, Real | Decimal | np.bool_):
        return float(value)
    if hasattr(value, "detach") and value.numel() == 1:
        return float(value)
    try:
        if isinstance(value, str | bytes):
            return float(value)
    except ValueError:
        pass
    raise ArrayError(f"Expected numbers but {place} is {_shown(value)}.")


def _check_shapes(one: Given, other: Given, dimensions: tuple[int, ...]) -> None:
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


def _match(one: Given, other: Given) -> tuple[Given, Given]:
    """Bring rows and columns of the other frame into the order of the first."""
    names = one.what, other.what
    if one.rows is not None and other.rows is not None and not one.rows.equals(other.rows):
        order = _order(one.rows, other.rows, "index", *names)
        other = replace(other, values=other.values[order], rows=one.rows)
    if one.columns is None or other.columns is None or list(one.columns) == list(other.columns):
        return one, other
    if _is_default(one.columns) and not any(isinstance(name, int | np.integer) for name in other.columns):
        return one, other
    if _is_default(other.columns) and not any(isinstance(name, int | np.integer) for name in one.columns):
        return one, other
    order = _order(one.columns, other.columns, "columns", *names)
    return one, replace(other, values=other.values[:, order], columns=one.columns)


def _order(wanted: pd.Index, given: pd.Index, kind: str, first: str, second: str) -> npt.NDArray[np.intp]:
    """Return where the wanted names are among the given ones.

    Raises:
        ArrayError: they are not the same names, or numbers that merely count rows.
    """
    if wanted.equals(given):
        return np.arange(len(given))
    advice = "give both the same, or .to_numpy() where they are in the same order"
    start = f"The {kind} of {first} and {second} differ"
    if kind == "index" and (_is_default(wanted) or _is_default(given)):
        raise ArrayError(f"{start}, and one merely counts its rows: {advice}.")
    order = given.get_indexer(wanted) if given.is_unique and wanted.is_unique else np.array([-1])
    if len(wanted) == len(given) and (order >= 0).all():
        return order
    alone = [_shown(name) for name in wanted if name not in given] or [_shown(n) for n in given if n not in wanted]
    there = f" ({alone[0]} is in one alone; {len(alone)} such)" if alone else " (a name is there twice)"
    near = [_shown(n) for n in given if alone and fold_id(str(n)) == fold_id(alone[0].strip("'"))]
    raise ArrayError(f"{start}{there}{f', is {near[0]} meant?' if near else ''}: {advice}.")


def _label_names(label_names: Any, one: Given, other: Given) -> list[str]:
    count = one.values.shape[1]
    named = [given for given in (one, other) if given.columns is not None and not _is_default(given.columns)]
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
                f"label_names contradict the columns of {given.what}: column {place} is {_shown(own[place])}, but "
                f"{_shown(names[place])} in label_names. Leave label_names out, or give them in that order."
            )
    return names


def _check_values(one: Given, other: Given, *, chances: bool) -> None:
    _check_targets(other, one)
    lost = np.isnan(one.values) & ~np.isnan(other.values)
    if lost.any():
        raise ArrayError(
            f"Expected {one.what} without NaN where the target is known but {one.place(lost)[1]} is NaN or masked."
        )
    if chances:
        _check_chances(one)


def _check_targets(given: Given, scores: Given | None = None) -> None:
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


def _check_chances(given: Given) -> None:
    wrong = (given.values < 0) | (given.values > 1)
    if wrong.any():
        at, place = given.place(wrong)
        raise ArrayError(
            f"Expected {given.what} in [0, 1] but {place} is {given.values[at]:g} ({int(wrong.sum())} such; logits? "
            "apply a sigmoid; percent? divide by 100)."
        )


def _is_default(names: pd.Index) -> bool:
    """Return whether names merely count: 0, 1, 2, …."""
    return bool(pd.api.types.is_integer_dtype(names.dtype) and (names == np.arange(len(names))).all())


def _shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}…"
