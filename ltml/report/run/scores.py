"""Scores of one split after every stage, and which classes they can be trusted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.report.numbers import STAGE_NAMES

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class StageScores:
    """Scores of one split.

    Attributes:
        split: name of the split.
        saved: content of ``metrics.json`` by stage, at least one.
    """

    split: str
    saved: Mapping[str, Metrics]

    @cached_property
    def stages(self) -> dict[str, Metrics]:
        """Scores by stage, in order."""
        return {stage: self.saved[stage] for stage in STAGE_NAMES if stage in self.saved}

    @property
    def last(self) -> Metrics:
        """Scores after the last stage."""
        return list(self.stages.values())[-1]

    @cached_property
    def labels(self) -> list[str]:
        """All labels, the most frequent in training first, those that were not learned last."""
        positives = {row["label"]: row["train_pos"] or 0 for row in self.last["per_class"]}
        return sorted(positives, key=lambda name: (name in self.not_learned, -positives[name]))

    @property
    def not_learned(self) -> list[str]:
        """Labels without a positive or a negative in train, outside all means."""
        return list(self.last.get("not_learned", []))

    @property
    def rare(self) -> dict[str, int]:
        """Counts of the learned labels with fewer known positives or negatives than a headline needs."""
        counts = {row["label"]: min(row["n_pos"], row["n_known"] - row["n_pos"]) for row in self.last["per_class"]}
        return {name: n for name, n in counts.items() if n < MIN_KNOWN and name not in self.not_learned}

    def supported(self, labels: Sequence[str]) -> list[str]:
        """Return those of some labels that were learned and have enough samples for a headline."""
        return [name for name in labels if name not in self.not_learned and name not in self.rare]
