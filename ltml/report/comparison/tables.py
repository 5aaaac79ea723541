"""Tables of a comparison: ranking, measures, groups, classes, claims, what differs between rows, runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.recipe.catalog import recipe_names
from ltml.recipe.load import identity, load_recipe
from ltml.report.comparison.data import (
    LEVEL,
    Comparison,
    Place,
    Row,
    is_uneven,
    judge,
    labels_of,
    leads,
    over_seeds,
    place_of,
    positives_of,
    ranked,
)
from ltml.report.comparison_tables import change, p_value, rounds_in_words, spread
from ltml.report.page import Block, Cell, Listing, Prose, Table, typeset
from ltml.report.saved import describe_environment
from ltml.report.tables.relations import KINDS
from ltml.report.terminal_tables import MEASURES
from ltml.stages.run_directory import read_fingerprint, read_run

BETTER, WORSE = "†", "‡"
BOLD = (
    f"Bold: highest, where it is significantly better than the reference (or, for the reference, the next one worse) "
    f"and no class has fewer than {MIN_KNOWN} known positives or negatives."
)
FAILURE = ("data", "row", "seed", "error")


def ranking_table(comparison: Comparison, data: str) -> Table:
    """Rows by rank, with their difference from the reference and what is shown of it."""
    rows, result = comparison.rows(data), comparison.result
    means = list(dict.fromkeys(name for row in rows for name in row["means"]))
    uneven = is_uneven(rows)
    columns = [
        "row",
        f"against {result['reference']}",
        "rank",
        comparison.measure,
        *(["classes", "seeds"] if uneven else []),
    ]
    rounds = any(row.get("rounds") for row in rows)
    lines: list[list[Cell]] = []
    for rank, row in enumerate(ranked(rows), start=1):
        versus, verdict = row["versus"], judge(row["versus"])
        cells = [Cell(row["row"]), Cell("reference" if versus is None else verdict)]
        cells += [Cell("–") if row["mean"] is None else Cell(str(rank), rank), _score(comparison, row, rows)]
        counts = (row["labels"], len(row["seeds"]))
        cells += [Cell(str(count), count) for count in counts] if uneven else []
        cells += [_spread_cell(row["means"].get(name)) for name in means]
        chosen = [Cell(rounds_in_words(row))] if rounds else []
        lines.append([*cells, *_difference_cells(versus), *chosen])
    note = (
        f"Mean ± standard deviation over seeds, in points. Δ: paired difference from {result['reference']}, over the "
        "classes that both have. p: paired t-test; Holm: adjusted over the rows; indep.: two-sample t-test; Wilcoxon: "
        f"signed ranks{_powerless(rows)}. {BOLD} {_legend_of_marks()}{_about_classes(comparison, data)}"
    )
    note += " Round of stage 2: the one that val chose, for every seed; 0 is the M step alone." if rounds else ""
    caption = f"{comparison.measure} on {result['split']}, highest first"
    names = [*columns, *means, "Δ", "p", "p Holm", "p indep.", "p Wilcoxon", *(["round of stage 2"] if rounds else [])]
    return Table(caption, names, lines, texts=2, note=note, sortable=True)


def _powerless(rows: Sequence[Row]) -> str:
    seeds = max((row["versus"]["n"] for row in rows if row["versus"]), default=0)
    least = 2.0 ** (1 - seeds)
    if seeds < 2 or least < LEVEL:
        return ""
    return f", which over {seeds} seeds cannot reach p < {LEVEL} (least possible: {least:.3g})"


def p_cell(entry: Mapping[str, Any] | None, kind: str) -> Cell:
    """A p of a test as it is printed; a dash where it was not made."""
    return Cell(p_value(entry, kind), None if entry is None else entry[kind])


def chosen_table(comparison: Comparison) -> Table:
    """What a sweep chose, by which score, and what that scores on test."""
    result, chosen = comparison.result, comparison.result["chosen"]
    (best,) = (row for row in result["rows"] if row["row"] == chosen["row"])
    splits = {chosen["on"]: best} | {"test": chosen["test"]}
    caption, note = "What the sweep chose", "Mean ± standard deviation over seeds, in points."
    if not chosen["oracle"]:
        caption += f" on {chosen['on']}"
        tried = sum(len(row["seeds"]) == len(result["seeds"]) for row in result["rows"])
        note += f" On {chosen['on']} it is the best of {tried}, and so too good; test had no say."
    columns = ["row", *(f"{comparison.measure} on {split}" for split in splits)]
    cells = [Cell(best["row"]), *(_spread_cell(entry) for entry in splits.values())]
    return Table(caption, columns, [cells], note=note)


def measures_table(comparison: Comparison, data: str) -> Table:
    """Rows × measures; significance is known of the compared measure alone."""
    rows, result = comparison.rows(data), comparison.result
    names = [name for name in MEASURES if name in set(comparison.scores["measure"])]
    values = {(row["row"], name): over_seeds(comparison, row, name) for row in rows for name in names}
    lines = []
    for row in rows:
        cells = [Cell(row["row"])]
        for name in names:
            entry = values[row["row"], name]
            tested = name == result["measure"]
            best = tested and _is_best_row(comparison, row, rows)
            cells.append(_spread_cell(entry, best=best, mark=_mark(judge(row["versus"])) if tested else ""))
        lines.append(cells)
    note = f"Mean ± standard deviation over seeds, in points. {BOLD} {_legend_of_marks()}"
    note += _about_classes(comparison, data)
    if result["measure"] in names:
        note += f" Tested for {comparison.measure} alone."
    columns = ["row", *(MEASURES[name] for name in names)]
    return Table(f"{prefix(comparison, data)}All measures on {result['split']}", columns, lines, note=note)


def groups_table(comparison: Comparison, data: str) -> Table | None:
    """Rows × groups of labels, as each run's metrics have them."""
    rows, groups = comparison.rows(data), comparison.result["groups"].get(data)
    if not groups or not any(row["groups"] for row in rows):
        return None
    lines, by = [], comparison.result.get("groups_by", {}).get(data, "")
    for row in rows:
        cells = [Cell(row["row"])]
        for name in groups:
            entry = row["groups"].get(name)
            supported = not set(groups[name]["labels"]) & set(comparison.rare(data))
            best = supported and not is_uneven(rows) and leads(entry, [other["groups"].get(name) for other in rows])
            cells.append(_spread_cell(entry, best=best, mark=_mark(judge(entry["versus"])) if entry else ""))
        lines.append(cells)
    note = (
        "Mean ± standard deviation over seeds, in points, over the classes of a group that a row has. "
        f"{BOLD} {_legend_of_marks()} Here p is adjusted over all rows and groups. "
        f"{_groups_in_words(groups, by)}"
        f"{_about_classes(comparison, data)}"
    )
    kind = "named groups" if by.startswith("named") else "training frequency"
    caption = f"{prefix(comparison, data)}{comparison.measure} by {kind}"
    return Table(caption, ["row", *groups], lines, note=note)


