"""Patient-cluster bootstrap of AUROC and average precision: patients are drawn with replacement, with all they have.

A resample is a weight per patient. What a measure needs of it are sums of weights between the scores of the positives
of a class, so each class is sorted once, and sparse products give those sums for many resamples at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from ltml.arrays import Float64Array as Floats
from ltml.errors import InputError
from ltml.metrics.inputs import read_table, read_targets
from ltml.metrics.measures import ResampledScores, resampled_measures, score_classes
from ltml.metrics.patient_inputs import read_patients
from ltml.metrics.ranking import Ints

LEVEL = 0.95
MIN_KNOWN = 10
"""Minimum number of known positives, and of known negatives, for an interval of a class."""
CHUNK = 16
"""Number of resamples per chunk; their weights fit the processor's cache."""


def bootstrap_scores(
    probs: npt.ArrayLike,
    targets: npt.ArrayLike,
    groups: Sequence[str],
    *,
    measures: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Floats]:
    """Compute measures of every class on resamples of the groups; unknown entries are left out.

    A seed gives the same resamples whatever the scores and classes are, in whatever order the rows come, so that
    methods can be compared resample by resample. Equal to weighted scikit-learn on each of them, ties included.

    Args:
        probs: ``(N, C)``, higher means present.
        targets: ``(N, C)`` of 0, 1, or NaN for unknown.
        groups: ``(N,)``, the patient of each row, text or numbers.
        measures: names of measures that have a patient bootstrap; by default all, e.g. ``auroc`` and ``ap``.
        resamples: how many, ``R``.
        seed: of the resamples.

    Returns:
        ``(R, C)`` per measure; NaN where a resample has no positive or no negative of a class.

    Raises:
        InputError: fewer than two groups, or no resample.
        ArrayError: shapes do not fit, a value is not allowed, or a row has no group.
        ValueError: a measure is unknown.
    """
    read = read_table(probs, targets, chances=False)
    scores, labels = read.scores, read.targets
    patients = read_patients(groups, len(scores), read.rows)
    known = resampled_measures()
    names = tuple(known if measures is None else measures)
    if unknown := set(names) - set(known):
        raise ValueError(f"Expected measures out of {tuple(known)} but got {sorted(unknown)}.")
    group_of_row, n_groups = number_groups(patients)
    if resamples < 1:
        raise InputError(f"{resamples} resamples: at least 1 is needed, and about 1000 for an interval")
    if n_groups < 2:
        raise InputError(f"all rows belong to one group ('{patients[0]}'): resampling patients needs at least two")
    classes = [_prepare(scores[:, c], labels[:, c], group_of_row, n_groups) for c in range(scores.shape[1])]
    found = {measure: np.full((resamples, len(classes)), np.nan) for measure in names}
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        part = slice(start, min(start + CHUNK, resamples))
        weights = draw_weights(rng, n_groups, part.stop - part.start)
        for c, steps in enumerate(classes):
            if steps is not None:
                resampled = _resample(steps, weights)
                for measure in names:
                    found[measure][part, c] = known[measure](resampled)
    return found


def number_groups(groups: Sequence[str] | npt.NDArray[Any]) -> tuple[Ints, int]:
    """Return the number of each row's group, in the order of their names as text, and how many groups there are.

    Raises:
        ArrayError: a row has no group, or two names differ in form alone.
    """
    numbers, names = pd.factorize(read_patients(groups), sort=True)
    return numbers, len(names)


def draw_weights(rng: np.random.Generator, n_groups: int, count: int) -> Floats:
    """Draw how often each group is in each resample, ``(n_groups, count)``; columns sum to ``n_groups``."""
    drawn = rng.integers(n_groups, size=(count, n_groups))
    flat = np.bincount((drawn * count + np.arange(count)[:, None]).ravel(), minlength=n_groups * count)
    return flat.reshape(n_groups, count).astype(np.float64)


def interval_classes(targets: npt.ArrayLike) -> Ints:
    """Return the classes of ``targets (N, C)`` that have enough known positives and negatives for an interval."""
    columns = read_targets(targets, dimensions=2).T
    return np.array([c for c, column in enumerate(columns) if why_no_interval(column) is None], dtype=np.intp)


def macro_mean(scores: npt.ArrayLike, classes: npt.ArrayLike) -> Floats:
    """Return the mean of ``scores (R, C)`` over some classes, ``(R,)``; NaN where one of them is undefined.

    A rare class is missing from many resamples. A mean over those that are left would be of other classes from one
    resample to the next, and its spread that of the choice of classes.

    Args:
        scores: NaN where undefined.
        classes: numbers of the classes, e.g. from `interval_classes`.
    """
    chosen = np.asarray(scores, dtype=np.float64)[:, np.asarray(classes, dtype=np.intp)]
    mean: Floats = chosen.mean(axis=1) if chosen.shape[1] else np.full(len(chosen), np.nan)
    return mean


