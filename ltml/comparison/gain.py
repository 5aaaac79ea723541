"""Whether classes that are alike help each other more (Label-Assemble, fig. 1C; Data-Assemble, Tables 5 and 13)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltml.comparison.grid import GridRun
from ltml.comparison.result import read_comparison
from ltml.errors import InputError, suggest
from ltml.stages.relations import describe_relations, partial_correlation, similarity_gain_correlation

KINDS = ("features", "queries")


def relate_gain(run_dir: str | Path, comparison: str | Path) -> dict[str, Any]:
    """Return Pearson's r between the similarity of classes and the gain from adding each to a class of interest.

    Args:
        run_dir: a run that knows all the classes; how alike they are is read from it.
        comparison: folder of a comparison whose rows each add a class (``adds``) to a class of interest, as the
            experiment ``assemble_table5`` has them.

    Returns:
        ``interest``, ``measure``, ``classes``: per added class ``label``, ``n_pos`` (training positives in the run),
        ``gain`` (of the class of interest over its reference row, in the unit of the measure) and its similarity to the
        class of interest by ``features`` and by ``queries``; under ``correlation`` by kind ``r``, ``p`` (two-sided) and
        ``n``; and under ``partial`` the same given the logarithm of ``n_pos``, since a frequent class may be alike and
        help for being frequent. Undefined is None.

    Raises:
        InputError: not a run or a comparison of that kind, or the run does not know the class of interest.
    """
    table = read_comparison(comparison)
    interest, rows = table["interest"], [row for row in table["rows"] if row["adds"] is not None]
    if interest is None or not rows:
        raise InputError(
            f"{comparison} does not add classes to a class of interest; `ltml compare assemble_table5` makes such a one"
        )
    return {"interest": interest, "measure": table["measure"]} | _relate(run_dir, interest, rows)


def relate_own_runs(
    interest: str | None, rows: Sequence[Mapping[str, Any]], cells: Sequence[GridRun]
) -> list[dict[str, Any]]:
    """Relate the gains of a comparison by those of its own runs that know all the classes it adds.

    Args:
        interest: the class that others are added to; None for a comparison of another kind.
        rows: from `summarise`.
        cells: of its grid.

    Returns:
        Per run that has queries or features ``data``, ``row``, ``seed``, ``correlation`` and ``partial``, as from
        `relate_gain`.
    """
    found = []
    for cell in (cell for cell in cells if interest is not None and cell.state == "done"):
        own = [row for row in rows if row["data"] == cell.row.data]
        added = [row for row in own if row["adds"] is not None]
        known = next(set(row["per_label"]) for row in own if row["row"] == cell.row.name)
        if not added or not {interest, *(row["adds"] for row in added)} <= known:
            continue
        try:
            related = _relate(cell.run, str(interest), added)
        except InputError:  # a head without queries, whose features nobody stored
            continue
        about = {"data": cell.row.data, "row": cell.row.name, "seed": cell.seed}
        found.append(about | {key: related[key] for key in ("correlation", "partial")})
    return found


def _relate(run_dir: str | Path, interest: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    relations = describe_relations(run_dir)
    positives = {entry["label"]: entry["n_pos"] for entry in relations["labels"]}
    names = list(positives)
    if interest not in names:
        raise InputError(f"{run_dir} knows no class '{interest}', the one of interest: {suggest(interest, names)}")
    classes = []
    for row in rows:
        versus = row["per_label"].get(interest, {}).get("versus")
        entry = {"label": row["adds"], "n_pos": positives.get(row["adds"])}
        entry["gain"] = None if versus is None else versus["mean"]
        for kind in KINDS:
            entry[kind] = _similarity(relations[kind], names, interest, row["adds"])
        classes.append(entry)
    return {
        "classes": classes,
        "correlation": {kind: _correlate(classes, kind) for kind in KINDS},
        "partial": {kind: _correlate(classes, kind, given_count=True) for kind in KINDS},
    }


def _similarity(relation: dict[str, Any] | None, names: list[str], a: str, b: str) -> float | None:
    if relation is None or b not in names:
        return None
    value: float | None = relation["similarity"][names.index(a)][names.index(b)]
    return value


def _correlate(classes: Sequence[Mapping[str, Any]], kind: str, *, given_count: bool = False) -> dict[str, Any] | None:
    keys = (kind, "gain", "n_pos") if given_count else (kind, "gain")
    there = [values for entry in classes if None not in (values := tuple(entry[key] for key in keys))]
    if given_count:
        there = [values for values in there if values[2] > 0]  # no logarithm
    if not there:
        return None
    columns = zip(*there, strict=True)
    r, p = partial_correlation(*columns) if given_count else similarity_gain_correlation(*columns)
    return {"r": None if math.isnan(r) else r, "p": None if math.isnan(p) else p, "n": len(there)}
