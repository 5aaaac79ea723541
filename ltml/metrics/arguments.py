"""Arguments of measures as float64: arrays, frames and lists of any library, with masks as NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.arrays import Float64Array as Floats
from ltml.errors import InputError, first_line
from ltml.near_names import fold_id

PLAIN = (bool, int, float, str, bytes, type(None), type(pd.NA), np.generic, Decimal)
"""Kinds of value that a list may hold beside lists of them."""


class ArrayError(InputError, ValueError):
    """An argument that cannot be meant; a ValueError too, as other libraries of measures raise."""


@dataclass(frozen=True)
class Argument:
    """One argument that was read.

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
        column = f" (column {in_words(self.columns[at[-1]])})" if self.columns is not None else ""
        return at, f"{self.what}[{', '.join(map(str, at))}]{column}"


def read_argument(values: Any, what: str) -> Argument:
    """Read an array, frame or list as float64; masked, missing and None entries become NaN.

    Args:
        values: what the user gave.
        what: name of the argument, for messages.

    Raises:
        ArrayError: it is no array, has a column twice, or holds something that is no number.
    """
    if isinstance(values, Mapping | str | bytes | set | frozenset) or values is None:
        raise ArrayError(f"Expected {what} as an array but got {type(values).__name__}.")
    if type(values).__module__.startswith("pyarrow"):
        values = values.to_pandas()
    if isinstance(values, pd.Series):
        return Argument(what, _column(values, what), values.index)
    if isinstance(values, pd.DataFrame):
        if values.columns.has_duplicates:
            name = values.columns[values.columns.duplicated()][0]
            raise ArrayError(f"{what} has the column {in_words(name)} twice; every class needs a name of its own.")
        parts = [_column(values[name], what) for name in values]
        array = np.stack(parts, axis=1) if parts else np.empty(values.shape)
        return Argument(what, array, values.index, _labels_of(values.columns))
    columns = getattr(values, "columns", None)  # of other libraries' frames
    named = None if columns is None else pd.Index(list(columns))
    return Argument(what, _to_float(bare_array(values), what), None, named)


def _labels_of(columns: pd.Index) -> pd.Index:
    """Return columns without the ``prob:`` or ``target:`` that all of them have in a predictions file."""
    for prefix in ("prob:", "target:"):
        if len(columns) and all(isinstance(name, str) and name.startswith(prefix) for name in columns):
            return columns.str.removeprefix(prefix)
    return columns


def bare_array(values: Any) -> Any:
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
        return np.array([read_argument(item, "an item").values for item in values])
    except ValueError as error:
        raise ArrayError(f"Expected lists of numbers, of one length each: {first_line(error)}") from error


def to_objects(values: Any) -> npt.NDArray[np.object_]:
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


def name_of(value: Any) -> str:
    """Return the name of a patient as text; whole numbers lose their ``.0``."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value).strip()


def _column(values: Any, what: str) -> Floats:
    """Return a series of any dtype as float64."""
    name = what if values.name is None else f"{what}, column {in_words(values.name)}"
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
    raise ArrayError(f"Expected numbers but {place} is {in_words(value)}.")


def match_names(wanted: pd.Index, given: pd.Index, kind: str, first: str, second: str) -> npt.NDArray[np.intp]:
    """Return where the wanted names are among the given ones.

    Raises:
        ArrayError: they are not the same names, or numbers that merely count rows.
    """
    if wanted.equals(given):
        return np.arange(len(given))
    advice = "give both the same, or .to_numpy() where they are in the same order"
    start = f"The {kind} of {first} and {second} differ"
    if kind == "index" and (is_default(wanted) or is_default(given)):
        raise ArrayError(f"{start}, and one merely counts its rows: {advice}.")
    order = given.get_indexer(wanted) if given.is_unique and wanted.is_unique else np.array([-1])
    if len(wanted) == len(given) and (order >= 0).all():
        return order
    alone = [in_words(name) for name in wanted if name not in given] or [in_words(n) for n in given if n not in wanted]
    there = f" ({alone[0]} is in one alone; {len(alone)} such)" if alone else " (a name is there twice)"
    near = [in_words(n) for n in given if alone and fold_id(str(n)) == fold_id(alone[0].strip("'"))]
    raise ArrayError(f"{start}{there}{f', is {near[0]} meant?' if near else ''}: {advice}.")


def is_default(names: pd.Index) -> bool:
    """Return whether names merely count: 0, 1, 2, …."""
    return bool(pd.api.types.is_integer_dtype(names.dtype) and (names == np.arange(len(names))).all())


def in_words(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}…"
