"""Compare methods by their prediction files alone, whoever made them: no run, no images, no training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltml.arrays import Float64Array as Floats
from ltml.checksums import check_if_recorded
from ltml.comparison.patients import warn_of_few, warn_of_resamples
from ltml.comparison.statistics import add_holm, paired_bootstrap
from ltml.errors import InputError, brief, first_few, shown
from ltml.metrics.bootstrap import (
    bootstrap_scores,
    describe_intervals,
    interval_classes,
    macro_mean,
    why_no_interval,
)
from ltml.metrics.delong import delong
from ltml.metrics.measures import resampled_measures
from ltml.metrics.patient_inputs import NO_PATIENTS
from ltml.metrics.predictions import Predictions
from ltml.metrics.ranking import Ints
from ltml.metrics.table import score
from ltml.near_names import fold_id


def compare_predictions(
    paths: Sequence[str | os.PathLike[str]],
    names: Sequence[str] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare methods on the same samples; the first is what the others are compared with.

    Rows are matched by ``id`` and columns by label, in whatever order the files have them.

    Args:
        paths: CSVs with ``id``, optional ``group`` (the patient), ``prob:<label>`` and ``target:<label>``.
        names: of the methods; the files' names by default.
        resamples: of the groups, the same for all methods.
        seed: of the resamples.

    Returns:
        ``reference``, ``seed``, ``resamples``, ``rows``, ``groups``, ``warnings``, and per method ``name``, ``file``,
        its scores as in a ``metrics.json``, ``ci`` as from `describe_intervals`, and against the reference (None for
        itself) ``versus``: by measure ``difference`` of the macro means; over the classes of ``ci`` its ``estimate``,
        ``interval``, ``p`` and ``p_holm`` over the methods by paired bootstrap; and ``delong``: per class ``label``,
        ``difference`` of AUROC, ``z``, ``p`` and ``p_holm`` over classes and methods. Undefined is None.

    Raises:
        InputError: fewer than two files, names that do not fit, or files that differ in labels, ids, targets or
            groups (the first difference is named).
    """
    titles = _names(paths, names)
    first = _read(paths[0])
    files = [first, *(_aligned(_read(path), first, path, paths[0]) for path in paths[1:])]
    resampled = [
        bootstrap_scores(file.probs, first.targets, first.groups, resamples=resamples, seed=seed) for file in files
    ]
    methods = [
        {"name": title, "file": str(path)}
        | score(file.probs, first.targets, label_names=first.label_names).to_json(Path(path).stem)
        | {"ci": describe_intervals(values, first.targets, first.groups, first.label_names, probs=file.probs)}
        | {"versus": None, "delong": None}
        for title, path, file, values in zip(titles, paths, files, resampled, strict=True)
    ]
    classes = interval_classes(first.targets)
    for method, file, values in list(zip(methods, files, resampled, strict=True))[1:]:
        method["versus"] = {name: _versus(method, methods[0], values, resampled[0], classes, name) for name in values}
        method["delong"] = [_delong(file, first, c) for c in range(len(first.label_names))]
    for measure in resampled_measures():
        add_holm([method["versus"][measure] for method in methods[1:]])
    add_holm([row for method in methods[1:] for row in method["delong"]])
    about = {key: methods[0]["ci"][key] for key in ("resamples", "rows", "groups")}
    return {
        "reference": titles[0],
        "seed": seed,
        **about,
        "methods": methods,
        "warnings": _warnings(first, about, len(methods) - 1),
    }


def _read(path: str | os.PathLike[str]) -> Predictions:
    check_if_recorded(Path(path))
    return Predictions.read(Path(path))


def _names(paths: Sequence[str | os.PathLike[str]], names: Sequence[str] | None) -> list[str]:
    if len(paths) < 2:
        raise InputError(f"{len(paths)} predictions file(s): at least two are compared, e.g. a.csv b.csv")
    titles = [Path(path).stem for path in paths] if names is None else list(names)
    if len(titles) != len(paths):
        raise InputError(f"{len(titles)} name(s) ({first_few(titles)}) for {len(paths)} files: give one for each")
    if doubled := [name for i, name in enumerate(titles) if name in titles[:i]]:
        raise InputError(f"two methods are called '{doubled[0]}': give each a name of its own (--names)")
    return titles


