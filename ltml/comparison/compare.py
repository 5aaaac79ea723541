"""A comparison from its plan to its tables: run the grid, read the scores, test the differences."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ltml.comparison.grid import Cell, make_grid, run_grid
from ltml.comparison.launch import Launch
from ltml.comparison.plan import ClaimSection, Plan
from ltml.comparison.statistics import Difference, add_holm, difference, equivalence, holm, mean_sd
from ltml.errors import InputError, LtmlError, first_few, suggest
from ltml.files import hash_json, held, write_atomically, write_json
from ltml.recipe.load import identity
from ltml.stages.checks import check_out
from ltml.stages.evaluate import evaluate_novel
from ltml.stages.run_directory import read_run

FOLDER = "_comparisons"
"""Where under the root of the runs the tables of comparisons lie."""
LEVEL = 0.05


def dry_run(plan: Plan, out: str | os.PathLike[str] = "runs") -> list[dict[str, Any]]:
    """The grid of a plan and how far each run is; nothing is run.

    Returns:
        ``{"data", "row", "seed", "run", "state"}`` per cell; the state is ``done``, ``begun`` or ``to do``.

    Raises:
        InputError: a row's recipe is wrong.
    """
    return [_about(cell) for cell in make_grid(plan, Path(out))]


def compare(plan: Plan, out: str | os.PathLike[str] = "runs", *, launch: Launch | None = None) -> dict[str, Any]:
    """Run what is left of a comparison's grid and write its tables to ``runs/_comparisons/<name>/``.

    ``scores.csv`` holds every score of every run, ``comparison.json`` what is returned.

    Args:
        plan: from `ltml.plan_comparison`.
        out: root of the run directories.
        launch: where the runs are done, and how many at a time; None for one after the other in this process.

    Returns:
        ``name``, ``paper``, ``measure``, ``split``, ``seeds``, ``folder``, ``interest``; ``cells`` as from `dry_run`
        with ``error``; ``rows`` from `summarise`; ``claims`` from `check_claims`; ``chosen`` of a sweep: ``row``, the
        split it was chosen ``on``, whether that is an ``oracle``, and its ``test`` score. Undefined is None.

    Raises:
        InputError: a row's recipe is wrong, the split or the label asked for is in no run, another comparison lies in
            the folder, or runs that are done are of data that have changed since.
        LtmlError: no run could be finished.
    """
    root = Path(out)
    check_out(root)
    folder = root / FOLDER / plan.name
    _refuse_another(plan, folder)
    cells = make_grid(plan, root)
    if plan.measure == "novel" and not any(cell.recipe.data.novel for cell in cells):
        raise InputError("--measure novel needs a label held out of training (data.novel); no row has one")
    return tabulate(plan, run_grid(cells, root, launch or Launch()), folder)


def tabulate(plan: Plan, cells: Sequence[Cell], folder: Path) -> dict[str, Any]:
    """Write the tables of a comparison whose runs have been tried; returns and raises as `compare`."""
    if not any(cell.state == "done" for cell in cells):
        raise LtmlError(f"no run could be finished; the first failed so: {cells[0].error}")
    _refuse_changed_data(cells)
    scores = read_scores(plan, cells)
    rows = summarise(plan, scores)
    result = {
        "name": plan.name,
        "paper": plan.paper,
        "measure": plan.measure,
        "split": plan.split,
        "reference": plan.reference,
        "seeds": list(plan.seeds),
        "interest": plan.interest,
        "folder": str(folder),
        "plan": rows_of(plan),
        "cells": [_about(cell) | {"error": cell.error} for cell in cells],
        "rows": rows,
        "claims": check_claims(plan, scores),
        "chosen": _choose(plan, scores, rows) if plan.chooses else None,
    }
    with held(folder):
        write_atomically(folder / "scores.csv", lambda path: scores.to_csv(path, index=False))
        write_json(folder / "comparison.json", result)
    return result


def read_comparison(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """A comparison that `compare` has written.

    Raises:
        InputError: there is none.
    """
    path = Path(folder) / "comparison.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is not a comparison: {error}. `ltml compare` prints the folder it writes"
        ) from error
    if not isinstance(content, dict) or not {"rows", "cells", "measure"} <= content.keys():
        raise InputError(f"{path} was not written by `ltml compare`")
    return content


def read_scores(plan: Plan, cells: Sequence[Cell]) -> pd.DataFrame:
    """Every score of the last stage of every finished run: ``data, row, seed, split, label, measure, value, n_pos``.

    Undefined values are NaN. The AUC of held-out labels has the measure ``novel``.

    Raises:
        InputError: no run has scores of the plan's split or measure.
    """
    records = [record for cell in cells if cell.state == "done" for record in _scores_of(cell)]
    columns = ["data", "row", "seed", "split", "label", "measure", "value", "n_pos"]
    scores = pd.DataFrame.from_records(records, columns=columns)
    if records and plan.split not in set(scores["split"]):
        raise InputError(f"--split {plan.split}: {suggest(plan.split, sorted(set(scores['split'])))}")
    there = set(scores.loc[scores["split"] == plan.split, "measure"])
    if records and plan.measure not in there:
        raise InputError(f"--measure {plan.measure} needs a label held out of training (data.novel); no run has one")
    return scores


def summarise(plan: Plan, scores: pd.DataFrame) -> list[dict[str, Any]]:
    """A row of the table for every row of the plan.

    Returns:
        Per row ``data``, ``row``, ``adds``, ``seeds`` (that are finished), ``labels``, ``values`` (macro mean
        over its labels, per seed), ``mean``, ``sd``; ``per_label`` with the same by label; ``means`` by name of a
        further column; ``versus``: what `difference` says against the reference over the labels that both have, with
        ``labels`` (how many) and ``p_holm`` over all rows of the same data, None for the reference itself; and the
        same per label under ``per_label[…]["versus"]``, Holm over all rows and labels of the same data.
    """
    rows = []
    for data in dict.fromkeys(row.data for row in plan.rows):
        tables = {row.name: _table(plan, scores, data, row.name) for row in plan.rows if row.data == data}
        reference = tables[plan.reference]
        entries = [
            _summary(plan, table, reference if name != plan.reference else None) | {"data": data, "row": name}
            for name, table in tables.items()
        ]
        add_holm([entry["versus"] for entry in entries])
        add_holm([label["versus"] for entry in entries for label in entry["per_label"].values()])
        rows += entries
    adds = {(row.data, row.name): row.adds for row in plan.rows}
    return [{"adds": adds[row["data"], row["row"]], **row} for row in rows]


def check_claims(plan: Plan, scores: pd.DataFrame) -> list[dict[str, Any]]:
    """What becomes of a paper's claims on the data at hand; Holm over the claims of the plan.

    Returns:
        Per claim ``text``, ``better``, ``than``, ``difference``, ``sd``, ``p``, ``p_holm`` and ``verdict``: ``holds``
        and ``reversed`` at the level 0.05; ``not shown`` otherwise, which for a small number of seeds says little. A
        claim to be on par holds if two one-sided tests put the difference within its margin.
    """
    found = []
    for data in dict.fromkeys(row.data for row in plan.rows):
        for claim in plan.claims:
            better, than = (_table(plan, scores, data, name) for name in (claim.better, claim.than))
            labels = None if claim.mean is None else (plan.means or {})[claim.mean]
            found.append(_check_claim(claim, *_paired(better, than, labels)))
    for entry, p in zip(found, holm([entry["p"] for entry in found]), strict=True):
        entry["p_holm"] = p
        entry["verdict"] = _verdict(entry)
    return found


def _check_claim(claim: ClaimSection, a: Sequence[float], b: Sequence[float], count: int) -> dict[str, Any]:
    about: dict[str, Any] = {"text": claim.text, "better": claim.better, "than": claim.than, "margin": claim.margin}
    if not len(a):
        return about | {"difference": None, "sd": None, "labels": count, "p": None}
    gap = difference(a, b)
    p = gap.p if claim.margin is None else equivalence(a, b, claim.margin)
    return about | {"difference": gap.mean, "sd": gap.sd, "labels": count, "p": p}


def _verdict(entry: Mapping[str, Any]) -> str:
    if entry["p_holm"] is None or entry["p_holm"] >= LEVEL:
        return "not shown"
    return "holds" if entry["margin"] is not None or entry["difference"] > 0 else "reversed"


def _choose(plan: Plan, scores: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Of the rows with all seeds the one with the best mean on the plan's split, the first of equals; None without."""
    there = [row for row in rows if row["mean"] is not None and row["seeds"] == list(plan.seeds)]
    if not there:
        return None
    best = max(there, key=lambda row: row["mean"])
    on_test = _table(replace(plan, split="test"), scores, best["data"], best["row"])
    test = _summary(replace(plan, split="test"), on_test, None)
    return {
        "row": best["row"],
        "on": plan.split,
        "oracle": plan.split.startswith("test"),
        "test": {key: test[key] for key in ("mean", "sd", "values", "labels")},
    }


