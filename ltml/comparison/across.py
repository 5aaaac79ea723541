"""Methods compared over several data: mean ranks, and the tests that data as units allow (Demšar, JMLR 2006)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ltml.arrays import Float64Array as Floats
from ltml.comparison.statistics import MIN_DATASETS, friedman_nemenyi, wilcoxon

Row = Mapping[str, Any]


def rank_over_data(
    rows: Sequence[Row], seeds: Sequence[int], *, sign: int = 1
) -> tuple[dict[str, Any] | None, list[str]]:
    """Rank the rows that have a score of every seed on every data, over the classes that all of them know.

    Friedman-Nemenyi for three or more rows, Wilcoxon for two.

    Args:
        rows: from `summarise`, of all data.
        seeds: seeds of the plan.
        sign: 1 if higher values of the measure are better, -1 if lower ones are.

    Returns:
        ``data`` and ``rows`` (their names), ``ranks`` (mean over the data, 1 is best), ``test`` (None where none is
        made), ``p``, and of Friedman-Nemenyi ``critical_difference`` of two mean ranks at the level 0.05 and ``pairs``,
        the p of every two rows. None for one data, fewer than two such rows, or no class that all know. And what is
        left out, why a test is not made, or why it has no power.
    """
    places = {
        data: {row["row"]: row for row in rows if row["data"] == data}
        for data in dict.fromkeys(row["data"] for row in rows)
    }
    if len(places) < 2:
        return None, []
    names = list(dict.fromkeys(row["row"] for row in rows))
    lacking = {name: data for name in names for data, there in places.items() if not _is_whole(there.get(name), seeds)}
    warnings = [f"ranks leave out {name}: not every seed of it has a score on {data}" for name, data in lacking.items()]
    ranked = [name for name in names if name not in lacking]
    if len(ranked) < 2:
        return None, warnings
    shared = {data: _shared_labels([there[name] for name in ranked]) for data, there in places.items()}
    if without := [data for data, labels in shared.items() if not labels]:
        return None, [*warnings, f"no ranks over data: on {without[0]} there is no class that all rows know"]
    uneven = [
        data for data, there in places.items() if any(there[name]["labels"] > len(shared[data]) for name in ranked)
    ]
    warnings += [f"{data}: ranks are over the {len(shared[data])} classes that all rows know" for data in uneven]
    table = np.array([[_mean(there[name], shared[data]) for name in ranked] for data, there in places.items()])
    found, about = _test(sign * table)
    return {"data": list(places), "rows": ranked} | found, warnings + about


def _test(table: Floats) -> tuple[dict[str, Any], list[str]]:
    """Return ranks and test of a table ``(data, rows)``; why there is no test, or none with power."""
    count, methods = table.shape
    found: dict[str, Any] = {"ranks": rankdata(-table, axis=1).mean(axis=0).tolist()}
    found |= {"test": None, "p": None, "critical_difference": None, "pairs": None}
    if methods == 2:
        test = wilcoxon(table[:, 0], table[:, 1])
        about = [f"Wilcoxon's test over {count} data: {test.warning}"] if test.warning else []
        return found | {"test": "wilcoxon", "p": test.p}, about
    if count < MIN_DATASETS:
        return found, [f"ranks over {count} data are not tested: Friedman's test takes at least {MIN_DATASETS}"]
    ranked = friedman_nemenyi(table)
    limits = {"critical_difference": ranked.critical_difference, "pairs": ranked.pairs.tolist()}
    return found | {"test": "friedman", "p": ranked.p, **limits}, []


def _is_whole(row: Row | None, seeds: Sequence[int]) -> bool:
    return row is not None and row["mean"] is not None and set(row["seeds"]) == set(seeds)


def _shared_labels(rows: Sequence[Row]) -> list[str]:
    labels = [
        {name for name, entry in row["per_label"].items() if entry["mean"] is not None and entry.get("learned", True)}
        for row in rows
    ]
    return sorted(set.intersection(*labels))


def _mean(row: Row, labels: Sequence[str]) -> float:
    return statistics.fmean(row["per_label"][label]["mean"] for label in labels)
