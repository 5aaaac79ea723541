"""Classifier re-training on class-balanced real samples (cRT; Kang et al., ICLR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ltml.models.classifier import PerClassLinear
from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.sampler import Sampler, per_class
from ltml.rebalancing.shift import LabelShift
from ltml.registry import REBALANCING
from ltml.seeds import derive_seed


@REBALANCING.register("crt")
class ClassifierRetraining(Rebalancing):
    """Re-train a fresh classifier on real samples, classes drawn equally often (Kang et al., ICLR 2020)."""

    moves = "classifier"
    needs_linear = True

    def initial_classifier(self, classifier: nn.Module, seed: int) -> nn.Module:
        """Return a classifier of the same shape with fresh weights."""
        return reset_classifier(classifier, seed)

    def sampler(
        self,
        features: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        shift: LabelShift,
        label_names: Sequence[str] | None = None,
    ) -> Sampler:
        """Draw a class, then one of its positive samples."""
        del shift, label_names
        return BalancedResampler(features, targets)


def reset_classifier(classifier: nn.Module, seed: int) -> PerClassLinear:
    """Return a classifier of the same shape with fresh weights, as classifier re-training begins."""
    assert isinstance(classifier, PerClassLinear)
    torch.manual_seed(derive_seed(seed, "crt"))
    return PerClassLinear.initialised(*classifier.weight.shape).to(classifier.weight.device)


class BalancedResampler:
    """Draw a class uniformly, then one of its positive samples with all of its labels.

    Class-balanced sampling of "Decoupling representation and classifier" (cRT), for several labels: a sample brings its
    other labels along, so frequent companions of rare classes stay frequent. Classes without known positives and
    samples without any known positive are never drawn, as in the paper, whose samples all have a class.

    Args:
        features: ``(N, C, D)`` or ``(N, D)``; memory maps are read row by row.
        targets: ``(N, C)`` of 0, 1, NaN where unknown.

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