def _groups_in_words(groups: Mapping[str, Mapping[str, Any]], by: str) -> str:
    parts = []
    for name, group in groups.items():
        cut = "–".join(str(count) for count in dict.fromkeys(group["train_pos"] or ()))
        parts.append(
            f"{name}: {first_few(group['labels'], most=12) or 'no class'}{f' ({cut} positives)' if cut else ''}"
        )
    return f"Groups{f' ({by})' if by else ''}: {'; '.join(parts)}."


def _about_classes(comparison: Comparison, data: str) -> str:
    """Which classes stand outside the means, and which have too few samples for a headline."""
    apart, rare = comparison.not_learned(data), comparison.rare(data)
    text = ""
    if apart:
        text += f" Not learned by a row and outside all means: {first_few(apart, most=12)}."
    if rare:
        counts = [f"{label} ({count})" for label, count in rare.items()]
        text += f" Fewer than {MIN_KNOWN} known positives or negatives: {first_few(counts, most=12)}."
    return text


def classes_table(comparison: Comparison, data: str) -> Table:
    """Classes × rows, with how often each class occurs."""
    rows, positives = comparison.rows(data), positives_of(comparison, data)
    lines = []
    for label in labels_of(comparison, data):
        counts = positives.get(label, (None, None))
        title = comparison.title_of(data, label)
        cells = [Cell(title), *(Cell("–" if n is None else str(n), n) for n in counts)]
        lines.append(cells + [_label_cell(comparison, row, label, rows) for row in rows])
    split = comparison.result["split"]
    columns = ["class", "train +", f"{split} +", *(row["row"] for row in rows)]
    caption = f"{comparison.measure} of every class on {split}, the most frequent in training first"
    return Table(caption, columns, lines, note=_classes_note(comparison, data), sortable=True)


