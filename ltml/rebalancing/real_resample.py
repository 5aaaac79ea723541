"""Real features drawn with the sampling prior: how much of stage 2 rebalancing explains without Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.sampler import Sampler
from ltml.rebalancing.shift import LabelShift
from ltml.registry import REBALANCING


@REBALANCING.register("real_resample")
class RealResampling(Rebalancing):
    """Control: draw real features in place of virtual ones, with the same prior."""

    moves = "classifier_then_encoder"
    follows_prior = True

    def sampler(
        self,
        features: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        shift: LabelShift,
        label_names: Sequence[str] | None = None,
    ) -> Sampler:
        """Draw per class a label, then a real feature of that label."""
        del label_names
        return RealResampler(features, targets, shift.probabilities)


class RealResampler:
    """Draw per class and sample a label with the given probability, then the feature of a real sample of that label.

    The control of `GaussianResampler`: the same prior and the same independent draws per class, but no Gaussian.

    Args:
        features: ``(N, C, D)`` or ``(N, D)``; memory maps are read row by row.
        targets: ``(N, C)`` of 0, 1, NaN where unknown.
        probabilities: P(label 1) per class ``(C,)``; NaN for a class without a known sample.
    """

    def __init__(
        self,
        features: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        probabilities: npt.NDArray[np.float64],
    ) -> None:
        self.features = features
        self.probabilities = probabilities
        self.groups = [[np.flatnonzero(column == label) for label in (0, 1)] for column in np.asarray(targets).T]

    @property
    def is_shared(self) -> bool:
        """Whether the features are shared by all classes, ``(N, D)``."""
        return self.features.ndim == 2

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw from a CPU generator.

        Returns:
            Features float32 ``(n, C, D)`` and targets float32 ``(n, C)``; for a class without samples 0 and NaN.
        """
        classes, width = len(self.groups), self.features.shape[-1]
        uniform = torch.rand(n, classes, 2, generator=generator, dtype=torch.float64).numpy()
        features = np.zeros((n, classes, width), dtype=np.float32)
        targets = np.where(np.isnan(self.probabilities), np.nan, uniform[..., 0] < self.probabilities)
        for c, pair in enumerate(self.groups):
            column = self.features if self.is_shared else self.features[:, c]
            for label, members in enumerate(pair):
                rows = np.flatnonzero(targets[:, c] == label)
                features[rows, c] = column[members[(uniform[rows, c, 1] * len(members)).astype(np.int64)]]
        return torch.from_numpy(features), torch.from_numpy(targets.astype(np.float32))
