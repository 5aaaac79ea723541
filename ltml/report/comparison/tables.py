"""Tables of a comparison: ranking, measures, groups, classes, claims, what differs between rows, runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.metrics.measures import measure_titles
from ltml.recipe.catalog import recipe_names
from ltml.recipe.load import identity, load_recipe
from ltml.report.comparison.data import (
    LEVEL,
    NOT_FOUND,
    Comparison,
    Row,
    is_uneven,
    judge,
    labels_of,
    leads,
    over_seeds,
    positives_of,
    ranked,
    run_key,
)
from ltml.report.numbers import UNDEFINED, change_cell, count_cell, p_cell, spread_cell
from ltml.report.page import Block, Column, Listing, Prose, Table, TableCell, text_column
from ltml.report.run.data import describe_environment
from ltml.stages.run_directory import read_fingerprint, read_run

BETTER, WORSE = "†", "‡"
BEST = (
    "highest, where it is significantly better than the reference (or, for the reference, the next one worse) "
    f"and no class has fewer than {MIN_KNOWN} known positives or negatives"
)
MARKS = f"{BETTER} significantly better than the reference, {WORSE} worse (adjusted p < {LEVEL})."
OVER_SEEDS = "Mean ± standard deviation over seeds, in points"
FAILURE = ("data", "row", "seed", "error")
TESTS = {
    "p": ("p", "paired t-test"),
    "p_holm": ("p Holm", "adjusted over the rows"),
    "p_independent": ("p indep.", "two-sample t-test"),
    "p_wilcoxon": ("p Wilcoxon", "signed ranks"),
}
"""Tests of a row's difference from the reference: heading and meaning by key."""
ROUNDS = "the one that val chose, for every seed; 0 is the M step alone"
CLAIMS = {"better": NOT_FOUND, "on par": "no equivalence found"}
"""Verdict on a claim without a significant result, by what it claims."""


def ranking_table(comparison: Comparison, data: str) -> Table:
    """Return the rows by rank, with their difference from the reference and its verdict."""
    rows, reference = comparison.rows(data), comparison.result["reference"]
    means = list(dict.fromkeys(name for row in rows for name in row["means"]))
    uneven, rounds = is_uneven(rows), any(row.get("rounds") for row in rows)
    lines = []
    for rank, row in enumerate(ranked(rows, comparison.sign), start=1):
        versus = row["versus"]
        cells = [TableCell(row["row"]), TableCell("reference" if versus is None else judge(versus))]
        cells += [count_cell(None if row["mean"] is None else rank), _score_cell(comparison, row, rows)]
        cells += [count_cell(count) for count in (row["labels"], len(row["seeds"]))] if uneven else []
        cells += [spread_cell(row["means"].get(name)) for name in means]
        cells += [change_cell(versus), *(p_cell(versus, kind) for kind in TESTS)]
        lines.append([*cells, TableCell(rounds_in_words(row))] if rounds else cells)
    columns = [text_column("row"), text_column(f"against {reference}"), Column("rank", pages_only=True)]
    columns += map(Column, [comparison.measure, *(["classes", "seeds"] if uneven else []), *means])
    columns += [Column("Δ", meaning=f"paired difference from {reference}, over the classes that both have")]
    columns += _test_columns(rows)
    columns += [Column("round of stage 2", meaning=ROUNDS)] if rounds else []
    note = f"{OVER_SEEDS}. {MARKS}{_about_classes(comparison, data)}"
    caption = f"{comparison.prefix(data)}{comparison.measure} on {comparison.result['split']}, highest first"
    return Table(caption, columns, lines, note=note, best=BEST, sortable=True)


def _test_columns(rows: Sequence[Row]) -> list[Column]:
    """Return a column per test; terminals show the adjusted paired test."""
    seeds = max((row["versus"]["n"] for row in rows if row["versus"]), default=0)
    least = 2.0 ** (1 - seeds)
    meanings = dict(TESTS)
    if seeds >= 2 and least >= LEVEL:
        name, meaning = TESTS["p_wilcoxon"]
        powerless = f"{meaning}, which over {seeds} seeds cannot reach p < {LEVEL} (least possible: {least:.3g})"
        meanings["p_wilcoxon"] = name, powerless
    return [
        Column(name, meaning=meaning, pages_only=kind in ("p_independent", "p_wilcoxon"))
        for kind, (name, meaning) in meanings.items()
    ]


