"""Compute the probability that a virtual sample has label 1 of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ltml.gaussians.arrays import Float64Array

PRIORS = ("eq12", "uniform", "natural", "reverse_max", "effective_number")


def label_probabilities(
    positives: npt.ArrayLike,
    negatives: npt.ArrayLike,
    prior: str | Sequence[float] = "eq12",
    *,
    alpha: float = 0.9,
    eps: float = 1e-9,
    beta: float = 0.999,
) -> Float64Array:
    """Return P(label 1) per class.

    ``F_c`` is the training frequency of class ``c`` among its known entries. A class with only one known label always
    draws that label and is left out of every normalisation, because otherwise one empty class would take all the
    probability. A class without a known entry is NaN.

    Args:
        positives: known positives per class, ``(C,)``.
        negatives: known negatives per class, ``(C,)``.
        prior:
            - ``eq12``: ``p_c ∝ (1 / (F_c + eps))^alpha``, summing to 1 over classes (LDRNet, MM 2024, eq. 12). With
              many classes most virtual samples then carry few positives: on NIH the rarest class gets about 0.5 and
              about 30 % of the samples have none. ``alpha = 0`` gives every class 1/C (the paper's "uniform").
            - ``uniform``: 0.5 each.
            - ``natural``: ``F_c``.
            - ``reverse_max``: eq. 12 scaled so that the rarest class has 0.5.
            - ``effective_number``: ``(1 − beta) / (1 − beta^n_c)`` (Cui et al., CVPR 2019), scaled in the same way.
            - a sequence: ``(C,)`` numbers in [0, 1].
        alpha: exponent of eq. 12.
        eps: number added to each frequency in eq. 12.
        beta: β of the effective number.

    Returns:
        Float64 ``(C,)``.

    Raises:
        ValueError: if the prior is unknown, a sequence has another length or values outside [0, 1], alpha is negative
            or eps is not positive.
    """
    if not (
        isinstance(alpha, float | int) and 0 <= alpha < np.inf and isinstance(eps, float | int) and 0 < eps < np.inf
    ):
        raise ValueError(f"Expected alpha of 0 or more and eps above 0 but got alpha={alpha!r} and eps={eps!r}.")
    pos, neg = np.asarray(positives, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    both = (pos > 0) & (neg > 0)
    result = np.where(pos + neg == 0, np.nan, (pos > 0).astype(np.float64))
    result[both] = _two_sided(pos, neg, both, prior, alpha, eps, beta)
    return result


def is_always_positive(prior: str | Sequence[float], positives: npt.ArrayLike, negatives: npt.ArrayLike) -> bool:
    """Return whether only one class has both labels, so that eq. 12 makes it positive in every virtual sample."""
    both = (np.asarray(positives) > 0) & (np.asarray(negatives) > 0)
    return isinstance(prior, str) and prior == "eq12" and int(both.sum()) == 1


def prior_shift(probabilities: npt.ArrayLike, positives: npt.ArrayLike, negatives: npt.ArrayLike) -> Float64Array:
    """Return the difference between a class's log-odds among virtual samples and among training samples.

    ``logit(p_c) − logit(F_c)``, both clipped to ``[1/(2n), 1 − 1/(2n)]`` with ``n`` the known samples of the class.
    Subtracting it from the biases of a classifier fitted under the prior ``p`` calibrates the classifier for ``F``.

    Args:
        probabilities: P(label 1) per class ``(C,)`` from `label_probabilities`.
        positives: known positives per class, ``(C,)``.
        negatives: known negatives per class, ``(C,)``.

    Returns:
        Float64 ``(C,)``; 0 for a class without a known entry.
    """
    pos, neg = np.asarray(positives, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    known = np.maximum(pos + neg, 1)
    sampled, natural = (
        np.clip(np.nan_to_num(values), 0.5 / known, 1 - 0.5 / known)
        for values in (np.asarray(probabilities, dtype=np.float64), pos / known)
    )
    shift: Float64Array = np.log(sampled / (1 - sampled)) - np.log(natural / (1 - natural))
    return shift


def _two_sided(
    pos: Float64Array,
    neg: Float64Array,
    both: npt.NDArray[np.bool_],
    prior: str | Sequence[float],
    alpha: float,
    eps: float,
    beta: float,
) -> Float64Array:
    if not isinstance(prior, str):
        given: Float64Array = np.asarray(np.nan if prior is None else prior, dtype=np.float64)
        if given.shape != pos.shape or not bool(np.all((given >= 0) & (given <= 1))):
            raise ValueError(f"Expected {len(pos)} probabilities in [0, 1], one per class, but got {prior!r}.")
        chosen: Float64Array = given[both]
        return chosen
    frequency = pos[both] / (pos[both] + neg[both])
    log_weight = -alpha * np.log(frequency + eps)  # in logs, so that no exponent overflows
    reverse: Float64Array = np.exp(log_weight - log_weight.max(initial=-np.inf))
    if prior == "eq12":
        normalised: Float64Array = reverse / reverse.sum()
        return normalised
    if prior == "uniform":
        return np.full(len(frequency), 0.5)
    if prior == "natural":
        return frequency
    if prior == "reverse_max":
        return _rarest_half(reverse)
    if prior == "effective_number":
        return _rarest_half((1 - beta) / (1 - beta ** pos[both]))
    raise ValueError(f"Expected prior as one of {', '.join(PRIORS)} or a sequence but got '{prior}'.")


def _rarest_half(weights: Float64Array) -> Float64Array:
    return 0.5 * weights / weights.max() if len(weights) else weights
