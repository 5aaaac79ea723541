"""SMOTE on features (Chawla et al., JAIR 2002): positives between real positives instead of a Gaussian's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltml.gaussians.real import RealResampler


class SmoteResampler(RealResampler):
    """As `RealResampler`, with positives moved towards a near positive of the same class.

    ``x + u (x' - x)`` with ``x'`` one of the `neighbors` nearest positives of the class by Euclidean distance and
    ``u ~ U(0, 1)``. SMOTE is defined for one label; here it works class by class on that class's feature, under the
    same prior as the other samplers, so that only the way of making positives differs. A class with one positive has
    no neighbour and repeats it.

    Args:
        features: ``(N, C, D)`` or ``(N, D)``.
        targets: ``(N, C)`` of 0, 1, NaN.
        probabilities: P(label 1) per class ``(C,)``; NaN for a class without a known sample.
        neighbors: ``k``; 5 in the paper, fewer where a class has no more.
    """

    def __init__(
        self,
        features: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        probabilities: npt.NDArray[np.float64],
        neighbors: int = 5,
    ) -> None:
        super().__init__(features, targets, probabilities)
        self.neighbors = [self._nearest(c, positives, neighbors) for c, (_, positives) in enumerate(self.groups)]

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `RealResampler.sample`."""
        features, targets = super().sample(n, generator=generator)
        uniform = torch.rand(*targets.shape, 3, generator=generator, dtype=torch.float64).numpy()
        for c, (_, positives) in enumerate(self.groups):
            drawn = np.flatnonzero(targets[:, c].numpy() == 1)
            if not len(drawn) or self.neighbors[c].shape[1] == 0:
                continue
            first, second, step = uniform[drawn, c].T
            place = (first * len(positives)).astype(np.int64)
            near = self.neighbors[c][place, (second * self.neighbors[c].shape[1]).astype(np.int64)]
            start, end = (self._column(c)[positives[rows]].astype(np.float64) for rows in (place, near))
            features[drawn, c] = torch.from_numpy((start + step[:, None] * (end - start)).astype(np.float32))
        return features, targets

    def _column(self, c: int) -> npt.NDArray[Any]:
        return self.features if self.is_shared else self.features[:, c]

    def _nearest(self, c: int, positives: npt.NDArray[np.int64], neighbors: int) -> npt.NDArray[np.int64]:
        """The nearest other positives of each, ``(n_pos, k)``, as places among the positives."""
        count = min(neighbors, len(positives) - 1)
        if count < 1:
            return np.empty((len(positives), 0), dtype=np.int64)
        from sklearn.neighbors import NearestNeighbors  # slow to import, and this method alone needs it

        points = np.asarray(self._column(c)[positives], dtype=np.float64)
        found: npt.NDArray[np.int64] = NearestNeighbors(n_neighbors=count).fit(points).kneighbors(return_distance=False)
        return found