def classes_across(comparison: Comparison, data: str) -> Table:
    """Rows × classes, as papers print it."""
    rows, labels = comparison.rows(data), labels_of(comparison, data)
    lines = [
        [
            Cell(row["row"]),
            *(_label_cell(comparison, row, label, rows) for label in labels),
            _score(comparison, row, rows),
        ]
        for row in rows
    ]
    caption = f"{prefix(comparison, data)}{comparison.measure} of every class on {comparison.result['split']}"
    titles = [comparison.title_of(data, label) for label in labels]
    return Table(caption, ["row", *titles, "mean"], lines, note=_classes_note(comparison, data))


def _classes_note(comparison: Comparison, data: str) -> str:
    return (
        f"Mean ± standard deviation over seeds, in points. {BOLD} "
        f"{_legend_of_marks()} Per class, p is adjusted over all rows and classes."
        f" Reference: {comparison.result['reference']}.{_about_classes(comparison, data)}"
    )


def claims_table(result: Mapping[str, Any]) -> Table:
    """A line per claim of the paper and what became of it here."""
    lines = []
    for claim in result["claims"]:
        gap = None if claim["difference"] is None else {"mean": claim["difference"], "sd": claim["sd"]}
        cells = [Cell(claim["text"]), Cell(claim["verdict"]), Cell(f"{claim['better']} − {claim['than']}")]
        number = None if claim["difference"] is None else 100 * claim["difference"]
        lines.append([*cells, Cell(typeset(change(gap)), number), Cell(p_value(claim, "p_holm"), claim["p_holm"])])
    note = (
        f"'holds' and 'reversed' at the level {LEVEL} after Holm's adjustment over the claims; 'not shown' otherwise, "
        "which with few seeds says little."
    )
    return Table("What became of them on these data", ["claim", "verdict", "rows", "Δ", "p Holm"], lines, 3, note)


def relations_table(result: Mapping[str, Any]) -> Table:
    """A line per run and kind: how similarity and gain correlate, and how they do given class frequency."""
    lines = []
    for found in result["relations"]:
        for kind, plain in found["correlation"].items():
            if plain is None:
                continue
            given = found["partial"][kind] or dict.fromkeys(("r", "p", "n"))
            names = [found["data"], found["row"], str(found["seed"]), KINDS[kind]]
            numbers = [_coefficient(entry[key]) for entry in (plain, given) for key in ("r", "p")]
            lines.append([*map(Cell, names), *numbers, Cell(str(plain["n"]), plain["n"])])
    note = (
        f"Pearson's r over the added classes, of their similarity to {result['interest']} in that run and of the gain "
        "from adding them. Given log count: what is left after a linear regression of both on the logarithm of the "
        "added class's training positives."
    )
    columns = ["data", "row", "seed", "alike by", "r", "p", "r given log count", "p given log count", "classes"]
    return Table("Do alike classes help more?", columns, lines, texts=4, note=note)


