"""Check what users pass and convert it to arrays or tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltml.gaussians.arrays import Array

Samples = Mapping[Any, int] | Sequence[tuple[Any, int]]


def unmasked(values: Any) -> Any:
    """Return tensors unchanged and anything else as an array, masked and missing entries (None, NA) as NaN.

    Raises:
        ValueError: if the values are a sparse matrix.
    """
    if isinstance(values, Tensor):
        return values
    if isinstance(values, list | tuple) and values and all(isinstance(item, Tensor) for item in values):
        return torch.stack(list(values))
    if hasattr(values, "tocsr"):
        raise ValueError("Expected a dense array but got a sparse one: give its .toarray().")
    if isinstance(values, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(values)
        return _numbers(np.where(hidden, np.array(None), values.data.astype(object))) if hidden.any() else values.data
    return _numbers(np.asanyarray(values))


def _numbers(values: Array) -> Array:
    """Convert objects to float64, missing ones to NaN; an array that contains text stays as it is."""
    if values.dtype != object or any(isinstance(item, str | bytes) for item in values.flat):
        return values
    numbers = np.empty(values.shape)
    for index in np.ndindex(values.shape):
        try:
            numbers[index] = values[index]
        except TypeError:  # None, or pandas' NA
            numbers[index] = np.nan
    return numbers


def check_same_rows(features: Any, targets: Any) -> None:
    """Raise ValueError if two frames have different indices."""
    first, second = getattr(features, "index", None), getattr(targets, "index", None)
    if hasattr(first, "equals") and hasattr(second, "equals") and not first.equals(second):  # type: ignore[union-attr]
        raise ValueError(
            "Expected features and targets with the same index but got two that differ: give both the same index, "
            "or .to_numpy() if their rows are in the same order."
        )


def check_numbers(features: Array | Tensor) -> None:
    """Raise ValueError if features are not real numbers."""
    real = not features.is_complex() if isinstance(features, Tensor) else features.dtype.kind in "biuf"
    if not real:
        hint = ": Complex data not supported" if "complex" in str(features.dtype) else ""
        raise ValueError(f"Expected features as real numbers but got {features.dtype}{hint}.")


def read_targets(targets: Any) -> Array:
    """Convert targets to int8 codes ``(N, C)`` on the CPU: 0, 1, and -1 for unknown; in slices, to save memory.

    Raises:
        ValueError: if the shape is not ``(N, C)`` or a value is not 0, 1 or NaN.
    """
    given = targets.detach().cpu() if isinstance(targets, Tensor) else np.asarray(targets)
    if given.ndim != 2:
        raise ValueError(f"Expected targets (N, C) or (N,) but got {tuple(given.shape)}.")
    if not isinstance(given, Tensor) and given.dtype.kind not in "biufO":
        raise ValueError(f"Expected targets (N, C) as numbers 0, 1 or NaN (unknown) but got {given.dtype}.")
    codes = np.empty(tuple(given.shape), dtype=np.int8)
    for start in range(0, len(given), 1 << 16):
        part = given[start : start + (1 << 16)]
        wide = part.double().numpy() if isinstance(part, Tensor) else _as_floats(part)
        unknown = np.isnan(wide)
        other = wide[~(unknown | (wide == 0) | (wide == 1))]
        if other.size:
            minus = " -1 is CheXpert's mark of an uncertain label: make what is unknown NaN, never a negative."
            single = " For the class of each sample give targets (N,)." if given.shape[1] == 1 else ""
            hint = minus if (other == -1).any() else single
            raise ValueError(
                f"Expected targets of 0, 1 or NaN (unknown) but got other values, the first {other[0]:g}.{hint}"
            )
        codes[start : start + len(wide)] = np.where(unknown, -1, np.nan_to_num(wide))
    return codes


def _as_floats(part: Array) -> Array:
    try:
        return part.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError("Expected targets of 0, 1 or NaN (unknown) but got a value that is not a number.") from None


def read_classes(targets: Any, *, beside_tensor: bool) -> tuple[Array, Array]:
    """Return the classes of single-label data, and targets ``(N, C)`` in which only a sample's own class is known.

    Raises:
        ValueError: if labels hold NaN, fractions or objects of several types, or are text beside tensors.
    """
    given = targets.detach().cpu().numpy() if isinstance(targets, Tensor) else np.asarray(targets)
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise ValueError("Expected the class of every sample but got NaN or infinity.")
    if given.dtype.kind == "f" and (given != np.round(given)).any():
        raise ValueError(
            f"Expected targets (N,) as classes, whole numbers or text, but got {given[given != np.round(given)][0]:g}; "
            "soft labels and regression targets are not supported."
        )
    if given.dtype.kind == "O" and len({type(label) for label in given}) > 1:
        raise ValueError("Expected the class of every sample, all of one type, but got several; is one missing?")
    if given.dtype.kind not in "iufb" and beside_tensor:
        raise ValueError(f"Expected numbers as classes beside tensors but got {given.dtype}.")
    classes, numbers = np.unique(given, return_inverse=True)
    labels = np.full((len(given), len(classes)), -1, dtype=np.int8)
    labels[np.arange(len(given)), numbers] = 1
    return classes, labels


def class_numbers(samples: Samples, classes: list[Any]) -> Tensor:
    """Return the class number of every sample that ``(label, count)`` pairs ask for, int64 ``(n,)``.

    Raises:
        ValueError: if a label is unknown or a count is not a whole number of 0 or more.
    """
    pairs = list(samples.items() if isinstance(samples, Mapping) else samples)
    for label, count in pairs:
        if label not in classes:
            raise ValueError(f"Expected labels among {classes} in samples but got {label!r}.")
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
            raise ValueError(
                f"Expected counts of 0 or more, whole numbers, in samples but got {count!r} for {label!r}."
            )
    numbers = [np.full(int(count), classes.index(label), dtype=np.int64) for label, count in pairs]
    return torch.from_numpy(np.concatenate([np.empty(0, dtype=np.int64), *numbers]))


def check_shapes(features: Array | Tensor, labels: Array, *, single: bool) -> None:
    """Raise ValueError if the shapes of features and targets do not match."""
    shape = tuple(features.shape)
    if len(shape) in (2, 3) and shape[0] != len(labels) and labels.shape == (labels.shape[0], shape[0]):
        raise ValueError(
            f"Expected targets (N, C), a row per sample, but got {labels.shape} beside {shape[0]} samples: transpose "
            "them."
        )
    if single and len(shape) != 2:
        raise ValueError(f"Expected features (N, D) with targets (N,) but got {shape}.")
    if len(shape) not in (2, 3) or shape[0] != len(labels) or shape[-1] == 0 or labels.shape[1] == 0:
        raise ValueError(f"Expected features (N, C, D) or (N, D) and targets (N, C) but got {shape}, {labels.shape}.")
    if len(shape) == 3 and shape[1] != labels.shape[1]:
        raise ValueError(f"Expected features of {labels.shape[1]} classes but got {shape[1]}.")
