"""Uncertainty over patients of a grid of runs: the same resamples for every row, DeLong's test of every class.

What is resampled is the test set; the trained models stay as they are. A row stands for the mean over its seeds, so the
spread over seeds (`ltml.comparison.summary`) and that over patients are two questions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ltml.arrays import Float64Array as Floats
from ltml.checksums import DamagedFileError
from ltml.comparison.grid import GridRun
from ltml.comparison.plan import Plan
from ltml.comparison.statistics import LEVEL, add_holm, paired_bootstrap
from ltml.errors import InputError, first_few
from ltml.metrics.bootstrap import (
    MIN_KNOWN,
    bootstrap_scores,
    interval_classes,
    interval_or_none,
    macro_mean,
    number_groups,
)
from ltml.metrics.delong import delong
from ltml.metrics.measures import resampled_measures, score_classes
from ltml.metrics.patient_inputs import NO_PATIENTS
from ltml.metrics.predictions import Predictions
from ltml.metrics.ranking import Ints
from ltml.stages.evaluate import read_predictions
from ltml.stages.run_directory import last_stage, read_run


@dataclass(frozen=True)
class _RowPredictions:
    """Predictions of a row on one set of samples.

    Attributes:
        file: of one seed; its samples and targets are those of all.
        probs: ``(N, C)`` by seed.
        resampled: ``(R, C)`` by seed.
    """

    file: Predictions
    probs: Mapping[int, Floats]
    resampled: Mapping[int, Floats]


def add_patients(
    plan: Plan, cells: Sequence[GridRun], rows: Sequence[dict[str, Any]], *, resamples: int = 1000, seed: int = 0
) -> tuple[dict[str, Any], list[str]]:
    """Add to the rows of a comparison their uncertainty over patients, for AUROC and AP.

    Every row gets ``interval`` (of the mean over its seeds, 95 %), ``interval_labels``, those with 10 known positives
    and negatives, over which it goes, and ``interval_mean``, the mean over seeds and these labels; and its ``versus``
    ``patients``: by the paired bootstrap over the seeds that both have and those of these labels that both have,
    ``difference``, its ``interval``, ``p``, ``n`` (resamples that define all labels), ``labels`` (how many) and
    ``p_holm`` over the rows of the same data. Every label gets ``interval`` and, for AUROC, its ``versus`` ``delong``:
    ``z``, ``p`` and ``p_holm`` over all rows and labels of the same data. All are None for other measures, where
    predictions cannot be resampled (of which there is a warning), and where no label concerned has 10 known positives
    and negatives.

    Args:
        plan: the comparison.
        cells: of its grid; those that are not done are left out.
        rows: from `summarise`; changed in place.
        resamples: of the patients.
        seed: of the resamples.

    Returns:
        By data ``rows`` and ``groups`` (how many the first row's predictions have), ``resamples`` and ``seed``; and
        what a reader of the tests should be warned of.
    """
    about: dict[str, Any] = {}
    warnings: list[str] = []
    for data in dict.fromkeys(row["data"] for row in rows):
        own = [row for row in rows if row["data"] == data]
        for row in own:
            _add_nothing(row)
        if plan.measure not in resampled_measures():
            continue
        apart = {label for row in own for label, part in row["per_label"].items() if not part.get("learned", True)}
        answers, why_not = _read_all(plan, cells, data, resamples, seed, apart)
        warnings += why_not
        for row in own:
            if row["row"] in answers:
                warnings += _add_row(plan, row, answers[row["row"]], answers.get(plan.reference))
        add_holm([row["versus"] and row["versus"]["patients"] for row in own])
        labels = [label for row in own for label in row["per_label"].values()]
        add_holm([label["versus"] and label["versus"]["delong"] for label in labels])
        if not answers:
            continue
        first = next(iter(answers.values())).file
        n_groups = number_groups(first.groups)[1]
        about[data] = {"rows": len(first.ids), "groups": n_groups, "resamples": resamples, "seed": seed}
        warnings += warn_of_resamples(resamples, len(own) - 1)
        warnings += [f"{data}: {text}" for row in answers.values() for text in warn_of_few(row.file)]
        warnings += [] if first.knows_patients else [f"{data}: {NO_PATIENTS}"]
    return about, list(dict.fromkeys(warnings))


def warn_of_few(file: Predictions) -> list[str]:
    """Return a warning that names the labels with too few known positives or negatives, if there are any.

    So few make the tests over patients call noise a difference too often, not too seldom.
    """
    counts = np.minimum((file.targets == 1).sum(axis=0), (file.targets == 0).sum(axis=0))
    few = [f"{name} ({n})" for name, n in zip(file.label_names, counts, strict=True) if n < MIN_KNOWN]
    text = f"fewer than {MIN_KNOWN} known positives or negatives, too few for an interval or a test over patients"
    return [f"{text}: {first_few(few, most=20)}"] if few else []


def warn_of_resamples(resamples: int, comparisons: int) -> list[str]:
    """Return a warning if so many comparisons cannot be significant after Holm's adjustment with so few resamples."""
    least = 2 * comparisons / (resamples + 1)
    if least < LEVEL:
        return []
    return [
        f"{resamples} resamples cannot give an adjusted p below {least:.2g} for {comparisons} comparisons; take more"
    ]


def _add_nothing(row: dict[str, Any]) -> None:
    row |= dict.fromkeys(("interval", "interval_labels", "interval_mean"))
    for part in row["per_label"].values():
        part["interval"] = None
        if part["versus"] is not None:
            part["versus"]["delong"] = None
    if row["versus"] is not None:
        row["versus"]["patients"] = None


def _read_all(
    plan: Plan, cells: Sequence[GridRun], data: str, resamples: int, seed: int, apart: Collection[str]
) -> tuple[dict[str, _RowPredictions], list[str]]:
    """Read the predictions of all rows. Rows that cannot be resampled are skipped and reported."""
    answers, why_not = {}, []
    for name in (row.name for row in plan.rows if row.data == data):
        try:
            found = _read(plan, cells, data, name, resamples, seed, apart)
        except DamagedFileError:
            raise
        except InputError as error:
            why_not.append(f"{data}: {name}: nothing over patients, for {error}")
            continue
        if found is not None:
            answers[name] = found
    return answers, why_not


def _read(
    plan: Plan, cells: Sequence[GridRun], data: str, row: str, resamples: int, seed: int, apart: Collection[str]
) -> _RowPredictions | None:
    """Return the predictions of a row's finished runs and their resamples; None if there are none.

    Labels `apart`, which a row has not learned, are left out.

    Raises:
        InputError: they cannot be read or resampled, or are of different samples.
    """
    files = {
        cell.seed: _without(read_predictions(read_run(cell.run)[0], last_stage(cell.recipe), plan.split), apart)
        for cell in cells
        if (cell.row.data, cell.row.name, cell.state) == (data, row, "done")
    }
    if not files:
        return None
    first = next(iter(files.values()))
    for other in files.values():
        if not (_are_same_samples(other, first) and other.label_names == first.label_names):
            raise InputError(
                "its seeds were scored on different samples. Remove the older runs, and they are done again"
            )
    resampled = {
        number: bootstrap_scores(
            file.probs, file.targets, file.groups, measures=(plan.measure,), resamples=resamples, seed=seed
        )[plan.measure]
        for number, file in files.items()
    }
    return _RowPredictions(first, {number: file.probs for number, file in files.items()}, resampled)


def _without(file: Predictions, apart: Collection[str]) -> Predictions:
    kept = [c for c, name in enumerate(file.label_names) if name not in apart]
    if not kept:
        raise InputError("there is no class that all rows have learned")
    names = tuple(file.label_names[c] for c in kept)
    return replace(file, label_names=names, probs=file.probs[:, kept], targets=file.targets[:, kept])


def _are_same_samples(one: Predictions, other: Predictions) -> bool:
    return list(one.ids) == list(other.ids) and list(one.groups) == list(other.groups)


def _add_row(plan: Plan, row: dict[str, Any], own: _RowPredictions, reference: _RowPredictions | None) -> list[str]:
    """Add intervals and tests to one row; return a warning if it cannot be compared."""
    values = _over_seeds(own.resampled, list(own.resampled))
    enough = interval_classes(own.file.targets)
    there = np.array([c for c in enough if _is_learned(row, own.file.label_names[c])], dtype=np.intp)
    row["interval"] = interval_or_none(macro_mean(values, there))
    row["interval_labels"] = [own.file.label_names[place] for place in there]
    row["interval_mean"] = _mean_score(own, there, list(own.probs), plan.measure) if len(there) else None
    for place in enough:
        if (name := own.file.label_names[place]) in row["per_label"]:
            row["per_label"][name]["interval"] = interval_or_none(values[:, place])
    if row["versus"] is None or reference is None:
        return []
    seeds = [seed for seed in own.probs if seed in reference.probs]
    pairs = _shared_labels(own.file, reference.file)
    if not seeds or not pairs:
        what = "no labels on the same samples" if seeds else "no finished seed"
        return [f"{row['data']}: {row['row']} shares {what} with {plan.reference}: not compared over patients"]
    pairs = [(at, other) for at, other in pairs if at in there]
    if pairs:
        _add_versus(plan, row, own, reference, seeds, pairs)
    return []


def _is_learned(row: Mapping[str, Any], label: str) -> bool:
    return bool(row["per_label"].get(label, {"learned": True})["learned"])


def _add_versus(
    plan: Plan,
    row: dict[str, Any],
    own: _RowPredictions,
    reference: _RowPredictions,
    seeds: Sequence[int],
    pairs: Sequence[tuple[int, int]],
) -> None:
    """Compare a row with the reference over seeds and labels that both have."""
    columns = [np.array(side) for side in zip(*pairs, strict=True)]
    sides = list(zip((own, reference), columns, strict=True))
    found = paired_bootstrap(*(macro_mean(_over_seeds(side.resampled, seeds), at) for side, at in sides))
    mean, of_reference = (_mean_score(side, at, seeds, plan.measure) for side, at in sides)
    row["versus"]["patients"] = {
        "difference": mean - of_reference,
        "interval": None if found.low is None else [found.low, found.high],
        "p": found.p,
        "n": found.n,
        "labels": len(pairs),
    }
    if plan.measure == "auroc":
        for place, other in pairs:
            _add_delong(row["per_label"][own.file.label_names[place]], own, reference, place, other, seeds)


def _mean_score(answers: _RowPredictions, classes: Ints, seeds: Sequence[int], measure: str) -> float:
    """Return the mean of a measure over some classes and seeds."""
    targets = answers.file.targets
    return float(np.mean([score_classes(measure, answers.probs[seed], targets, classes) for seed in seeds]))


def _add_delong(
    label: dict[str, Any],
    own: _RowPredictions,
    reference: _RowPredictions,
    at: int,
    of_reference: int,
    seeds: Sequence[int],
) -> None:
    a, b = (
        np.stack([side.probs[seed][:, place] for seed in seeds])
        for side, place in ((own, at), (reference, of_reference))
    )
    found = delong(a, b, own.file.targets[:, at])
    label["versus"]["delong"] = {"z": found.z, "p": found.p}


def _shared_labels(own: Predictions, reference: Predictions) -> list[tuple[int, int]]:
    """Return the indices in both of the labels that both have with the same targets of the same samples."""
    if not _are_same_samples(own, reference):
        return []
    place = {name: number for number, name in enumerate(reference.label_names)}
    return [
        (number, place[name])
        for number, name in enumerate(own.label_names)
        if name in place and np.array_equal(own.targets[:, number], reference.targets[:, place[name]], equal_nan=True)
    ]


def _over_seeds(values: Mapping[int, Floats], seeds: Sequence[int]) -> Floats:
    mean: Floats = np.mean([values[seed] for seed in seeds], axis=0)
    return mean
