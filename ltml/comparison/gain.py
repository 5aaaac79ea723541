"""Whether classes that are alike help each other more (Label-Assemble, fig. 1C; Data-Assemble, Tables 5 and 13)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ltml.comparison.compare import read_comparison
from ltml.errors import InputError, suggest
from ltml.stages.relations import describe_relations, similarity_gain_correlation


def relate_gain(run_dir: str | Path, comparison: str | Path) -> dict[str, Any]:
    """Pearson's r between the similarity of classes and the gain from adding each to a class of interest.

    Args:
        run_dir: a run that knows all the classes; how alike they are is read from it.
        comparison: folder of a comparison whose rows each add a class (``adds``) to a class of interest, as the
            experiment ``assemble_table5`` has them.

    Returns:
        ``interest``, ``measure``, ``classes``: per added class ``label``, ``gain`` (of the class of interest over its
        reference row, in the unit of the measure) and its similarity to the class of interest by ``features`` and by
        ``queries``; and under ``correlation`` by kind ``r``, ``p`` (two-sided) and ``n``. Undefined is None.

    Raises:
        InputError: not a run or a comparison of that kind, or the run does not know the class of interest.
    """
    table = read_comparison(comparison)
    interest, rows = table["interest"], [row for row in table["rows"] if row["adds"] is not None]
    if interest is None or not rows:
        raise InputError(
            f"{comparison} does not add classes to a class of interest; `ltml compare assemble_table5` makes such a one"
        )
    relations = describe_relations(run_dir)
    names = [entry["label"] for entry in relations["labels"]]
    if interest not in names:
        raise InputError(f"{run_dir} knows no class '{interest}', the one of interest: {suggest(interest, names)}")
    classes = []
    for row in rows:
        versus = row["per_label"].get(interest, {}).get("versus")
        entry = {"label": row["adds"], "gain": None if versus is None else versus["mean"]}
        for kind in ("features", "queries"):
            entry[kind] = _similarity(relations[kind], names, interest, row["adds"])
        classes.append(entry)
    return {
        "interest": interest,
        "measure": table["measure"],
        "classes": classes,
        "correlation": {kind: _correlate(classes, kind) for kind in ("features", "queries")},
    }


def _similarity(relation: dict[str, Any] | None, names: list[str], a: str, b: str) -> float | None:
    if relation is None or b not in names:
        return None
    value: float | None = relation["similarity"][names.index(a)][names.index(b)]
    return value


def _correlate(classes: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    pairs = [(entry[kind], entry["gain"]) for entry in classes if None not in (entry[kind], entry["gain"])]
    if not pairs:
        return None
    r, p = similarity_gain_correlation(*zip(*pairs, strict=True))
    return {"r": None if math.isnan(r) else r, "p": None if math.isnan(p) else p, "n": len(pairs)}
