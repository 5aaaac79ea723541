"""Contract of measures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ltml.metrics.measures import ClassScores, Measure

SEEDS = range(8)
"""Seeds of the random predictions that a measure is checked on."""


def check_measure(measure: Any, *, low: float = 0.0, high: float = 1.0) -> None:
    """Assert that a measure keeps the contract of the table of measures.

    Its value is a number in a range or NaN, depends on the known entries alone and not on their order, is NaN or a
    number where a class has no positive, no negative or no known entry at all, and the predictions stay unchanged.

    Args:
        measure: a `Measure`, as the decorator `ltml.metrics.measures.measure` makes it.
        low: lowest value.
        high: highest value.

    Raises:
        AssertionError: says what is wrong and how to mend it.

    Example:
        >>> from ltml.registry import MEASURES
        >>> check_measure(MEASURES.get("auroc"))
    """
    if not isinstance(measure, Measure):
        raise AssertionError(f"{measure!r} is no measure: decorate the function with ltml.metrics.measures.measure")
    for seed in SEEDS:
        _check_entries(measure, seed, low, high)
    _check_undefined(measure, low, high)


def _check_entries(measure: Measure, seed: int, low: float, high: float) -> None:
    rng = np.random.default_rng(seed)
    probs, targets = rng.random(40).round(1), rng.choice([0.0, 1.0, np.nan], 40)
    targets[:2] = 0, 1
    known = ~np.isnan(targets)
    value = _value(measure, ClassScores.of(probs, targets))
    if not (math.isnan(value) or low <= value <= high):
        raise AssertionError(f"the measure gives {value:g}, outside [{low:g}, {high:g}]: scale it, or state its range")
    order = rng.permutation(40)
    if not _same(value, _value(measure, ClassScores.of(probs[order], targets[order]))):
        raise AssertionError("the measure depends on the order of the entries: they have none")
    if not _same(value, _value(measure, ClassScores.of(probs[known], targets[known]))):
        raise AssertionError("the measure depends on entries whose label is unknown: use ClassScores alone")


def _check_undefined(measure: Measure, low: float, high: float) -> None:
    probs = np.array([0.2, 0.4, 0.9])
    for what, targets in (("positive", np.zeros(3)), ("negative", np.ones(3)), ("entry", np.full(3, np.nan))):
        try:
            value = _value(measure, ClassScores.of(probs, targets))
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"the measure fails without a known {what} ({error!r}): return NaN there") from error
        if not (math.isnan(value) or (low <= value <= high and what != "entry")):
            raise AssertionError(
                f"the measure gives {value:g} without a known {what}: return NaN where it is undefined"
            )


def _value(measure: Measure, scores: ClassScores) -> float:
    """Compute a measure twice on read-only arrays."""
    for array in (scores.probs, scores.present):
        array.setflags(write=False)
    try:
        value, again = measure.of(scores), measure.of(scores)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise AssertionError("the measure changes the predictions or labels it is given: work on a copy") from error
    if not isinstance(value, float | np.floating):
        raise AssertionError(f"the measure gives {type(value).__name__} {value!r}: return one float for a class")
    if not _same(float(value), float(again)):
        raise AssertionError("the measure gives another value the second time: it must depend on its input alone")
    return float(value)


def _same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
