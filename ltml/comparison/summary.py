"""Scores of a comparison's runs, what they come to over seeds, and what becomes of a paper's claims."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ltml.class_counts import not_learned
from ltml.comparison.grid import GridRun
from ltml.comparison.plan import ClaimSection, Plan
from ltml.comparison.statistics import LEVEL, Difference, add_holm, difference, equivalence, holm, mean_sd, wilcoxon
from ltml.errors import InputError
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.metrics.groups import describe_rule
from ltml.metrics.measures import measure_sign
from ltml.registry import MEASURES
from ltml.stages.describe_gaussians import chosen_round
from ltml.stages.evaluate import evaluate_novel, read_metrics, read_predictions, score_predictions
from ltml.stages.run_directory import last_stage, read_run, read_train_counts

NO_DIFFERENCE = "no difference found"
"""Verdict on a claim whose test is not significant."""


def read_scores(plan: Plan, cells: Sequence[GridRun]) -> pd.DataFrame:
    """Read every score of the last stage of every finished run: ``data, row, seed, split, label, measure, value, n_pos,
    n_neg, learned``.

    Undefined values are NaN. The AUC of held-out labels has the measure ``novel``. ``learned`` is False for a label
    that a row of the same data did not learn (`read_not_learned`): it stands outside the means of all of them.

    Raises:
        InputError: no run has scores of the plan's measure.
    """
    records = [record for cell in cells if cell.state == "done" for record in _scores_of(cell, plan.measure)]
    columns = ["data", "row", "seed", "split", "label", "measure", "value", "n_pos", "n_neg"]
    scores = pd.DataFrame.from_records(records, columns=columns)
    apart = {(data, label) for data, labels in read_not_learned(cells).items() for label in labels}
    places = zip(scores["data"], scores["label"], scores["measure"], strict=True)
    scores["learned"] = [measure == "novel" or (data, label) not in apart for data, label, measure in places]
    there = set(scores.loc[scores["split"] == plan.split, "measure"])
    if records and plan.measure not in there:
        raise InputError(
            f"no finished run has {plan.measure} of the split '{plan.split}'; remove those runs, and they are done "
            "again"
        )
    return scores


def read_not_learned(cells: Sequence[GridRun]) -> dict[str, dict[str, list[str]]]:
    """Return by data the labels that a row has not learned, and which rows: ``{data: {label: [row, …]}}``."""
    found: dict[str, dict[str, list[str]]] = {}
    for cell in (cell for cell in cells if cell.state == "done"):
        counts = read_train_counts(read_run(cell.run)[0])
        for label in not_learned(list(counts.positives), counts):
            rows = found.setdefault(cell.row.data, {}).setdefault(label, [])
            rows += [] if cell.row.name in rows else [cell.row.name]
    return found


def add_rounds(rows: Sequence[dict[str, Any]], cells: Sequence[GridRun]) -> None:
    """Add ``rounds`` to every row: which round of stage 2 was chosen, per finished seed; None without a stage 2."""
    runs = {(cell.row.data, cell.row.name, cell.seed): cell for cell in cells if cell.state == "done"}
    for row in rows:
        own = [runs[row["data"], row["row"], seed] for seed in row["seeds"]]
        two = [last_stage(cell.recipe) == 2 for cell in own]
        row["rounds"] = [chosen_round(read_run(cell.run)[0]) for cell in own] if own and all(two) else None


def read_groups(plan: Plan, cells: Sequence[GridRun]) -> dict[str, dict[str, Any]]:
    """Read head, medium and tail of every data: ``{data: {group: {"labels", "train_pos"}}}``.

    Rows are compared on the groups of the reference, or of the first row with a finished run if it has none, as far as
    all rows have learned the labels.
    """
    apart, groups = read_not_learned(cells), {}
    for data, cell in _cells_with_groups(plan, cells).items():
        found = read_metrics(read_run(cell.run)[0].metrics(last_stage(cell.recipe), plan.split))["groups"]
        groups[data] = {
            name: {
                "labels": [label for label in group["labels"] if label not in apart.get(data, {})],
                "train_pos": group["train_pos"],
            }
            for name, group in found.items()
        }
    return groups


def describe_groups(plan: Plan, cells: Sequence[GridRun]) -> dict[str, str]:
    """Return by data how the labels of `read_groups` were cut, in words."""
    chosen = _cells_with_groups(plan, cells)
    return {data: describe_rule(cell.recipe.metrics.groups.model_dump()) for data, cell in chosen.items()}


def _cells_with_groups(plan: Plan, cells: Sequence[GridRun]) -> dict[str, GridRun]:
    """Return the run whose groups are used, by data."""
    chosen: dict[str, GridRun] = {}
    for cell in sorted(cells, key=lambda cell: cell.row.name != plan.reference):
        if cell.state == "done" and read_run(cell.run)[0].metrics(last_stage(cell.recipe), plan.split).is_file():
            chosen.setdefault(cell.row.data, cell)
    return {data: chosen[data] for data in dict.fromkeys(row.data for row in plan.rows) if data in chosen}


def summarise(plan: Plan, scores: pd.DataFrame, groups: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row of the table for every row of the plan.

    Args:
        plan: the comparison.
        scores: from `read_scores`.
        groups: from `read_groups`.

    Returns:
        Per row ``data``, ``row``, ``adds``, ``seeds`` (that are finished), ``labels`` (how many are learned by all rows
        and defined in all seeds), ``values`` (macro mean over those, per seed), ``mean``, ``sd``, and ``versus``: what
        `difference` says against the reference over the labels that both have, with ``labels`` (how many),
        ``p_wilcoxon``, ``better``, and ``p_holm`` over all rows of the same data; None for the reference itself. The
        same per label (``per_label``, with ``learned``; a label that is not has no ``versus``), per further column
        (``means``) and per group (``groups``), with ``p_holm`` over all rows and labels (columns, groups).
    """
    rows, kinds = [], ("per_label", "means", "groups")
    for data in dict.fromkeys(row.data for row in plan.rows):
        tables = {row.name: _table(plan, scores, data, row.name) for row in plan.rows if row.data == data}
        reference, apart = tables[plan.reference], not_learned_of(scores, data)
        parts = {
            "means": plan.means or {},
            "groups": {name: group["labels"] for name, group in groups.get(data, {}).items()},
        }
        entries = [
            _summary(table, reference if name != plan.reference else None, parts, apart) | {"data": data, "row": name}
            for name, table in tables.items()
        ]
        families = [[entry["versus"] for entry in entries]]
        families += [[part["versus"] for entry in entries for part in entry[kind].values()] for kind in kinds]
        for family in families:
            add_holm(family)
            _add_direction(family, measure_sign(plan.measure))
        rows += entries
    adds = {(row.data, row.name): row.adds for row in plan.rows}
    return [{"adds": adds[row["data"], row["row"]], **row} for row in rows]


