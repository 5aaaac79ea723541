"""The few objects that cross rooms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ltml.arrays import BoolArray, FloatArray, UInt8Array

if TYPE_CHECKING:  # the room is light to import
    from torch import Tensor


class Batch(NamedTuple):
    """Images of one step with their labels.

    Attributes:
        images: uint8 ``(B, channels, H, W)``.
        targets: float32 ``(B, C)``, 0 where unknown.
        known: bool ``(B, C)``.
        rows: int64 ``(B,)`` row numbers in the dataset.
        strong: a second, stronger view of the same images, if an objective uses one.
    """

    images: Tensor
    targets: Tensor
    known: Tensor
    rows: Tensor
    strong: Tensor | None = None


class ModelOutput(NamedTuple):
    """Output of a model for a batch.

    Attributes:
        features: ``(B, C, D)`` class-aware or ``(B, D)`` shared.
        logits: ``(B, C)``.
        pooled: ``(B, D0)``, the mean of the backbone's map.
    """

    features: Tensor
    logits: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True)
class FeatureSet:
    """Features of one split, memory-mapped from disk.

    Attributes:
        features: ``(N, C, D)`` class-aware or ``(N, D)`` shared, float16 or float32.
        targets: uint8 ``(N, C)``.
        known: bool ``(N, C)``.
        ids: text ``(N,)``.
    """

    features: FloatArray
    targets: UInt8Array
    known: BoolArray
    ids: npt.NDArray[np.object_]

    def masked_targets(self) -> FloatArray:
        """Return float32 targets ``(N, C)`` with NaN where unknown."""
        return np.where(self.known, self.targets, np.nan).astype(np.float32)
