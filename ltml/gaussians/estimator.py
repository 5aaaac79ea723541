"""The conventions of a scikit-learn estimator, without scikit-learn: parameters, text form, tags, frames."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import numpy as np

from ltml.gaussians.arrays import Array

Self = TypeVar("Self", bound="Estimator")


class Estimator:
    """Base of a class whose constructor stores each argument in the attribute of its name."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - scikit-learn's signature
        """Return the constructor arguments by name."""
        return {name: getattr(self, name) for name in _parameters(type(self))}

    def set_params(self: Self, **params: Any) -> Self:
        """Change constructor arguments.

        Raises:
            ValueError: if an argument does not exist.
        """
        allowed = _parameters(type(self))
        for name, value in params.items():
            if name not in allowed:
                raise ValueError(f"Expected a parameter among {', '.join(allowed)} but got '{name}'.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """Return the constructor call, without arguments that have their default."""
        defaults = {name: item.default for name, item in _parameters(type(self)).items()}
        changed = [f"{name}={v!r}" for name, v in self.get_params().items() if repr(v) != repr(defaults[name])]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags of a resampler; imports scikit-learn (1.6 or later), which calls it."""
        from sklearn.utils import InputTags, Tags, TargetTags

        target = TargetTags(required=True, one_d_labels=True, two_d_labels=True, multi_output=True)
        return Tags("sampler", target, input_tags=InputTags(three_d_array=True))


def column_names(features: Any) -> Array | None:
    """Return the column names of a pandas frame, ``(D,)`` of objects; None unless all are text."""
    if not is_frame(features) or not all(isinstance(name, str) for name in features.columns):
        return None
    return np.array(list(features.columns), dtype=object)


def is_frame(values: Any) -> bool:
    """Return whether an array is a pandas frame."""
    return hasattr(values, "columns") and hasattr(values, "iloc")


def is_series(values: Any) -> bool:
    """Return whether an array is a pandas series."""
    return hasattr(values, "iloc") and not hasattr(values, "columns")


def append_rows(given: Any, rows: Array) -> Any:
    """Append rows to an array, pandas frame or series.

    Args:
        given: the array, ``(N, D)`` or ``(N,)``.
        rows: ``(n, D)`` or ``(n,)``.

    Returns:
        ``N + n`` rows of the kind of `given`. A frame keeps its column names, a series its name and dtype; the rows
        of both are numbered from 0, as in imbalanced-learn.
    """
    if is_frame(given):
        import pandas as pd

        added = pd.DataFrame(rows, columns=given.columns)
        return pd.concat([given, added], ignore_index=True)
    if is_series(given):
        import pandas as pd

        added_series = pd.Series(rows, dtype=given.dtype, name=given.name)
        return pd.concat([given, added_series], ignore_index=True)
    return np.concatenate([np.asarray(given), rows])


def like_targets(given: Any, targets: Array) -> Any:
    """Return targets ``(n, C)`` as a pandas frame with the column names of `given` if that is a frame."""
    if not is_frame(given):
        return targets
    import pandas as pd

    return pd.DataFrame(targets, columns=given.columns)


def _parameters(kind: type[Estimator]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(kind).parameters)
