"""Every measure per class, their macro means, and the means over groups of labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ltml.class_counts import TrainCounts, not_learned
from ltml.metrics.class_inputs import read_counts, read_label_groups, read_threshold
from ltml.metrics.groups import Counts, Groups
from ltml.metrics.inputs import read_table
from ltml.metrics.measures import ClassScores, mean_or_nan
from ltml.metrics.odir import odir_score
from ltml.registry import MEASURES
from ltml.saved import Saved

if TYPE_CHECKING:
    import pandas as pd


class SavedClass(BaseModel):
    """Line of one class; its measures are the further keys, None if undefined."""

    model_config = ConfigDict(extra="allow")

    label: str
    train_pos: int | None
    n_pos: int
    n_known: int


@dataclass(frozen=True, repr=False)
class MetricTable:
    """Scores of one set of predictions.

    Attributes:
        per_class: one mapping per class: ``label``, ``n_pos``, ``n_known``, ``train_pos`` and the measures
            (NaN where undefined).
        macro: mean of each measure over the learned classes where it is defined; NaN where it is for none.
        n_classes: over how many classes each macro mean goes.
        not_learned: classes without training positives or without training negatives, as far as counts were given;
            they have their line in `per_class` and stand outside all means.
        groups: ``labels`` (the learned ones), ``train_pos`` (lowest and highest) and the measures for head, medium and
            tail; empty without groups.
        groups_by: how labels were cut into groups, in words; empty where that was not said.
        odir: the official ODIR-5K score.
        threshold: of the measures that need one; a number, or one per class.
    """

    per_class: tuple[Mapping[str, Any], ...]
    macro: Mapping[str, float]
    n_classes: Mapping[str, int]
    groups: Mapping[str, Mapping[str, Any]]
    odir: Mapping[str, float]
    threshold: float | tuple[float, ...]
    not_learned: tuple[str, ...] = ()
    groups_by: str = ""

    def __repr__(self) -> str:
        """Return the number of classes and the macro means, a measure per line."""
        means = [f"  {name}: {value:.4f} over {self.n_classes[name]} classes" for name, value in self.macro.items()]
        apart = f", {len(self.not_learned)} not learned" if self.not_learned else ""
        return "\n".join([f"MetricTable of {len(self.per_class)} classes{apart}", *means, "  per class: .to_frame()"])

    def to_frame(self) -> pd.DataFrame:
        """Return a row per class, indexed by ``label``: counts and measures, NaN where undefined."""
        import pandas as pd  # slow to import, and scoring does without

        return pd.DataFrame(list(self.per_class)).set_index("label")

    def to_json(self, split: str) -> dict[str, Any]:
        """Return the content of ``metrics.json``: undefined figures are None."""
        content = {
            "format": SavedMetrics.model_fields["format"].default,
            "split": split,
            "threshold": self.threshold,
            "macro": self.macro,
            "n_classes": self.n_classes,
            "not_learned": self.not_learned,
            "groups": self.groups,
            "groups_by": self.groups_by,
            "per_class": self.per_class,
            "odir": self.odir,
        }
        plain: dict[str, Any] = _undefined_to_none(content)
        return plain


class SavedMetrics(Saved):
    """Content of ``metrics.json`` and ``calibrated.json``: scores of one split after one stage."""

    format: int = 1
    split: str
    threshold: float | list[float] = 0.5
    macro: dict[str, float | None]
    n_classes: dict[str, int]
    not_learned: list[str] = Field(default_factory=list)
    groups: dict[str, dict[str, Any]]
    groups_by: str = ""
    per_class: list[SavedClass]
    odir: dict[str, float | None] = Field(default_factory=dict)


class SavedChange(BaseModel):
    """Differences of one split: after minus before, None if undefined."""

    split: str
    macro: dict[str, float | None]
    groups: dict[str, dict[str, float | None]]
    per_class: list[dict[str, Any]]


class SavedChanges(Saved):
    """Content of ``changes.json``: a `SavedChange` for every split that both stages scored."""

    format: int = 1

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        for change in (self.model_extra or {}).values():
            SavedChange.model_validate(change)
        return self


def score(
    probs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    label_names: Sequence[str] | None = None,
    threshold: float | Sequence[float] | Mapping[str, float] = 0.5,
    groups: Groups | None = None,
    train_positives: Counts | None = None,
    train_known: Counts | None = None,
    groups_by: str = "",
) -> MetricTable:
    """Score predictions per class, over all learned classes and over groups.

    Arrays of numpy, pandas and torch, and lists, are read alike: what a mask hides, None and NA are unknown; two frames
    are matched by index and columns.

    Args:
        probs: ``(N, C)`` in [0, 1].
        targets: ``(N, C)`` of 0, 1, or NaN for unknown; unknown entries are left out.
        label_names: names of the ``C`` classes; by default the columns of a frame, else ``"0"``, ``"1"``, ….
        threshold: probability in [0, 1] from which a class is predicted, for all classes or one per class.
        groups: labels by group name, e.g. from `ltml.metrics.groups`.
        train_positives: known training positives per class or by label, shown beside each class. A class with 0 was not
            learned and stands outside the means. Without counts nothing is known of that, and all classes are in.
        train_known: known training labels, in the same form; a class without training negatives is not learned either.
        groups_by: how the groups were cut, in words.

    Returns:
        A table in which a class without known positives or without known negatives is undefined (NaN) and left
        out of the means, never counted as 0. The official ODIR score alone is over all classes, as it is defined.

    Raises:
        ArrayError: shapes, names, indexes or columns do not fit, or a value is not allowed; an `InputError` that is a
            ValueError too.

    Example:
        >>> table = score([[0.9, 0.2], [0.1, 0.7]], [[1, 0], [0, float("nan")]])
        >>> table.macro["auroc"], table.n_classes["auroc"]
        (1.0, 1)
    """
    read = read_table(probs, targets, label_names=label_names)
    names, limits = read.label_names, read_threshold(threshold, read.label_names)
    per_class = np.broadcast_to(limits, len(names))
    members = {} if groups is None else read_label_groups(groups, names)
    positives, known = (
        {} if given is None or len(given) == 0 else dict(zip(names, read_counts(given, names, what), strict=True))
        for given, what in ((train_positives, "train_positives"), (train_known, "train_known"))
    )
    scores, labels = (np.asarray(values, order="F") for values in (read.scores, read.targets))  # contiguous by class
    rows = tuple(
        {"label": name, "train_pos": positives.get(name)}
        | _score_class(scores[:, c], labels[:, c], float(per_class[c]))
        for c, name in enumerate(names)
    )
    apart = not_learned(names, TrainCounts(positives, known))
    learned = [row for row in rows if row["label"] not in apart]
    return MetricTable(
        per_class=rows,
        macro=_means(learned),
        n_classes={name: sum(not math.isnan(row[name]) for row in learned) for name in MEASURES.all()},
        groups={group: _score_group(learned, inside) for group, inside in members.items()},
        odir=odir_score(scores, labels, limits),
        threshold=limits,
        not_learned=tuple(apart),
        groups_by=groups_by,
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes between two ``metrics.json`` of the same labels: after minus before, None if undefined.

    Args:
        before: content of one ``metrics.json``.
        after: content of another with the same classes and groups.

    Returns:
        ``split``, ``macro``, ``groups`` and ``per_class`` with the difference of every measure.
    """
    names = list(after["macro"])
    return {
        "split": after["split"],
        "macro": _differences(before["macro"], after["macro"], names),
        "groups": {name: _differences(before["groups"][name], group, names) for name, group in after["groups"].items()},
        "per_class": [
            {"label": new["label"]} | _differences(old, new, names)
            for old, new in zip(before["per_class"], after["per_class"], strict=True)
        ],
    }


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], names: Iterable[str]) -> dict[str, float | None]:
    return {name: _gap(old.get(name), new.get(name)) for name in names}


def _gap(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None else new - old


def _score_class(probs: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], threshold: float) -> dict[str, Any]:
    scores = ClassScores.of(probs, targets, threshold)
    counts = {"n_pos": int(np.count_nonzero(scores.present)), "n_known": len(scores.present)}
    return counts | {name: measure(scores) for name, measure in MEASURES.all().items()}


def _score_group(rows: Sequence[Mapping[str, Any]], members: Sequence[str]) -> dict[str, Any]:
    inside = [row for row in rows if row["label"] in members]
    positives = [row["train_pos"] for row in inside if row["train_pos"] is not None]
    cut = [min(positives), max(positives)] if positives else None
    return {"labels": [row["label"] for row in inside], "train_pos": cut} | _means(inside)


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {name: mean_or_nan(row[name] for row in rows) for name in MEASURES.all()}


def _undefined_to_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _undefined_to_none(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_undefined_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
