"""The table of measures: each is one entry, from which tables, comparisons, reports and selection follow.

A plugin adds a measure in one file::

    from ltml.metrics.measures import ClassScores, measure
    from ltml.registry import MEASURES

    @MEASURES.register("specificity")
    @measure("specificity", per_class=True)
    def specificity(scores: ClassScores) -> float:
        \"\"\"Share of negatives that are recognised.\"\"\"
        counts = scores.outcomes
        return counts.tn / (counts.tn + counts.fp) if counts.tn + counts.fp else float("nan")
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ltml.arrays import BoolArray as Bools
from ltml.arrays import Float64Array as Floats
from ltml.errors import InputError, suggest
from ltml.metrics.ranking import area_and_precision
from ltml.metrics.threshold import Confusion, accuracy, balanced_accuracy, count_outcomes, f1, kappa
from ltml.registry import MEASURES


@dataclass(frozen=True)
class ClassScores:
    """Predictions and labels of one class over its K known entries.

    Attributes:
        probs: float64 ``(K,)``, higher means present.
        present: bool ``(K,)``.
        threshold: probability from which the class is predicted.
    """

    probs: Floats
    present: Bools
    threshold: float = 0.5

    @classmethod
    def of(cls, probs: Floats, targets: Floats, threshold: float = 0.5) -> ClassScores:
        """Keep the known entries of ``probs (N,)`` and ``targets (N,)`` of 0, 1, or NaN for unknown."""
        known = ~np.isnan(targets)
        return cls(probs[known], targets[known] == 1, threshold)

    @cached_property
    def outcomes(self) -> Confusion:
        """Counts of right and wrong predictions at the threshold."""
        return count_outcomes(self.probs >= self.threshold, self.present.astype(np.float64))

    @cached_property
    def area_and_precision(self) -> tuple[float, float]:
        """Area under the ROC curve and average precision, from one sort."""
        return area_and_precision(self.probs, self.present)


@dataclass(frozen=True)
class ResampledScores:
    """One class on R resamples of the patients, by the K distinct scores of its positives, highest first.

    Attributes:
        positives: float64 ``(K, R)``, positives with exactly that score.
        negatives: float64 ``(K, R)``, negatives with that score or a higher one.
        tied: float64 ``(T, R)``, negatives with exactly that score, for the scores at `tied_at`.
        tied_at: int ``(T,)``.
        n_pos: float64 ``(R,)``; NaN where a resample has no positive or no negative.
        n_neg: float64 ``(R,)``; NaN in the same places.
    """

    positives: Floats
    negatives: Floats
    tied: Floats
    tied_at: npt.NDArray[np.intp]
    n_pos: Floats
    n_neg: Floats


Resample = Callable[[ResampledScores], Floats]


@dataclass(frozen=True)
class Measure:
    """How a measure is computed, and where it is shown.

    Attributes:
        title: name of the mean over classes in tables.
        of: function of one class; NaN where undefined.
        class_title: name of the value of one class in tables; the title by default.
        per_class: show the measure for every class, not only its means.
        resample: the measure of one class on resamples ``(R,)``; None for a measure without a patient bootstrap, which
            then has no interval over patients.
        higher_is_better: False for errors and distances.
    """

    title: str
    of: Callable[[ClassScores], float]
    class_title: str = ""
    per_class: bool = False
    resample: Resample | None = None
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_title", self.class_title or self.title)
        object.__setattr__(self, "__doc__", inspect.getdoc(self.of) or "")

    def __call__(self, scores: ClassScores) -> float:
        """Compute the measure of one class."""
        return float(self.of(scores))

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.higher_is_better else -1


def measure(
    title: str,
    *,
    class_title: str = "",
    per_class: bool = False,
    resample: Resample | None = None,
    higher_is_better: bool = True,
) -> Callable[[Callable[[ClassScores], float]], Measure]:
    """Make a `Measure` of the decorated function; the arguments are its attributes."""

    def wrap(function: Callable[[ClassScores], float]) -> Measure:
        return Measure(title, function, class_title, per_class, resample, higher_is_better)

    return wrap


def measure_titles(saved: Iterable[str] = (), *, per_class: bool = False) -> dict[str, str]:
    """Return the names of measures with their titles, in the order of tables.

    Args:
        saved: names found in a saved file. Those that are not registered, because the plugin that defines them was not
            imported, follow the registered ones under their own name.
        per_class: only measures that are shown for every class, with the title of a single class.
    """
    known = MEASURES.all()
    if per_class:
        return {name: entry.class_title for name, entry in known.items() if entry.per_class}
    return {name: entry.title for name, entry in known.items()} | {name: name for name in saved if name not in known}


def measure_title(name: str) -> str:
    """Return the title of a measure, or its name where it is not registered."""
    return measure_titles([name])[name]


def resampled_measures() -> dict[str, Resample]:
    """Return the functions of the measures that have a patient bootstrap."""
    return {name: entry.resample for name, entry in MEASURES.all().items() if entry.resample is not None}


def measure_sign(name: str) -> int:
    """Return -1 if lower values of a measure are better, else 1, also for a name that is not registered."""
    known = MEASURES.all()
    return known[name].sign if name in known else 1


def check_selection(name: str, where: str) -> None:
    """Raise if no checkpoint can be chosen by a measure.

    Raises:
        InputError: the measure does not exist, or lower values of it are better.
    """
    known = MEASURES.all()
    if name not in known:
        raise InputError(f"{where}={name} is no measure: {suggest(name, known)}")
    if not known[name].higher_is_better:
        allowed = [other for other, entry in known.items() if entry.higher_is_better]
        raise InputError(f"{where}={name}: lower is better, but the highest value is chosen; use {', '.join(allowed)}")


def score_classes(name: str, probs: Floats, targets: Floats, classes: Sequence[int] | npt.NDArray[np.intp]) -> Floats:
    """Compute a measure of some classes of ``probs (N, C)`` and ``targets (N, C)`` with the threshold 0.5."""
    entry = MEASURES.get(name)
    return np.array([entry(ClassScores.of(probs[:, c], targets[:, c])) for c in classes], dtype=np.float64)


def _resample_auroc(scores: ResampledScores) -> Floats:
    wrong = np.einsum("kr,kr->r", scores.positives, scores.negatives)  # pairs whose negative scores higher, or as high
    wrong -= 0.5 * np.einsum("kr,kr->r", scores.positives[scores.tied_at], scores.tied)
    area: Floats = 1 - wrong / (scores.n_pos * scores.n_neg)
    return area


def _resample_ap(scores: ResampledScores) -> Floats:
    true = np.cumsum(scores.positives, axis=0)
    precision = true / np.maximum(true + scores.negatives, 1)
    mean: Floats = np.einsum("kr,kr->r", scores.positives, precision) / scores.n_pos
    return mean


@MEASURES.register("auroc")
@measure("AUC", per_class=True, resample=_resample_auroc)
def _auroc(scores: ClassScores) -> float:
    """Area under the ROC curve."""
    return scores.area_and_precision[0]


@MEASURES.register("ap")
@measure("mAP", class_title="AP", per_class=True, resample=_resample_ap)
def _ap(scores: ClassScores) -> float:
    """Average precision; its mean over classes is mAP."""
    return scores.area_and_precision[1]


@MEASURES.register("macc")
@measure("mACC", class_title="ACC")
def _macc(scores: ClassScores) -> float:
    """Accuracy; its mean over classes is LDRNet's mACC."""
    return accuracy(scores.outcomes)


@MEASURES.register("balanced_accuracy")
@measure("balanced ACC")
def _balanced_accuracy(scores: ClassScores) -> float:
    """Mean of sensitivity and specificity."""
    return balanced_accuracy(scores.outcomes)


@MEASURES.register("kappa")
@measure("kappa")
def _kappa(scores: ClassScores) -> float:
    """Cohen's kappa of predictions and labels."""
    return kappa(scores.outcomes)


@MEASURES.register("f1")
@measure("F1", per_class=True)
def _f1(scores: ClassScores) -> float:
    """Harmonic mean of precision and recall."""
    return f1(scores.outcomes)


def mean_or_nan(values: Iterable[float]) -> float:
    """Return the exact mean of the defined values; NaN if there are none."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan
