"""Whether probabilities are as high as they should be, and what is fitted to make them so: temperature, thresholds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit

from ltml.arrays import Float64Array
from ltml.metrics.arguments import ArrayError
from ltml.metrics.inputs import read_pair, read_probs

TEMPERATURES = (0.05, 20.0)
"""Search interval for the temperature. Bounded because the optimum is 0 on a perfectly separated val."""
BINS = 15
"""Number of bins of the calibration error."""


def brier(probs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the mean squared difference between probabilities and outcomes of one class (Brier, 1950).

    Args:
        probs: ``(N,)`` in [0, 1].
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Returns:
        A value in [0, 1], 0 is best; NaN with no known entry.

    Example:
        >>> round(brier([0.9, 0.2, 0.5], [1, 0, float("nan")]), 3)
        0.025
    """
    values, outcomes = _known(probs, targets)
    return float(np.mean((values - outcomes) ** 2)) if len(values) else float("nan")


def adaptive_ece(probs: npt.ArrayLike, targets: npt.ArrayLike, bins: int = BINS) -> float:
    """Return the expected calibration error of one class over bins of equal mass (Nixon et al., 2019).

    ``Σ_b n_b / N |mean p - mean y|`` over `bins` bins that hold as many entries each, one more or less, in the order of
    their probability. Entries of equal probability share a bin, so that the order of the rows does not matter.

    Args:
        probs: ``(N,)`` in [0, 1].
        targets: ``(N,)`` of 0, 1, or NaN for unknown.
        bins: how many; no more than there are known entries are filled.

    Returns:
        A value in [0, 1], 0 is best; NaN with no known entry.
    """
    values, outcomes = _known(probs, targets)
    if not len(values):
        return float("nan")
    first_equal = np.searchsorted(np.sort(values), values)
    gaps = np.bincount(first_equal * bins // len(values), weights=values - outcomes)
    return float(np.abs(gaps).sum() / len(values))


def fit_temperature(probs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the temperature ``T`` for which ``σ(logit(p) / T)`` has the least BCE (Guo et al., ICML 2017).

    The loss is convex in ``1 / T``, so its derivative is zero at one place; that is found to full precision.

    Args:
        probs: of any shape, in [0, 1].
        targets: of the same shape: 0, 1, or NaN for unknown; unknown entries are left out.

    Returns:
        A value within `TEMPERATURES`, at its ends where the loss falls beyond them; 1 with no known entry.
    """
    values, outcomes = _known(probs, targets, any_shape=True)
    scores = _logit(values)

    def slope(inverse: float) -> float:
        return float(((expit(inverse * scores) - outcomes) * scores).sum())

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if not len(scores):
        return 1.0
    if slope(low) >= 0:
        return TEMPERATURES[1]
    if slope(high) <= 0:
        return TEMPERATURES[0]
    return float(1 / brentq(slope, low, high, xtol=1e-12))


def apply_temperature(probs: npt.ArrayLike, temperature: npt.ArrayLike) -> Float64Array:
    """Return ``σ(logit(p) / T)``: the order of probabilities stays as it is.

    Args:
        probs: ``(…, C)`` in [0, 1].
        temperature: one, or one per class ``(C,)``.

    Returns:
        Float64 of the shape of `probs`.

    Raises:
        ArrayError: a probability lies outside [0, 1], or a temperature is not above 0.
    """
    scores, divisors = _logit(read_probs(probs)), np.asarray(temperature, dtype=np.float64)
    if not (divisors > 0).all():
        raise ArrayError(f"Expected temperatures above 0 but got {divisors[~(divisors > 0)][0]:g}.")
    if divisors.shape not in ((), scores.shape[-1:]):
        raise ArrayError(f"Expected one temperature or one per class of probs {scores.shape} but got {divisors.shape}.")
    scaled: Float64Array = expit(scores / divisors)
    return scaled


def best_f1_threshold(probs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the threshold of one class for which ``probs >= threshold`` has the highest F1.

    Candidates are half-way between neighbouring probabilities, below the lowest, and at 0.5; of several equally
    good, the one nearest 0.5 is taken.

    Args:
        probs: ``(N,)`` in [0, 1].
        targets: ``(N,)`` of 0, 1, or NaN for unknown.

    Returns:
        A value in [0, 1]; NaN where no positive or no negative is known, and with them F1.

    Example:
        >>> round(best_f1_threshold([0.1, 0.2, 0.4, 0.3], [0, 0, 1, 1]), 3)
        0.25
    """
    values, outcomes = _known(probs, targets)
    if not 0 < outcomes.sum() < len(outcomes):
        return float("nan")
    levels = np.unique(np.append(values, 0.0))
    candidates = np.append((levels[:-1] + levels[1:]) / 2, [0.0, 0.5])
    candidates = candidates[np.argsort(np.abs(candidates - 0.5), kind="stable")]
    predicted = len(values) - np.searchsorted(np.sort(values), candidates)
    hits = outcomes.sum() - np.searchsorted(np.sort(values[outcomes == 1]), candidates)
    return float(candidates[np.argmax(2 * hits / (predicted + outcomes.sum()))])


def _known(
    probs: npt.ArrayLike, targets: npt.ArrayLike, *, any_shape: bool = False
) -> tuple[Float64Array, Float64Array]:
    values, labels = read_pair(probs, targets, any_shape=any_shape)
    known = ~np.isnan(labels)
    return values[known], labels[known]


def _logit(probs: Float64Array) -> Float64Array:
    """Return finite logits: 0 and 1 count as the nearest numbers between them that float64 has."""
    scores: Float64Array = logit(np.clip(probs, np.finfo(np.float64).tiny, np.nextafter(1.0, 0.0)))
    return scores
