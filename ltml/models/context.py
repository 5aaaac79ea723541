"""What a head is built from: width, labels, prompts and co-occurrence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltml.arrays import FloatArray


class PairCounts(NamedTuple):
    """Co-occurrence of labels, counted over the training rows in which both are known.

    Attributes:
        both: number of rows in which labels ``i`` and ``j`` are present, float64 ``(C, C)``.
        first: number of rows in which label ``i`` is present and ``j`` known, float64 ``(C, C)``.
    """

    both: Tensor
    first: Tensor

    @classmethod
    def of(cls, targets: FloatArray) -> PairCounts:
        """Count pairs in targets ``(N, C)`` of 0, 1, or NaN where unknown."""
        present, known = (targets == 1).astype(np.float64), (~np.isnan(targets)).astype(np.float64)
        return cls(torch.from_numpy(present.T @ present), torch.from_numpy(present.T @ known))


class HeadContext(NamedTuple):
    """Backbone, labels and prompts that a head is built for.

    Attributes:
        width: number of channels ``D0`` of the backbone's map.
        label_names: names of the ``C`` labels.
        words: embeddings ``(M, D')`` of the words in the class prompts; None without prompts.
        images_per_row: number of images whose features are concatenated before the classifier.
        pairs: co-occurrence of the training labels, for heads that read it; None if a checkpoint will be loaded.
    """

    width: int
    label_names: tuple[str, ...]
    words: Tensor | None = None
    images_per_row: int = 1
    pairs: PairCounts | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes ``C``."""
        return len(self.label_names)