def rounds_in_words(row: Row) -> str:
    """Return the chosen rounds of stage 2 by seed, ``0,0,1``; a dash for a row without stage 2."""
    rounds = row.get("rounds")
    return ",".join("?" if number is None else str(number) for number in rounds) if rounds else UNDEFINED


def chosen_table(comparison: Comparison) -> Table:
    """Return the row that a sweep chose, with the score it was chosen by and its score on test."""
    result, chosen = comparison.result, comparison.result["chosen"]
    (best,) = (row for row in result["rows"] if row["row"] == chosen["row"])
    splits = {chosen["on"]: best} | {"test": chosen["test"]}
    caption, note = "What the sweep chose", f"{OVER_SEEDS}."
    if not chosen["oracle"]:
        caption += f" on {chosen['on']}"
        tried = sum(len(row["seeds"]) == len(result["seeds"]) for row in result["rows"])
        note += f" On {chosen['on']} it is the best of {tried}, and so too good; test took no part in the choice."
    columns = [text_column("row"), *(Column(f"{comparison.measure} on {split}") for split in splits)]
    return Table(caption, columns, [[TableCell(best["row"]), *map(spread_cell, splits.values())]], note)


def measures_table(comparison: Comparison, data: str) -> Table:
    """Return rows × measures; only the compared measure is tested."""
    rows, result = comparison.rows(data), comparison.result
    saved = list(dict.fromkeys(comparison.scores["measure"]))
    titles = {name: title for name, title in measure_titles(saved).items() if name != "novel"}
    lines = []
    for row in rows:
        best, mark = _is_best_row(comparison, row, rows), _mark(judge(row["versus"]))
        tested = {name: name == result["measure"] for name in titles}
        cells = [
            spread_cell(
                over_seeds(comparison, row, name), best=best and tested[name], mark=mark if tested[name] else ""
            )
            for name in titles
        ]
        lines.append([TableCell(row["row"]), *cells])
    note = f"{OVER_SEEDS}. {MARKS}{_about_classes(comparison, data)}"
    if result["measure"] in titles:
        note += f" Tested for {comparison.measure} alone."
    columns = [text_column("row"), *map(Column, titles.values())]
    return Table(f"{comparison.prefix(data)}All measures on {result['split']}", columns, lines, note, BEST)


def groups_table(comparison: Comparison, data: str) -> Table | None:
    """Return rows × groups of labels; None if no row has groups."""
    rows, groups = comparison.rows(data), comparison.result["groups"].get(data)
    if not groups or not any(row["groups"] for row in rows):
        return None
    lines, by = [], comparison.result.get("groups_by", {}).get(data, "")
    for row in rows:
        cells = [TableCell(row["row"])]
        for name in groups:
            entry = row["groups"].get(name)
            supported = not set(groups[name]["labels"]) & set(comparison.rare(data))
            best = (
                supported
                and not is_uneven(rows)
                and leads(entry, [other["groups"].get(name) for other in rows], comparison.sign)
            )
            cells.append(spread_cell(entry, best=best, mark=_mark(judge(entry["versus"])) if entry else ""))
        lines.append(cells)
    note = (
        f"{OVER_SEEDS}, over the classes of a group that a row has. {MARKS} Here p is adjusted over all rows and "
        f"groups. {_groups_in_words(groups, by)}{_about_classes(comparison, data)}"
    )
    kind = "named groups" if by.startswith("named") else "training frequency"
    caption = f"{comparison.prefix(data)}{comparison.measure} by {kind}"
    return Table(caption, [text_column("row"), *map(Column, groups)], lines, note, BEST)


def _groups_in_words(groups: Mapping[str, Mapping[str, Any]], by: str) -> str:
    parts = []
    for name, group in groups.items():
        cut = "–".join(str(count) for count in dict.fromkeys(group["train_pos"] or ()))
        parts.append(
            f"{name}: {first_few(group['labels'], most=12) or 'no class'}{f' ({cut} positives)' if cut else ''}"
        )
    return f"Groups{f' ({by})' if by else ''}: {'; '.join(parts)}."