def confidence_interval(scores: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of one figure over the resamples ``(R,)`` that define it; NaN if none does."""
    values = np.asarray(scores, dtype=np.float64)
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def why_no_interval(targets: npt.ArrayLike) -> str | None:
    """Return ``n_pos`` or ``n_neg`` if a class ``(N,)`` has too few known ones for an interval, else None."""
    labels = read_targets(targets, dimensions=1)
    if np.count_nonzero(labels == 1) < MIN_KNOWN:
        return "n_pos"
    return "n_neg" if np.count_nonzero(labels == 0) < MIN_KNOWN else None


def describe_intervals(
    resampled: Mapping[str, Floats],
    targets: npt.ArrayLike,
    groups: Sequence[str],
    label_names: Sequence[str],
    *,
    probs: npt.ArrayLike | None = None,
    apart: Sequence[str] = (),
) -> dict[str, Any]:
    """Return intervals of every class and of the macro means, ready for JSON.

    Args:
        resampled: from `bootstrap_scores`.
        targets: ``(N, C)`` that it was given.
        groups: ``(N,)``, the patient of each row that it was given.
        label_names: ``(C,)``.
        probs: ``(N, C)`` that it was given, for `estimate`.
        apart: classes that stand outside the means, those that were not learned.

    Returns:
        ``level``, ``resamples``, ``rows``, ``groups`` (how many), ``macro`` and ``per_class``: ``[low, high]`` by
        measure, None where there is none, and per class ``label`` and the ``reason`` for that. A macro mean is over
        ``classes``, those not apart that have an interval themselves, in the ``macro_resamples`` that define them all.
        The ``estimate`` is the mean of the scores themselves over the same classes, None without `probs`. ``reason``
        says why there is no macro interval; None where there is one.
    """
    read = None if probs is None else read_table(probs, targets, chances=False)
    labels = read_targets(targets, dimensions=2) if read is None else read.targets
    chosen = np.array([c for c in interval_classes(labels) if label_names[c] not in apart], dtype=np.intp)
    means = {measure: macro_mean(values, chosen) for measure, values in resampled.items()}
    defined = int((~np.isnan(next(iter(means.values())))).sum())
    reasons = [why_no_interval(labels[:, c]) for c in range(len(label_names))]
    rows = [
        {
            "label": name,
            "reason": reason,
            **{measure: None if reason else interval_or_none(values[:, c]) for measure, values in resampled.items()},
        }
        for c, (name, reason) in enumerate(zip(label_names, reasons, strict=True))
    ]
    return {
        "level": LEVEL,
        "resamples": len(next(iter(resampled.values()))),
        "rows": len(labels),
        "groups": number_groups(groups)[1],
        "classes": [label_names[c] for c in chosen],
        "macro": {measure: interval_or_none(values) for measure, values in means.items()},
        "macro_resamples": defined,
        "reason": why_no_macro_interval(len(chosen), defined),
        "estimate": None if read is None else _estimate(read.scores, labels, chosen, list(resampled)),
        "per_class": rows,
    }


def why_no_macro_interval(classes: int, defined: int) -> str | None:
    """Return why a macro mean over so many classes, defined in so many resamples, has no interval; None if it has."""
    if not classes:
        return f"no class has {MIN_KNOWN} known positives and {MIN_KNOWN} known negatives"
    return None if defined else "no resample has a positive and a negative of every class"


def _estimate(probs: Floats, targets: Floats, classes: Ints, measures: Sequence[str]) -> dict[str, float | None]:
    if not len(classes):
        return dict.fromkeys(measures)
    return {measure: float(score_classes(measure, probs, targets, classes).mean()) for measure in measures}


def interval_or_none(values: Floats) -> list[float] | None:
    """Return `confidence_interval` ready for JSON: None where it is undefined."""
    low, high = confidence_interval(values)
    return None if np.isnan(low) else [low, high]


@dataclass(frozen=True)
class _Steps:
    """A class by the distinct scores of its positives, highest first: the K steps of its curves, over G groups.

    Attributes:
        positives: sparse ``(K, G)``, how many positives of a group have that score.
        negatives: sparse ``(K, G)``, how many negatives of it lie from that score up to the next higher one.
        tied: sparse ``(T, G)``, how many negatives of it have that very score, for the steps `tied_at` that have any.
        tied_at: ``(T,)``.
        all_negatives: ``(G,)``, those below the last step too.
    """

    positives: Any
    negatives: Any
    tied: Any
    tied_at: Ints
    all_negatives: Floats


def _prepare(scores: Floats, targets: Floats, groups: Ints, n_groups: int) -> _Steps | None:
    """Return the steps of one class; None if it has no known positive or no known negative."""
    is_positive, is_negative = targets == 1, targets == 0
    if not is_positive.any() or not is_negative.any():
        return None
    thresholds, step_of_positive = np.unique(-scores[is_positive], return_inverse=True)
    count, others = len(thresholds), groups[is_negative]
    step = np.searchsorted(thresholds, -scores[is_negative], side="left")
    inside = step < count
    step, beside = step[inside], others[inside]
    ties = thresholds[step] == -scores[is_negative][inside]
    tied_at, tied_step = np.unique(step[ties], return_inverse=True)
    return _Steps(
        positives=_count(step_of_positive, groups[is_positive], (count, n_groups)),
        negatives=_count(step, beside, (count, n_groups)),
        tied=_count(tied_step, beside[ties], (len(tied_at), n_groups)),
        tied_at=tied_at,
        all_negatives=np.bincount(others, minlength=n_groups).astype(np.float64),
    )


def _count(rows: Ints, groups: Ints, shape: tuple[int, int]) -> Any:
    return csr_array((np.ones(len(rows)), (rows, groups)), shape=shape)


def _resample(steps: _Steps, weights: Floats) -> ResampledScores:
    """Apply weights ``(G, R)`` to the steps of one class; all sums are of whole numbers, hence exact."""
    positives, negatives = steps.positives @ weights, np.cumsum(steps.negatives @ weights, axis=0)
    n_pos, n_neg = positives.sum(axis=0), steps.all_negatives @ weights
    undefined = (n_pos == 0) | (n_neg == 0)
    n_pos, n_neg = np.where(undefined, np.nan, n_pos), np.where(undefined, np.nan, n_neg)
    return ResampledScores(positives, negatives, steps.tied @ weights, steps.tied_at, n_pos, n_neg)
