from __future__ import annotations

import pytest

from ltml.class_counts import TrainCounts, imbalance_ratio, not_learned


@pytest.mark.parametrize(
    ("positives", "ratio"), [([80, 20, 10], 8.0), ([80, 0, 20], 4.0), ([5], 1.0), ([0, 0], None), ([], None)]
)
def test_the_imbalance_ratio_is_of_classes_that_have_positives(positives: list[int], ratio: float | None) -> None:
    assert imbalance_ratio(positives) == ratio


def test_classes_with_one_outcome_in_train_are_not_learned() -> None:
    names = ["both", "no positive", "no negative", "never known", "no counts", "one negative"]
    counts = TrainCounts(
        {"both": 3, "no positive": 0, "no negative": 9, "never known": 0, "one negative": 8},
        {"both": 9, "no positive": 9, "no negative": 9, "never known": 0, "one negative": 9},
    )
    assert not_learned(names, counts) == ["no positive", "no negative", "never known"]
    assert not_learned(names, TrainCounts({}, {})) == []
    assert not_learned(names, TrainCounts(counts.positives, {})) == ["no positive", "never known"]
