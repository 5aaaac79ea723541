"""What a head knows when it is built."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltml.arrays import FloatArray


class PairCounts(NamedTuple):
    """How often two labels are present together, over the training rows in which both are known.

    Attributes:
        both: float64 ``(C, C)``, rows in which labels ``i`` and ``j`` are present.
        first: float64 ``(C, C)``, rows in which label ``i`` is present, whatever ``j`` is.
    """

    both: Tensor
    first: Tensor

    @classmethod
    def of(cls, targets: FloatArray) -> PairCounts:
        """Count targets ``(N, C)`` of 0, 1, or NaN where unknown."""
        present, known = (targets == 1).astype(np.float64), (~np.isnan(targets)).astype(np.float64)
        return cls(torch.from_numpy(present.T @ present), torch.from_numpy(present.T @ known))


class HeadContext(NamedTuple):
    """What every head may ask for.

    Attributes:
        width: channels ``D0`` of the backbone's map.
        label_names: the ``C`` labels.
        words: embeddings ``(M, D')`` of the words in the class prompts; None without prompts.
        images_per_row: images whose features stand side by side before the classifier.
        pairs: co-occurrence of the training labels, for heads that read it; None where a checkpoint is to be loaded.
    """

    width: int
    label_names: tuple[str, ...]
    words: Tensor | None = None
    images_per_row: int = 1
    pairs: PairCounts | None = None

    @property
    def num_classes(self) -> int:
        """``C``."""
        return len(self.label_names)
