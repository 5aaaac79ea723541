"""The contract check of measures finds what is wrong with bad ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ltml.metrics.measures import ClassScores, Measure, measure
from ltml.testing import check_measure

_counter: Iterator[int] = iter(range(10**6))


def _accuracy(scores: ClassScores) -> float:
    return scores.outcomes.tp / len(scores.probs) if len(scores.probs) else float("nan")


def _changes_its_input(scores: ClassScores) -> float:
    scores.probs[:] = 0
    return 0.0


def _not_defined_without_positives(scores: ClassScores) -> float:
    return scores.outcomes.tp / (scores.outcomes.tp + scores.outcomes.fn)


def _zero_for_undefined(scores: ClassScores) -> float:
    return 0.0 if not len(scores.probs) else _accuracy(scores)


BAD: list[tuple[Callable[[ClassScores], object], str]] = [
    (_changes_its_input, "work on a copy"),
    (_not_defined_without_positives, "fails without a known positive"),
    (_zero_for_undefined, "gives 0 without a known entry"),
    (lambda scores: 100 * _accuracy(scores), "outside"),
    (lambda scores: float(scores.probs[0]), "order of the entries"),
    (lambda scores: scores.probs, "return one float"),
    (lambda scores: 1.0 / (2 + next(_counter)), "another value the second time"),
]


@pytest.mark.parametrize(("function", "message"), BAD)
def test_a_bad_measure_is_told_what_is_wrong(function: Callable[[ClassScores], float], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_measure(measure("toy")(function))


def test_a_measure_that_looks_at_unknown_entries_cannot_be_written() -> None:
    scores = ClassScores.of(np.array([0.1, 0.9]), np.array([1.0, np.nan]))
    assert scores.probs.tolist() == [0.1]
    assert scores.present.tolist() == [True]


def test_a_good_measure_passes_and_a_bare_function_is_refused() -> None:
    check_measure(Measure("toy", _accuracy))
    with pytest.raises(AssertionError, match="decorate the function"):
        check_measure(_accuracy)
