"""Whole real samples, classes drawn equally: what classifier re-training trains on (Kang et al., ICLR 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class BalancedResampler:
    """A class drawn uniformly, then one of its positive samples with all of its labels.

    Class-balanced sampling of "Decoupling representation and classifier" (cRT), for several labels: a sample brings its
    other labels along, so frequent companions of rare classes stay frequent. Classes without known positives are never
    drawn; samples without any known positive neither, as in the paper, whose samples all have a class.

    Args:
        features: ``(N, C, D)`` or ``(N, D)``; memory maps are read row by row.
        targets: ``(N, C)`` of 0, 1, NaN.

    Raises:
        ValueError: no class has a known positive.
    """

    def __init__(self, features: npt.NDArray[Any], targets: npt.NDArray[Any]) -> None:
        self.features = features
        self.targets = np.asarray(targets, dtype=np.float32)
        self.members = [rows for column in self.targets.T if len(rows := np.flatnonzero(column == 1))]
        if not self.members:
            raise ValueError("no class has a known positive to draw")

    @property
    def is_shared(self) -> bool:
        """Whether the features are shared by all classes, ``(N, D)``."""
        return self.features.ndim == 2

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw from a CPU generator.

        Returns:
            Features float32 ``(n, C, D)`` and targets float32 ``(n, C)``, NaN where unknown.
        """
        uniform = torch.rand(n, 2, generator=generator, dtype=torch.float64).numpy()
        groups = [self.members[int(u * len(self.members))] for u in uniform[:, 0]]
        rows = np.array([group[int(u * len(group))] for group, u in zip(groups, uniform[:, 1], strict=True)])
        return per_class(self.features, rows, self.targets.shape[1]), torch.from_numpy(self.targets[rows])


def per_class(features: npt.NDArray[Any], rows: npt.NDArray[np.int64], classes: int) -> Tensor:
    """Features of rows, float32 ``(n, C, D)``; a shared one stands once per class."""
    chosen = torch.from_numpy(np.asarray(features[rows], dtype=np.float32))
    return chosen if chosen.ndim == 3 else chosen[:, None].expand(-1, classes, -1)