def rows_of(plan: Plan) -> list[list[Any]]:
    """What tells whether two comparisons have the same rows: data, name, recipe and overrides of each."""
    return [[row.data, row.name, row.recipe, list(row.overrides)] for row in plan.rows]


def _refuse_another(plan: Plan, folder: Path) -> None:
    """Tables of the same rows, or of some of them, are written anew; those of others stay."""
    if not (folder / "comparison.json").is_file():
        return
    there = read_comparison(folder).get("plan", [])
    if gone := [row[1] for row in there if row not in rows_of(plan)]:
        raise InputError(
            f"{folder} holds another comparison, with {first_few(gone)} run otherwise or not in this one: give this "
            "one a --name, or remove that folder"
        )


def _refuse_changed_data(cells: Sequence[Cell]) -> None:
    """Runs of the same data fields and split seed must have seen the same data."""
    seen: dict[str, tuple[str, Path]] = {}
    for cell in (cell for cell in cells if cell.state == "done"):
        fields = {key: value for key, value in identity(cell.recipe).items() if key.startswith("data.")}
        about = yaml.safe_load((cell.run / "recipe.yaml").read_text(encoding="utf-8"))
        key = hash_json([fields, cell.recipe.seeds.split])
        digest, run = seen.setdefault(key, (about["data_fingerprint"], cell.run))
        if digest != about["data_fingerprint"]:
            raise InputError(
                f"the data have changed between {run} and {cell.run}: they cannot be compared. Remove the older run, "
                "and it is done again"
            )


