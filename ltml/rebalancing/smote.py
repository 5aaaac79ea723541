"""SMOTE on features (Chawla et al., JAIR 2002): positives between real positives in place of a Gaussian's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.real_resample import RealResampler
from ltml.rebalancing.sampler import Sampler
from ltml.rebalancing.shift import LabelShift
from ltml.registry import REBALANCING


@REBALANCING.register("smote")
class Smote(Rebalancing):
    """Draw positives between near positives of the same class (SMOTE; Chawla et al., JAIR 2002)."""

    moves = "classifier"
    follows_prior = True
    former_keys: ClassVar[Mapping[str, str]] = {"neighbors": "neighbors"}

    def __init__(
        self,
        *,
        neighbors: Annotated[int, Field(gt=0, description="nearest positives of the class that one is moved to")] = 5,
    ) -> None:
        self.neighbors = neighbors

    def sampler(
        self,
        features: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        shift: LabelShift,
        label_names: Sequence[str] | None = None,
    ) -> Sampler:
        """Draw per class a label by the prior, then a real negative or a positive between two real ones."""
        del label_names
        return SmoteResampler(features, targets, shift.probabilities, self.neighbors)


class SmoteResampler(RealResampler):
    """Draw as `RealResampler` does, and move each positive towards a near positive of the same class.

    ``x + u (x' - x)`` with ``x'`` one of the `neighbors` nearest positives of the class by Euclidean distance and
    ``u ~ U(0, 1)``. SMOTE is defined for one label; here it works class by class on that class's feature, under the
    same prior as the other samplers, so that only the way of making positives differs. A class with one positive has
    no neighbour and repeats it.

    Args:
        features: ``(N, C, D)`` or ``(N, D)``.
        targets: ``(N, C)`` of 0, 1, NaN where unknown.
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
        """Draw from a CPU generator; see `RealResampler.sample`."""
        features, targets = super().sample(n, generator=generator)
        uniform = torch.rand(*targets.shape, 3, generator=generator, dtype=torch.float64).numpy()
        for c, (_, positives) in enumerate(self.groups):
            drawn = np.flatnonzero(targets[:, c].numpy() == 1)
            if not len(drawn) or self.neighbors[c].shape[1] == 0:
                continue
            first, second, step = uniform[drawn, c].T
            index = (first * len(positives)).astype(np.int64)
            near = self.neighbors[c][index, (second * self.neighbors[c].shape[1]).astype(np.int64)]
            start, end = (self._column(c)[positives[rows]].astype(np.float64) for rows in (index, near))
            features[drawn, c] = torch.from_numpy((start + step[:, None] * (end - start)).astype(np.float32))
        return features, targets

    def _column(self, c: int) -> npt.NDArray[Any]:
        return self.features if self.is_shared else self.features[:, c]

    def _nearest(self, c: int, positives: npt.NDArray[np.int64], neighbors: int) -> npt.NDArray[np.int64]:
        """Return the indices among the positives of the nearest others of each, ``(n_pos, k)``."""
        count = min(neighbors, len(positives) - 1)
        if count < 1:
            return np.empty((len(positives), 0), dtype=np.int64)
        from sklearn.neighbors import NearestNeighbors  # slow to import, and this method alone needs it

        points = np.asarray(self._column(c)[positives], dtype=np.float64)
        nearest: npt.NDArray[np.int64]
        nearest = NearestNeighbors(n_neighbors=count).fit(points).kneighbors(return_distance=False)
        return nearest