def _add_direction(family: Iterable[dict[str, Any] | None], sign: int) -> None:
    """Add to each difference whether it is ``better`` than the reference; None where it is undefined."""
    for versus in family:
        if versus is not None:
            versus["better"] = None if versus["mean"] is None else sign * versus["mean"] > 0


def check_claims(plan: Plan, scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Test a paper's claims on the data at hand; Holm over the claims of the plan.

    Returns:
        Per claim ``text``, ``better``, ``than``, ``difference``, ``sd``, ``p``, ``p_holm`` and ``verdict``: ``holds``
        and ``reversed`` at the level 0.05; ``no difference found`` otherwise, which says little for a small number of
        seeds. A claim to be on par holds if two one-sided tests put the difference within its margin.
    """
    found = []
    for data in dict.fromkeys(row.data for row in plan.rows):
        for claim in plan.claims:
            better, than = (_learned_table(plan, scores, data, name) for name in (claim.better, claim.than))
            labels = None if claim.mean is None else (plan.means or {})[claim.mean]
            found.append(_check_claim(claim, *_paired(better, than, labels)))
    for entry, p in zip(found, holm([entry["p"] for entry in found]), strict=True):
        entry["p_holm"] = p
        entry["verdict"] = _verdict(entry, measure_sign(plan.measure))
    return found


def _check_claim(claim: ClaimSection, a: Sequence[float], b: Sequence[float], count: int) -> dict[str, Any]:
    about: dict[str, Any] = {"text": claim.text, "better": claim.better, "than": claim.than, "margin": claim.margin}
    if not len(a):
        return about | {"difference": None, "sd": None, "labels": count, "p": None}
    gap = difference(a, b)
    p = gap.p if claim.margin is None else equivalence(a, b, claim.margin)
    return about | {"difference": gap.mean, "sd": gap.sd, "labels": count, "p": p}


def _verdict(entry: Mapping[str, Any], sign: int) -> str:
    if entry["p_holm"] is None or entry["p_holm"] >= LEVEL:
        return NO_DIFFERENCE
    return "holds" if entry["margin"] is not None or sign * entry["difference"] > 0 else "reversed"


def choose(plan: Plan, scores: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Choose the row of a sweep: of those with all seeds, the one with the best mean on the plan's split.

    Returns:
        ``row`` (the first of equals), the split it was chosen ``on``, whether that is an ``oracle``, and its ``test``
        score; row and score are None where no row has all seeds.
    """
    there = [row for row in rows if row["mean"] is not None and set(row["seeds"]) == set(plan.seeds)]
    about = {"on": plan.split, "oracle": plan.split.startswith("test")}
    if not there:
        return {"row": None, **about, "test": None}
    best = max(there, key=lambda row: measure_sign(plan.measure) * row["mean"])
    on_test = _learned_table(replace(plan, split="test"), scores, best["data"], best["row"])
    test = _part(on_test, None, list(on_test.columns))
    return {"row": best["row"], **about, "test": {key: test[key] for key in ("mean", "sd", "values", "labels")}}


def _scores_of(cell: GridRun, measure: str) -> list[tuple[Any, ...]]:
    stage = last_stage(cell.recipe)
    place = (cell.row.data, cell.row.name, cell.seed)
    run, _ = read_run(cell.run)
    records: list[tuple[Any, ...]] = []
    for path in sorted((run.path / f"stage{stage}").glob("metrics*.json")):
        content = read_metrics(path)
        if measure in MEASURES.names() and measure not in content["macro"]:  # newer than the run
            predictions = read_predictions(run, stage, content["split"])
            content = score_predictions(predictions, cell.recipe.metrics, read_train_counts(run)).to_json(
                content["split"]
            )
        for entry in content["per_class"]:
            values = {key: value for key, value in entry.items() if key in content["macro"]}
            records += [
                (
                    *place,
                    content["split"],
                    entry["label"],
                    name,
                    _nan(value),
                    entry["n_pos"],
                    entry["n_known"] - entry["n_pos"],
                )
                for name, value in values.items()
            ]
    for label in cell.recipe.data.novel:
        for split, stages in evaluate_novel(run.path, label)["splits"].items():
            entry = stages[f"stage{stage}"]
            records.append((*place, split, label, "novel", _nan(entry["auroc"]), entry["n_novel"], entry["n_seen"]))
    return records


def not_learned_of(scores: pd.DataFrame, data: str) -> list[str]:
    """Return the labels of some data that a row has not learned, from `read_scores`; none where that is not said."""
    if "learned" not in scores:
        return []
    return list(dict.fromkeys(scores.loc[(scores["data"] == data) & ~scores["learned"].astype(bool), "label"]))


def find_rare(plan: Plan, scores: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return by data the labels with fewer than 10 known positives or negatives in the split, and how many there are.

    A score of so few is no ground for a headline. Rows with splits of their own count as the one with fewest.
    """
    compared = scores[(scores["split"] == plan.split) & (scores["measure"] == plan.measure)]
    found: dict[str, dict[str, int]] = {}
    for (data, label), part in compared.groupby(["data", "label"], sort=False):
        if (count := int(part[["n_pos", "n_neg"]].min().min())) < MIN_KNOWN:
            found.setdefault(str(data), {})[str(label)] = count
    return found


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _table(plan: Plan, scores: pd.DataFrame, data: str, row: str) -> pd.DataFrame:
    """Return values by seed (index) and label (columns, in the data's order) of a row, without failed seeds."""
    chosen = scores[
        (scores["data"] == data)
        & (scores["row"] == row)
        & (scores["split"] == plan.split)
        & (scores["measure"] == plan.measure)
    ]
    labels = list(dict.fromkeys(chosen["label"]))
    return chosen.pivot(index="seed", columns="label", values="value")[labels]


def _learned_table(plan: Plan, scores: pd.DataFrame, data: str, row: str) -> pd.DataFrame:
    """Return `_table` of the labels that all rows have learned."""
    return _without(_table(plan, scores, data, row), not_learned_of(scores, data))


def _without(table: pd.DataFrame, apart: Sequence[str]) -> pd.DataFrame:
    return table[[label for label in table.columns if label not in apart]]


def _paired(
    a: pd.DataFrame, b: pd.DataFrame, labels: Sequence[str] | None = None
) -> tuple[list[float], list[float], int]:
    """Return means of two rows per shared seed, over the labels defined in all of those, and their number."""
    seeds = [seed for seed in a.index if seed in b.index]
    shared = [label for label in a.columns if label in b.columns and (labels is None or label in labels)]
    x, y = a.loc[seeds, shared], b.loc[seeds, shared]
    defined = [label for label in shared if x[label].notna().all() and y[label].notna().all()]
    if not seeds or not defined:
        return [], [], 0
    return x[defined].mean(axis=1).tolist(), y[defined].mean(axis=1).tolist(), len(defined)


def _summary(
    table: pd.DataFrame,
    reference: pd.DataFrame | None,
    parts: Mapping[str, Mapping[str, Sequence[str]]],
    apart: Sequence[str],
) -> dict[str, Any]:
    """Summarise all learned labels, every label, and named sets of learned labels; `apart` are not learned."""
    per_label = {
        label: _spread(table[label].to_numpy())
        | {"learned": label not in apart, "versus": _versus(table[[label]], None if label in apart else reference)}
        for label in table.columns
    }
    learned = _without(table, apart)
    sets = {
        kind: {name: part for name, labels in named.items() if (part := _part(learned, reference, labels))["labels"]}
        for kind, named in parts.items()
    }
    return {"seeds": table.index.tolist(), **_part(learned, reference, list(learned.columns)), **sets} | {
        "per_label": per_label
    }


def _part(table: pd.DataFrame, reference: pd.DataFrame | None, labels: Sequence[str]) -> dict[str, Any]:
    """Return the macro mean over those of some labels that are defined for every seed."""
    there = [label for label in table.columns if label in labels]
    defined = [label for label in there if table[label].notna().all()]
    spread = _spread(table[defined].mean(axis=1).to_numpy() if defined else np.empty(0))
    return {"labels": len(defined), **spread, "versus": _versus(table[there], reference)}


def _spread(values: Any) -> dict[str, Any]:
    """Return mean, standard deviation and values over seeds; None for a mean over undefined ones."""
    shown = [None if math.isnan(value) else float(value) for value in values]
    if not shown or None in shown:
        return {"mean": None, "sd": None, "values": shown}
    mean, sd = mean_sd([value for value in shown if value is not None])
    return {"mean": mean, "sd": sd, "values": shown}


def _versus(table: pd.DataFrame, reference: pd.DataFrame | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    a, b, count = _paired(table, reference)
    if not a:
        return Difference(math.nan, None, 0, None, None)._asdict() | {"mean": None, "p_wilcoxon": None, "labels": 0}
    return {**difference(a, b)._asdict(), "p_wilcoxon": wilcoxon(a, b).p if len(a) > 1 else None, "labels": count}