def _coefficient(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(typeset(f"{value:.3f}"), value)


def failures_table(failed: Sequence[Mapping[str, Any]]) -> Table:
    """A line per run that failed."""
    lines = [[Cell(str(cell[key])) for key in FAILURE] for cell in failed]
    return Table("Runs that failed, and why", FAILURE, lines, texts=len(FAILURE))


def recipe_blocks(comparison: Comparison) -> Iterator[Block]:
    """Fields in which rows differ from each other or from the shipped recipe with their method."""
    first: dict[tuple[str, str], Path] = {}
    for (data, name, _), run in comparison.runs.items():
        first.setdefault((data, name), run)
    rows = [(row["data"], row["row"]) for row in comparison.result["rows"] if (row["data"], row["row"]) in first]
    if not rows:
        yield Prose("Left out: the runs are not there any more.", "note")
        return
    fields, departures = {}, set[str]()
    for place in rows:
        _, recipe = read_run(first[place])
        fields[place] = {key: value for key, value in identity(recipe).items() if not key.startswith("seeds.")}
        if recipe.name in recipe_names():
            plain = identity(load_recipe(recipe.name, [f"method={recipe.method}"] if recipe.method else []))
            departures |= {key for key in fields[place] if key in plain and plain[key] != fields[place][key]}
    keys = list(dict.fromkeys(key for own in fields.values() for key in own if key not in ("name", "variant")))
    differing = [key for key in keys if key in departures or len({_json(own.get(key)) for own in fields.values()}) > 1]
    lines = [[Cell(key), *(Cell(_setting(fields[place], key)) for place in rows)] for key in differing]
    several = len(comparison.places) > 1
    columns = ["field", *(f"{data}: {row}" if several else row for data, row in rows)]
    caption = "Fields of the recipe in which rows differ from each other, or from the shipped recipe with their method"
    yield Table(caption, columns, lines, texts=len(columns))


def _setting(fields: Mapping[str, Any], key: str) -> str:
    return _json(fields[key]) if key in fields else "–"


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def run_blocks(comparison: Comparison) -> Iterator[Block]:
    """Every run with its folder, and the data and machines that there were."""
    fingerprints, environments = _read_identities(comparison)
    kinds, machines = sorted(set(fingerprints.values())), list(dict.fromkeys(environments.values()))
    lines = []
    for cell in comparison.result["cells"]:
        place = place_of(cell)
        there = place in comparison.runs
        machine = str(machines.index(environments[place]) + 1) if there else "–"
        shown = [cell["data"], cell["row"], str(cell["seed"]), cell["state"], machine]
        lines.append([Cell(text) for text in [*shown, fingerprints[place][:12] if there else "–", cell["run"]]])
    columns = ("data", "row", "seed", "state", "environment", "data fingerprint", "folder")
    yield Table("Every run of the grid", columns, lines, texts=len(columns), sortable=True)
    yield Prose(
        f"Fingerprint of the data: {', '.join(kinds) or 'unknown, for the runs are not there any more'}.", "note"
    )
    for number, machine in enumerate(machines, start=1):
        count = sum(environment == machine for environment in environments.values())
        yield Listing(f"Environment {number} ({count} runs)", machine)


def _read_identities(comparison: Comparison) -> tuple[dict[Place, str], dict[Place, str]]:
    """Data fingerprint and environment of every run that is there."""
    fingerprints, environments = {}, {}
    for place, run in comparison.runs.items():
        fingerprints[place] = read_fingerprint(run)
        environments[place] = describe_environment(run)
    return fingerprints, environments


def prefix(comparison: Comparison, data: str) -> str:
    """What captions begin with where there are several data."""
    return f"{data}: " if len(comparison.places) > 1 else ""


def _score(comparison: Comparison, row: Row, rows: Sequence[Row]) -> Cell:
    return _spread_cell(row, best=_is_best_row(comparison, row, rows), mark=_mark(judge(row["versus"])))


def _is_best_row(comparison: Comparison, row: Row, rows: Sequence[Row]) -> bool:
    """Whether a row's mean is to be in bold: it leads, over the same classes as the others, none of them rare."""
    return not comparison.rare(row["data"]) and not is_uneven(rows) and leads(row, rows)


def _label_cell(comparison: Comparison, row: Row, label: str, rows: Sequence[Row]) -> Cell:
    entry = row["per_label"].get(label)
    if entry is None:
        return Cell("–")
    unfit = label in comparison.rare(row["data"]) or label in comparison.not_learned(row["data"])
    best = not unfit and leads(entry, [other["per_label"].get(label) for other in rows])
    return _spread_cell(entry, best=best, mark=_mark(judge(entry["versus"])))


def _spread_cell(entry: Mapping[str, Any] | None, *, best: bool = False, mark: str = "") -> Cell:
    if entry is None or entry["mean"] is None:
        return Cell("–")
    sd = None if entry["sd"] is None else 100 * entry["sd"]
    return Cell(typeset(spread(entry)), 100 * entry["mean"], sd, best, mark)


def _difference_cells(versus: Mapping[str, Any] | None) -> list[Cell]:
    if versus is None or versus["mean"] is None:
        return [Cell("–")] * 5
    sd = None if versus["sd"] is None else 100 * versus["sd"]
    kinds = ("p", "p_holm", "p_independent", "p_wilcoxon")
    return [
        Cell(typeset(change(versus)), 100 * versus["mean"], sd),
        *(p_cell(versus, kind) for kind in kinds),
    ]


def _mark(verdict: str) -> str:
    return {"better": BETTER, "worse": WORSE}.get(verdict, "")


def _legend_of_marks() -> str:
    return f"{BETTER} significantly better than the reference, {WORSE} worse (adjusted p < {LEVEL})."
