"""Mixup on features (Zhang et al., ICLR 2018; Verma et al., ICML 2019): pairs of real samples and of their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.sampler import Sampler, per_class
from ltml.rebalancing.shift import LabelShift
from ltml.registry import REBALANCING


@REBALANCING.register("mixup")
class Mixup(Rebalancing):
    """Train on mixtures of pairs of real features and of their labels (Zhang et al., ICLR 2018)."""

    moves = "classifier"
    former_keys: ClassVar[Mapping[str, str]] = {"mixup_alpha": "alpha"}

    def __init__(
        self, *, alpha: Annotated[float, Field(gt=0, description="parameter of the Beta distribution")] = 0.2
    ) -> None:
        self.alpha = alpha

    def sampler(
        self,
        features: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        shift: LabelShift,
        label_names: Sequence[str] | None = None,
    ) -> Sampler:
        """Draw pairs of real samples and mix them."""
        del shift, label_names
        return MixupResampler(features, targets, self.alpha)


class MixupResampler:
    """Draw ``λ x + (1 − λ) x'`` with targets ``λ y + (1 − λ) y'``, pairs drawn naturally, ``λ ~ Beta(alpha, alpha)``.

    A mixed target is unknown where either of the two is.

    Args:
        features: ``(N, C, D)`` or ``(N, D)``; memory maps are read row by row.
        targets: ``(N, C)`` of 0, 1, NaN where unknown.
        alpha: parameter of the Beta distribution, > 0.
    """

    def __init__(self, features: npt.NDArray[Any], targets: npt.NDArray[Any], alpha: float = 0.2) -> None:
        self.features = features
        self.targets = np.asarray(targets, dtype=np.float32)
        self.alpha = alpha

    @property
    def is_shared(self) -> bool:
        """Whether the features are shared by all classes, ``(N, D)``."""
        return self.features.ndim == 2

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw from a CPU generator.

        Returns:
            Features float32 ``(n, C, D)`` and targets float32 ``(n, C)`` in [0, 1], NaN where unknown.
        """
        total, classes = self.targets.shape
        pairs = torch.randint(0, total, (2, n), generator=generator).numpy()
        seed = int(torch.randint(0, 2**63 - 1, (1,), generator=generator))
        share = torch.from_numpy(np.random.default_rng(seed).beta(self.alpha, self.alpha, size=n)).float()
        x, other_x = (per_class(self.features, rows, classes) for rows in pairs)
        y, other_y = (torch.from_numpy(self.targets[rows]) for rows in pairs)
        rest = 1 - share
        features = share[:, None, None] * x + rest[:, None, None] * other_x
        return features, share[:, None] * y + rest[:, None] * other_y