def _about_classes(comparison: Comparison, data: str) -> str:
    """Return a blank and sentences on the classes outside the means and those with too few samples for a headline."""
    not_learned, rare = comparison.not_learned(data), comparison.rare(data)
    text = ""
    if not_learned:
        text += f" Not learned by a row and outside all means: {first_few(not_learned, most=12)}."
    if rare:
        counts = [f"{label} ({count})" for label, count in rare.items()]
        text += f" Fewer than {MIN_KNOWN} known positives or negatives: {first_few(counts, most=12)}."
    return text


def classes_table(comparison: Comparison, data: str) -> Table:
    """Return classes × rows, with the number of positives of each class."""
    rows, positives = comparison.rows(data), positives_of(comparison, data)
    lines = []
    for label in labels_of(comparison, data):
        counts = map(count_cell, positives.get(label, (None, None)))
        cells = [_label_cell(comparison, row, label, rows) for row in rows]
        lines.append([TableCell(comparison.title_of(data, label)), *counts, *cells])
    split = comparison.result["split"]
    columns = [text_column("class"), *map(Column, ["train +", f"{split} +", *(row["row"] for row in rows)])]
    caption = (
        f"{comparison.prefix(data)}{comparison.measure} of every class on {split}, the most frequent in training first"
    )
    return Table(caption, columns, lines, _classes_note(comparison, data), BEST, sortable=True)


def classes_across(comparison: Comparison, data: str) -> Table:
    """Return rows × classes, as papers print it."""
    rows, labels = comparison.rows(data), labels_of(comparison, data)
    lines = []
    for row in rows:
        cells = [_label_cell(comparison, row, label, rows) for label in labels]
        lines.append([TableCell(row["row"]), *cells, _score_cell(comparison, row, rows)])
    titles = [comparison.title_of(data, label) for label in labels]
    columns = [text_column("row"), *map(Column, [*titles, "mean"])]
    caption = f"{comparison.prefix(data)}{comparison.measure} of every class on {comparison.result['split']}"
    return Table(caption, columns, lines, _classes_note(comparison, data), BEST)


def _classes_note(comparison: Comparison, data: str) -> str:
    return (
        f"{OVER_SEEDS}. {MARKS} Per class, p is adjusted over all rows and classes. "
        f"Reference: {comparison.result['reference']}.{_about_classes(comparison, data)}"
    )


def claims_table(result: Mapping[str, Any]) -> Table:
    """Return a line per claim of the paper with its verdict on these data."""
    lines = []
    for claim in result["claims"]:
        verdict = claim["verdict"]
        if verdict == "not shown":
            verdict = CLAIMS["better" if claim["margin"] is None else "on par"]
        cells = [TableCell(claim["text"]), TableCell(verdict), TableCell(f"{claim['better']} − {claim['than']}")]
        lines.append([*cells, change_cell({"mean": claim["difference"], "sd": claim["sd"]}), p_cell(claim, "p_holm")])
    note = (
        f"'holds' and 'reversed' at the level {LEVEL} after Holm's adjustment over the claims. With few seeds, "
        f"'{NOT_FOUND}' says little."
    )
    columns = [text_column("claim"), text_column("verdict"), text_column("rows", pages_only=True)]
    return Table("Claims of the paper on these data", [*columns, Column("Δ"), Column("p Holm")], lines, note)


def failures_table(failed: Sequence[Mapping[str, Any]]) -> Table:
    """Return a line per run that failed."""
    lines = [[TableCell(str(cell[key])) for key in FAILURE] for cell in failed]
    return Table("Runs that failed, and why", list(map(text_column, FAILURE)), lines)


def grid_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    """Return rows × seeds with the state of every run, from the result of `ltml.dry_run`."""
    seeds = list(dict.fromkeys(cell["seed"] for cell in cells))
    states = {run_key(cell): cell["state"] for cell in cells}
    lines = [
        [TableCell(text) for text in (data, row, *(states[data, row, seed] for seed in seeds))]
        for data, row in dict.fromkeys((cell["data"], cell["row"]) for cell in cells)
    ]
    columns = ["data", "row", *(f"seed {seed}" for seed in seeds)]
    left = len({cell["run"] for cell in cells if cell["state"] != "done"})
    note = f"{left} of {len({cell['run'] for cell in cells})} runs are left."
    return Table("Runs that are done, begun and to do", list(map(text_column, columns)), lines, note)


