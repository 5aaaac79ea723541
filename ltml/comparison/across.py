"""Methods compared over several data: mean ranks, and the tests that data as units allow (Demšar, JMLR 2006)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ltml.comparison.statistics import LEAST_DATASETS, friedman_nemenyi, wilcoxon


def rank_over_data(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any] | None, list[str]]:
    """Ranks of the rows that have a mean on every data: Friedman-Nemenyi for three or more, Wilcoxon for two.

    Args:
        rows: from `summarise`, of all data.

    Returns:
        ``data`` and ``rows`` (their names), ``ranks`` (mean over the data, 1 is best), ``test`` (None where none is
        made), ``p``, and of Friedman-Nemenyi ``critical_difference`` of two mean ranks at the level 0.05 and ``pairs``,
        the p of every two rows. None for one data, or fewer than two such rows. And why a test is not made or has no
        power.
    """
    places = list(dict.fromkeys(row["data"] for row in rows))
    means = {(row["data"], row["row"]): row["mean"] for row in rows}
    everywhere = [name for name in dict.fromkeys(row["row"] for row in rows) if _is_on_all(means, places, name)]
    if len(places) < 2 or len(everywhere) < 2:
        return None, []
    table = np.array([[means[data, name] for name in everywhere] for data in places], dtype=np.float64)
    found = {"data": places, "rows": everywhere, "ranks": rankdata(-table, axis=1).mean(axis=0).tolist()}
    found |= {"test": None, "p": None, "critical_difference": None, "pairs": None}
    if len(everywhere) == 2:
        test = wilcoxon(table[:, 0], table[:, 1])
        about = f"Wilcoxon's test over {len(places)} data: {test.warning}"
        return found | {"test": "wilcoxon", "p": test.p}, [about] if test.warning else []
    if len(places) < LEAST_DATASETS:
        return found, [f"ranks over {len(places)} data are not tested: Friedman's test takes at least {LEAST_DATASETS}"]
    ranked = friedman_nemenyi(table)
    return found | {
        "test": "friedman",
        "p": ranked.p,
        "critical_difference": ranked.critical_difference,
        "pairs": ranked.pairs.tolist(),
    }, []


def _is_on_all(means: Mapping[tuple[str, str], float | None], places: Sequence[str], name: str) -> bool:
    return all(means.get((data, name)) is not None for data in places)
