"""Predictions of one split beside its labels, in memory and as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.csv_table import read_csv_table
from ltml.metrics.prediction_columns import find_labels, read_groups, read_ids, read_probs, read_targets
from ltml.parquet_table import is_parquet, read_parquet_table


@dataclass(frozen=True)
class Predictions:
    """Probabilities of one split beside its labels; a CSV on disk.

    Attributes:
        label_names: the ``C`` labels.
        ids: text ``(N,)``.
        groups: text ``(N,)``; the patient, unit of the bootstrap.
        probs: float64 ``(N, C)`` in [0, 1].
        targets: float64 ``(N, C)``: 0, 1, or NaN where unknown.
        novel: by label that was held out of training, float64 ``(N,)``: 0, 1, or NaN where unknown.
    """

    label_names: tuple[str, ...]
    ids: Sequence[str]
    groups: Sequence[str]
    probs: npt.NDArray[np.float64]
    targets: npt.NDArray[np.float64]
    novel: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """Return columns ``id, group, prob:<label>…, target:<label>…, novel:<label>…``; unknown targets are missing."""
        columns: dict[str, Any] = {"id": list(self.ids), "group": list(self.groups)}
        columns |= {f"prob:{name}": self.probs[:, c] for c, name in enumerate(self.label_names)}
        labels = pd.DataFrame(self.targets, columns=[f"target:{name}" for name in self.label_names]).astype("Int8")
        novel = pd.DataFrame({f"novel:{name}": values for name, values in self.novel.items()}).astype("Int8")
        return pd.concat([pd.DataFrame(columns), labels, novel], axis=1)

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read a predictions file, CSV or Parquet.

        Raises:
            InputError: a missing file or column, a column that is almost one that is read, or a value outside what its
                column allows; the message names line, column and value.
        """
        what = "the predictions file"
        table = read_parquet_table(path, what) if is_parquet(path) else read_csv_table(path, what)
        labels, held_out = find_labels([str(column) for column in table.columns], path)
        ids = read_ids(table["id"], path)
        groups = read_groups(table["group"], path) if "group" in table else ids
        probs = read_probs(table, labels, path)
        targets = read_targets(table, [f"target:{name}" for name in labels], path)
        novel = read_targets(table, [f"novel:{name}" for name in held_out], path)
        return cls(labels, ids, groups, probs, targets, dict(zip(held_out, novel.T, strict=True)))

    @property
    def knows_patients(self) -> bool:
        """Return whether groups are more than the ids of the rows."""
        return list(self.groups) != list(self.ids)