def _aligned(other: Predictions, first: Predictions, path: Any, first_path: Any) -> Predictions:
    """Return the other file in the order of the first; raise if anything but the predictions differs."""
    rows = _places(other.ids, first.ids, "id", path, first_path)
    columns = _places(other.label_names, first.label_names, "label", path, first_path)
    groups, targets = [other.groups[i] for i in rows], other.targets[np.ix_(rows, columns)]
    for row, (group, wanted) in enumerate(zip(groups, first.groups, strict=True)):
        if group != wanted:
            raise InputError(
                f"{path}: the group of id '{brief(first.ids[row])}' is '{brief(group)}', but '{brief(wanted)}' in "
                f"{first_path}; methods are compared on the same groups (without a column `group` each id is one of "
                "its own)"
            )
    differs = ~((targets == first.targets) | (np.isnan(targets) & np.isnan(first.targets)))
    if differs.any():
        row, column = np.argwhere(differs)[0]
        raise InputError(
            f"{path}: the target of id '{first.ids[row]}', label '{first.label_names[column]}' is "
            f"{_shown(targets[row, column])}, but {_shown(first.targets[row, column])} in {first_path}; methods are "
            f"compared on the same targets ({int(differs.sum())} differ)"
        )
    return Predictions(first.label_names, first.ids, groups, other.probs[np.ix_(rows, columns)], targets)


def _places(other: Sequence[str], first: Sequence[str], what: str, path: Any, first_path: Any) -> list[int]:
    """Return the index of each of the first file's names in the other file."""
    place = {name: i for i, name in enumerate(other)}
    for names, there, missing in ((first, place, (first_path, path)), (other, set(first), (path, first_path))):
        if absent := [name for name in names if name not in there]:
            near = [name for name in there if fold_id(name) == fold_id(absent[0])]
            hint = f" ({shown(near[0])} is: write it alike in both, as the same text)" if near else ""
            raise InputError(
                f"the {what} '{brief(absent[0])}' is in {missing[0]} but not in {missing[1]}{hint} ({len(absent)} "
                f"such); methods are compared on the same {what}s"
            )
    return [place[name] for name in first]


def _shown(target: float) -> str:
    return "unknown" if np.isnan(target) else f"{target:.0f}"


def _versus(
    method: Mapping[str, Any],
    reference: Mapping[str, Any],
    values: Mapping[str, Floats],
    of_reference: Mapping[str, Floats],
    classes: Ints,
    measure: str,
) -> dict[str, Any]:
    found = paired_bootstrap(macro_mean(values[measure], classes), macro_mean(of_reference[measure], classes))
    about = {
        "difference": _gap(method["macro"][measure], reference["macro"][measure]),
        "estimate": _gap(method["ci"]["estimate"][measure], reference["ci"]["estimate"][measure]),
    }
    if found.low is None:
        return about | {"interval": None, "p": None}
    return about | {"interval": [found.low, found.high], "p": found.p}


def _gap(own: float | None, other: float | None) -> float | None:
    return None if own is None or other is None else own - other


def _delong(file: Predictions, first: Predictions, c: int) -> dict[str, Any]:
    found = delong(file.probs[:, c], first.probs[:, c], first.targets[:, c])
    gap = float(found.auroc[0] - found.auroc[1])
    about = {"label": first.label_names[c], "difference": None if np.isnan(gap) else gap}
    if why_no_interval(first.targets[:, c]) is not None:
        return about | {"z": None, "p": None}
    return about | {"z": found.z, "p": found.p}


def _warnings(first: Predictions, about: Mapping[str, int], others: int) -> list[str]:
    groups = [] if first.knows_patients else [NO_PATIENTS]
    return [*warn_of_few(first), *groups, *warn_of_resamples(about["resamples"], others)]