def recipe_blocks(comparison: Comparison) -> Iterator[Block]:
    """Yield the fields in which rows differ from each other or from the shipped recipe with their method."""
    first: dict[tuple[str, str], Path] = {}
    for (data, name, _), run in comparison.runs.items():
        first.setdefault((data, name), run)
    rows = [key for row in comparison.result["rows"] if (key := (row["data"], row["row"])) in first]
    if not rows:
        yield Prose("the runs no longer exist", "missing")
        return
    fields, departures = {}, set[str]()
    for key in rows:
        _, recipe = read_run(first[key])
        fields[key] = {name: value for name, value in identity(recipe).items() if not name.startswith("seeds.")}
        if recipe.name in recipe_names():
            plain = identity(load_recipe(recipe.name, [f"method={recipe.method}"] if recipe.method else []))
            departures |= {name for name in fields[key] if name in plain and plain[name] != fields[key][name]}
    names = dict.fromkeys(name for row in fields.values() for name in row if name not in ("name", "variant"))
    differing = [
        name for name in names if name in departures or len({_json(row.get(name)) for row in fields.values()}) > 1
    ]
    lines = [[TableCell(name), *(TableCell(_setting(fields[key], name)) for key in rows)] for name in differing]
    columns = ["field", *(f"{comparison.prefix(data)}{row}" for data, row in rows)]
    caption = "Fields of the recipe in which rows differ from each other, or from the shipped recipe with their method"
    yield Table(caption, list(map(text_column, columns)), lines)


def _setting(fields: Mapping[str, Any], name: str) -> str:
    return _json(fields[name]) if name in fields else UNDEFINED


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def run_blocks(comparison: Comparison) -> Iterator[Block]:
    """Yield every run with its folder, then the fingerprints of the data and the environments."""
    fingerprints = {key: read_fingerprint(run) for key, run in comparison.runs.items()}
    environments = {key: describe_environment(run) for key, run in comparison.runs.items()}
    kinds, machines = sorted(set(fingerprints.values())), list(dict.fromkeys(environments.values()))
    lines = []
    for cell in comparison.result["cells"]:
        key = run_key(cell)
        known = key in comparison.runs
        machine = str(machines.index(environments[key]) + 1) if known else UNDEFINED
        texts = [cell["data"], cell["row"], str(cell["seed"]), cell["state"], machine]
        lines.append([*map(TableCell, [*texts, fingerprints[key][:12] if known else UNDEFINED, cell["run"]])])
    columns = ("data", "row", "seed", "state", "environment", "data fingerprint", "folder")
    yield Table("Every run of the grid", list(map(text_column, columns)), lines, sortable=True)
    yield Prose(f"Fingerprint of the data: {', '.join(kinds) or 'unknown, because the runs no longer exist'}.", "note")
    for index, machine in enumerate(machines, start=1):
        count = sum(environment == machine for environment in environments.values())
        yield Listing(f"Environment {index} ({count} runs)", machine)


def _score_cell(comparison: Comparison, row: Row, rows: Sequence[Row]) -> TableCell:
    return spread_cell(row, best=_is_best_row(comparison, row, rows), mark=_mark(judge(row["versus"])))


def _is_best_row(comparison: Comparison, row: Row, rows: Sequence[Row]) -> bool:
    """Return whether a row leads, over the same classes as the others, none of them rare."""
    return not comparison.rare(row["data"]) and not is_uneven(rows) and leads(row, rows, comparison.sign)


def _label_cell(comparison: Comparison, row: Row, label: str, rows: Sequence[Row]) -> TableCell:
    entry = row["per_label"].get(label)
    if entry is None:
        return TableCell(UNDEFINED)
    unfit = label in comparison.rare(row["data"]) or label in comparison.not_learned(row["data"])
    best = not unfit and leads(entry, [other["per_label"].get(label) for other in rows], comparison.sign)
    return spread_cell(entry, best=best, mark=_mark(judge(entry["versus"])))


def _mark(verdict: str) -> str:
    return {"better": BETTER, "worse": WORSE}.get(verdict, "")
