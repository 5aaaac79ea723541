"""The patient of each row: texts of one spelling each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.metrics.arguments import ArrayError, in_words, match_names, name_of, to_objects
from ltml.near_names import fold_id, is_missing

NO_PATIENTS = (
    "No patients are known: every row is counted as a patient of its own. If patients have several rows, name them "
    "(column `group`, array `groups`), or splits may share them and intervals are too narrow"
)
"""Warning where patients are split, resampled or tested and each row is a patient of its own."""


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
    values = pd.Series(to_objects(groups))
    if count is not None and len(values) != count:
        raise ArrayError(f"Expected groups (N,), the patient of each of {count} rows, but got ({len(values)},).")
    if rows is not None and index is not None:
        values = values.iloc[match_names(rows, index, "index", "the scores", "groups")]
    numbers, distinct = pd.factorize(values.to_numpy(dtype=object), use_na_sentinel=True)
    names = np.array([*map(name_of, distinct), ""], dtype=object)  # the last is where the number is -1
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
                f"{what}: {in_words(other)} and {in_words(name)} differ only in case, blanks, leading zeros or a '.0'. "
                "If they are one, write them alike; if not, make them differ in more."
            )
