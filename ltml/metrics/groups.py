"""Head, medium and tail: groups of labels by their positives in the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ltml.errors import InputError, suggest
from ltml.metrics.class_inputs import read_counts, read_names

Groups = dict[str, list[str]]
Counts = Sequence[int] | Mapping[str, int] | npt.NDArray[np.integer[Any]]
"""Known training positives of every label, in their order or by name; a series of pandas does as well."""


def by_thirds(label_names: Sequence[str], positives: Counts) -> Groups:
    """Thirds of the labels, most frequent first; the first group takes what does not divide. Ties keep label order."""
    label_names, counts = _read(label_names, positives)
    order = np.argsort(-np.asarray(counts), kind="stable")
    parts = np.array_split(order, 3)
    names = ("head", "medium", "tail")
    return {name: [label_names[c] for c in part] for name, part in zip(names, parts, strict=True)}


def by_counts(label_names: Sequence[str], positives: Counts, head_above: int, tail_below: int) -> Groups:
    """Head above `head_above` positives, tail below `tail_below`, medium between (ImageNet-LT's cuts: 100 and 20)."""
    groups: Groups = {"head": [], "medium": [], "tail": []}
    for name, count in zip(*_read(label_names, positives), strict=True):
        groups["head" if count > head_above else "tail" if count < tail_below else "medium"].append(name)
    return groups


def by_quantiles(label_names: Sequence[str], positives: Counts, low: float, high: float) -> Groups:
    """Tail up to the `low` quantile of the counts, head from the `high` quantile, medium between."""
    label_names, counts = _read(label_names, positives)
    tail_end, head_start = np.quantile(np.asarray(counts, dtype=np.float64), [low, high])
    groups: Groups = {"head": [], "medium": [], "tail": []}
    for name, count in zip(label_names, counts, strict=True):
        groups["tail" if count <= tail_end else "head" if count >= head_start else "medium"].append(name)
    return groups


def by_name(label_names: Sequence[str], head: Sequence[str], medium: Sequence[str]) -> Groups:
    """Named head and medium labels; every other label is tail.

    Raises:
        InputError: a name that is not a label.
    """
    for name in [*head, *medium]:
        if name not in label_names:
            raise InputError(f"metrics.groups names the label '{name}': {suggest(name, label_names)}")
    tail = [name for name in label_names if name not in {*head, *medium}]
    return {"head": list(head), "medium": list(medium), "tail": tail}


def describe_rule(rule: Mapping[str, Any]) -> str:
    """Return in words how the fields of ``metrics.groups`` cut the labels."""
    low, high = rule["quantiles"]
    return {
        "thirds": "thirds of the labels by training positives",
        "counts": f"training positives, head above {rule['head_above']}, tail below {rule['tail_below']}",
        "quantiles": f"quantiles of the training positives, tail up to {low:.3g}, head from {high:.3g}",
        "named": f"named by {rule['named_by']}, not cut by training positives",
    }[rule["rule"]]


def make_groups(label_names: Sequence[str], positives: Counts, rule: Mapping[str, Any]) -> Groups:
    """Groups by the rule of a recipe's ``metrics.groups``.

    Args:
        label_names: the ``C`` labels.
        positives: known training positives per label, ``(C,)``.
        rule: the fields of ``metrics.groups``.

    Raises:
        InputError: a named label does not exist.
    """
    if rule["rule"] == "counts":
        return by_counts(label_names, positives, rule["head_above"], rule["tail_below"])
    if rule["rule"] == "quantiles":
        return by_quantiles(label_names, positives, *rule["quantiles"])
    if rule["rule"] == "named":
        return by_name(label_names, rule["head"], rule["medium"])
    return by_thirds(label_names, positives)


def _read(label_names: Sequence[str], positives: Any) -> tuple[list[str], list[int]]:
    """Return names and counts, which may be a mapping or series by label; see `read_counts`."""
    names = read_names(label_names)
    return names, read_counts(positives, names, "positives")
