"""What reports are made of."""

from __future__ import annotations

import itertools

from ltml.report.numbers import typeset
from ltml.report.page import choose_classes


def test_of_many_classes_rare_and_frequent_ones_are_shown() -> None:
    names = [f"class {place}" for place in range(1000)]
    shown = choose_classes(names)
    assert (len(shown), shown[0], shown[-1]) == (60, names[0], names[-1])
    places = [names.index(name) for name in shown]
    assert {after - before for before, after in itertools.pairwise(places)} <= {16, 17, 18}
    assert choose_classes(names[:60]) == names[:60]


def test_numbers_are_set_with_minus_signs_and_spaces() -> None:
    assert typeset("-0.4±0.2") == "−0.4 ± 0.2"
    assert [typeset(text) for text in ("+0.0", "-0.0±0.1", "-0.008", "+0.01", "–")] == [
        "0.0",
        "0.0 ± 0.1",
        "−0.008",
        "+0.01",
        "–",
    ]