def _about(cell: Cell) -> dict[str, Any]:
    return {
        "data": cell.row.data,
        "row": cell.row.name,
        "seed": cell.seed,
        "run": str(cell.run),
        "state": cell.state,
    }


def _scores_of(cell: Cell) -> list[tuple[Any, ...]]:
    stage = 1 if cell.recipe.stage2.method == "none" else 2
    place = (cell.row.data, cell.row.name, cell.seed)
    run, _ = read_run(cell.run)
    records: list[tuple[Any, ...]] = []
    for path in sorted((run.path / f"stage{stage}").glob("metrics*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for entry in content["per_class"]:
            values = {key: value for key, value in entry.items() if key in content["macro"]}
            records += [
                (*place, content["split"], entry["label"], measure, _nan(value), entry["n_pos"])
                for measure, value in values.items()
            ]
    for label in cell.recipe.data.novel:
        for split, stages in evaluate_novel(run.path, label)["splits"].items():
            entry = stages[f"stage{stage}"]
            records.append((*place, split, label, "novel", _nan(entry["auroc"]), entry["n_novel"]))
    return records


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _table(plan: Plan, scores: pd.DataFrame, data: str, row: str) -> pd.DataFrame:
    """Values by seed (index) and label (columns, in the data's order) of a row; no row for a seed that failed."""
    chosen = scores[
        (scores["data"] == data)
        & (scores["row"] == row)
        & (scores["split"] == plan.split)
        & (scores["measure"] == plan.measure)
    ]
    labels = list(dict.fromkeys(chosen["label"]))
    return chosen.pivot(index="seed", columns="label", values="value")[labels]


def _paired(
    a: pd.DataFrame, b: pd.DataFrame, labels: Sequence[str] | None = None
) -> tuple[list[float], list[float], int]:
    """Means of two rows per seed that both have, over the labels that are defined in all of those, and their number."""
    seeds = [seed for seed in a.index if seed in b.index]
    shared = [label for label in a.columns if label in b.columns and (labels is None or label in labels)]
    x, y = a.loc[seeds, shared], b.loc[seeds, shared]
    defined = [label for label in shared if x[label].notna().all() and y[label].notna().all()]
    if not seeds or not defined:
        return [], [], 0
    return x[defined].mean(axis=1).tolist(), y[defined].mean(axis=1).tolist(), len(defined)


def _summary(plan: Plan, table: pd.DataFrame, reference: pd.DataFrame | None) -> dict[str, Any]:
    defined = [label for label in table.columns if table[label].notna().all()]
    per_label = {
        label: _spread(table[label].to_numpy()) | {"versus": _versus(table[[label]], reference)}
        for label in table.columns
    }
    means = {
        name: _spread(table[chosen].mean(axis=1).to_numpy()) | {"labels": len(chosen)}
        for name, labels in (plan.means or {}).items()
        if (chosen := [label for label in labels if label in defined])
    }
    return {
        "seeds": table.index.tolist(),
        "labels": len(defined),
        **_spread(table[defined].mean(axis=1).to_numpy() if defined else np.empty(0)),
        "means": means,
        "versus": _versus(table, reference),
        "per_label": per_label,
    }


def _spread(values: Any) -> dict[str, Any]:
    """Mean, standard deviation and values over seeds; None for a mean over undefined ones."""
    shown = [None if math.isnan(value) else float(value) for value in values]
    if not shown or None in shown:
        return {"mean": None, "sd": None, "values": shown}
    mean, sd = mean_sd([value for value in shown if value is not None])
    return {"mean": mean, "sd": sd, "values": shown}


def _versus(table: pd.DataFrame, reference: pd.DataFrame | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    a, b, count = _paired(table, reference)
    gap = difference(a, b) if a else Difference(math.nan, None, 0, None, None)
    fields = gap._asdict() | {"mean": None if math.isnan(gap.mean) else gap.mean}
    return {**fields, "labels": count}
