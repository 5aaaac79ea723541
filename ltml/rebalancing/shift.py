"""The prior of stage 2: how often each class is positive among samples, and what that does to its log-odds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ltml.errors import InputError
from ltml.gaussians.probabilities import label_probabilities, prior_shift
from ltml.models.classifier import PerClassLinear


class LabelShift:
    """The sampling prior of every class, and how far it is from the training prior.

    Args:
        targets: labels of the training samples ``(N, C)``, NaN where unknown.
        prior: policy or one probability per class; see `label_probabilities`.
        alpha: exponent of eq. 12.
        epsilon: number added to each frequency in eq. 12.

    Attributes:
        probabilities: P(label 1) among samples, float64 ``(C,)``; NaN for a class without a known label.
        log_odds: log-odds among samples minus those among training samples, float64 ``(C,)``; 0 for a class without a
            known label.
        natural: log-odds among training samples, float64 ``(C,)``; 0 for a class without a known label.

    Raises:
        InputError: the prior does not suit the classes.
    """

    def __init__(
        self,
        targets: npt.NDArray[np.floating[Any]],
        prior: str | Sequence[float] = "eq12",
        alpha: float = 0.9,
        epsilon: float = 1e-9,
    ) -> None:
        self.prior, self.alpha, self.epsilon = prior, alpha, epsilon
        positives, negatives = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
        try:
            self.probabilities = label_probabilities(positives, negatives, prior, alpha=alpha, eps=epsilon)
        except ValueError as error:
            raise InputError(f"stage2.prior: {error}") from error
        self.log_odds = prior_shift(self.probabilities, positives, negatives)
        self.natural = -prior_shift(np.full(len(positives), 0.5), positives, negatives)


def shift_biases(classifier: nn.Module, log_odds: npt.NDArray[np.float64]) -> None:
    """Add log-odds ``(C,)`` to the biases of a linear classifier, in place."""
    assert isinstance(classifier, PerClassLinear)
    with torch.no_grad():
        classifier.bias.add_(torch.from_numpy(log_odds).to(classifier.bias))
