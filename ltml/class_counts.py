"""Derive from training labels which classes can be learned and how imbalanced they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class TrainCounts(NamedTuple):
    """Known labels of each class in train.

    Attributes:
        positives: number of positives by label.
        known: number of positives and negatives by label.
    """

    positives: Mapping[str, int]
    known: Mapping[str, int]


def imbalance_ratio(positives: Iterable[int]) -> float | None:
    """Return the largest over the smallest nonzero number of training positives; None if no class has any.

    A class without training positives is not learned and would make the ratio infinite, whatever the others are.
    """
    counts = [int(count) for count in positives if count > 0]
    return max(counts) / min(counts) if counts else None


def not_learned(label_names: Sequence[str], counts: TrainCounts) -> list[str]:
    """Name the classes that training cannot have learned: those without a known positive or a known negative in train.

    Predictions for such a class come from other classes, so its score is excluded from every mean. Labels without
    counts are not named.
    """
    return [name for name in label_names if _is_one_sided(counts.positives.get(name), counts.known.get(name))]


def _is_one_sided(positives: int | None, known: int | None) -> bool:
    return positives == 0 or (positives is not None and positives == known)
