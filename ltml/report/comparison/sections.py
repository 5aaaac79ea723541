"""A comparison as a report: ranks and differences, per class, per group, per seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.report.comparison.data import (
    LEVEL,
    NOT_FOUND,
    Comparison,
    Row,
    is_uneven,
    judge,
    leads,
    ranked,
    read_comparison,
)
from ltml.report.comparison.figures import gain_figure, groups_figure, norms_figure, seeds_figure
from ltml.report.comparison.patients import patients_by_class, patients_table, ranks_table
from ltml.report.comparison.tables import (
    chosen_table,
    claims_table,
    classes_across,
    classes_table,
    failures_table,
    groups_table,
    measures_table,
    ranking_table,
    recipe_blocks,
    run_blocks,
)
from ltml.report.numbers import change, interval, p_value, spread
from ltml.report.page import Block, Figure, Page, Prose, Section, Table, drop_empty
from ltml.report.tables.relations import correlations_table

Marked = TypeVar("Marked", bound=Block)


def comparison_page(folder: Path) -> Page:
    """Return the report of a comparison.

    Raises:
        InputError: see `read_comparison`.
    """
    comparison = read_comparison(folder)
    sections = [section for data in comparison.data_names for section in _data_sections(comparison, data)]
    sections += _common_sections(comparison)
    return Page(comparison.title, comparison.subtitle, drop_empty(sections), comparison.oracle_warning)


def tables_of_comparison(folder: Path) -> list[Table]:
    """Return tables as papers have them: what a sweep chose; then rows × measures, intervals, groups, classes by data.

    Raises:
        InputError: see `read_comparison`.
    """
    comparison = read_comparison(folder)
    tables = [chosen_table(comparison)] if comparison.has_choice else []
    for data in comparison.data_names:
        parts = (measures_table, ranking_table, patients_table, groups_table, classes_across)
        tables += [table for part in parts if (table := part(comparison, data)) is not None]
    return [replace(table, caption=f"{comparison.oracle_mark}{table.caption}") for table in tables]


def terminal_blocks(folder: Path, *, per_class: bool = False) -> list[Table | Prose]:
    """Return the tables and sentences that a terminal shows, failed runs and warnings aside.

    Raises:
        InputError: see `read_comparison`.
    """
    comparison = read_comparison(folder)
    result, names = comparison.result, comparison.data_names
    blocks: list[Table | Prose | None] = [ranking_table(comparison, data) for data in names]
    blocks += [patients_table(comparison, data) for data in names]
    blocks += [ranks_table(result["ranks"])] if result["ranks"] else []
    blocks += [classes_table(comparison, data) for data in names if per_class]
    blocks += [Prose(choice_in_words(result["chosen"]), "lead")] if result["chosen"] else []
    blocks += _relations(result)
    blocks += [claims_table(result)] if result["claims"] else []
    marked = [_marked(block, comparison.oracle_mark) for block in blocks if block is not None]
    return [Prose(f"{comparison.title}: {comparison.subtitle}"), *marked]


def _data_sections(comparison: Comparison, data: str) -> Iterator[Section]:
    several, number = len(comparison.data_names) > 1, comparison.data_names.index(data)

    def section(key: str, title: str, blocks: Sequence[Block]) -> Section:
        marked = [_marked(block, comparison.oracle_mark) for block in blocks]
        if several:
            marked = [replace(b, name=f"{data}-{b.name}") if isinstance(b, Figure) else b for b in marked]
        return Section(f"{key}-{number}" if several else key, f"{comparison.prefix(data)}{title}", marked)

    yield section("summary", "Summary", _summary(comparison, data))
    yield section("seeds", "Seed by seed", [seeds_figure(comparison, data)])
    yield section("groups", "Head, medium, tail", _groups(comparison, data))
    yield section("classes", "Every class", _classes(comparison, data))
    yield section("norms", "Classifier weights", norms_figure(comparison, data))


def _marked(block: Marked, mark: str) -> Marked:
    """Return a block with a mark before its caption, or before the sentence that matters most."""
    if isinstance(block, Table | Figure):
        return replace(block, caption=f"{mark}{block.caption}")
    if isinstance(block, Prose) and block.tone == "lead":
        return replace(block, text=f"{mark}{block.text}")
    return block


def _common_sections(comparison: Comparison) -> Iterator[Section]:
    result, failed = comparison.result, comparison.failed
    yield Section("warnings", "Be careful with", [Prose(warning, "note") for warning in result["warnings"]])
    yield Section("ranks", "Over all data", [ranks_table(result["ranks"])] if result["ranks"] else [])
    yield Section("relations", "Similar classes", _relations(result))
    yield Section("claims", "Claims of the paper", [claims_table(result)] if result["claims"] else [])
    yield Section("failures", "Failed runs", [failures_table(failed)] if failed else [])
    yield Section("recipes", "What differs between rows", list(recipe_blocks(comparison)))
    yield Section("runs", "Runs", list(run_blocks(comparison)))


def _relations(result: Mapping[str, Any]) -> list[Table]:
    found = result.get("relations")
    return [correlations_table(found, result["interest"])] if found else []


def _summary(comparison: Comparison, data: str) -> list[Block]:
    rows, result = comparison.rows(data), comparison.result
    failed = sum(cell["data"] == data for cell in comparison.failed)
    cells = sum(cell["data"] == data for cell in result["cells"])
    blocks: list[Block] = []
    if result["chosen"] is not None:
        blocks.append(Prose(choice_in_words(result["chosen"]), "lead"))
    if comparison.has_choice:
        blocks.append(chosen_table(comparison))
    where = f"{comparison.measure} on {result['split']}"
    lead = ranking_in_words(rows, where, comparison.rare(data), comparison.sign)
    blocks += [Prose(lead, "lead"), Prose(verdict_in_words(rows))]
    if patients := patients_in_words(rows):
        blocks.append(Prose(patients))
    if is_uneven(rows):
        text = (
            "Rows know different classes or lack seeds: their means are over their own, differences over shared ones."
        )
        blocks.append(Prose(text))
    if failed:
        blocks.append(Prose(f"{failed} of {cells} runs failed; the figures are of the others."))
    tables = [ranking_table(comparison, data), patients_table(comparison, data), measures_table(comparison, data)]
    return [*blocks, *(table for table in tables if table is not None)]


def choice_in_words(chosen: Mapping[str, Any]) -> str:
    """Return what a sweep chose and its score on test; `Comparison.oracle_mark` says the rest if test chose."""
    if chosen["row"] is None:
        return f"Nothing is chosen on {chosen['on']}, because no row has every seed."
    where = "" if chosen["oracle"] else f", chosen on {chosen['on']},"
    return f"{chosen['row']}{where} scores {spread(chosen['test'])} points on test."


def ranking_in_words(
    rows: Sequence[Row], measure: str, rare: Mapping[str, int] = MappingProxyType({}), sign: int = 1
) -> str:
    """Return which row has the best mean and which follow; only their scores if no difference was found.

    Args:
        rows: the rows of one data.
        measure: name of the measure and the split.
        rare: counts of the classes in the means with too few known positives or negatives.
        sign: 1 if higher is better, -1 if lower is.
    """
    best = "highest" if sign > 0 else "lowest"
    defined = [row for row in ranked(rows, sign) if row["mean"] is not None]
    if not defined:
        return "No row has a defined score."
    first, *others = defined
    if not others:
        return f"{first['row']} has a mean {measure} of {spread(first)} points."
    if not rare and leads(first, rows, sign):
        text = f"{first['row']} has the {best} mean {measure}, {spread(first)} points"
        return f"{text}; {others[0]['row']} follows with {spread(others[0])}."
    rest = ", ".join(f"{row['row']} {spread(row)}" for row in others[:2])
    text = f"No row leads significantly: the {best} mean {measure} is that of {first['row']}, {spread(first)} "
    text += f"points, then {rest}{', …' if len(others) > 2 else ''}."
    if rare:
        counts = [f"{label} ({count})" for label, count in rare.items()]
        listed = first_few(counts, most=12)
        text += f" The mean has classes with fewer than {MIN_KNOWN} known positives or negatives: {listed}."
    return text


def verdict_in_words(rows: Sequence[Row]) -> str:
    """Return which rows differ significantly from the reference, and by which test."""
    reference = next((row["row"] for row in rows if row["versus"] is None), "the reference")
    others = [row for row in rows if row["versus"] is not None]
    if not others:
        return "There is no second row to compare with."
    tested = [row for row in others if row["versus"]["p_holm"] is not None]
    if not tested:
        return f"Nothing can be tested against {reference}: a test needs two finished seeds that differ."
    parts = []
    for kind in ("better", "worse"):
        named = [
            f"{row['row']} ({change(row['versus'])} points, p {p_value(row['versus'], 'p_holm')})"
            for row in tested
            if judge(row["versus"]) == kind
        ]
        parts += [f"Significantly {kind} than {reference}: {', '.join(named)}."] if named else []
    silent = [row["row"] for row in tested if judge(row["versus"]) == NOT_FOUND]
    parts += [f"No difference from {reference} was found for {first_few(silent, most=12)}."] if silent else []
    seeds = min(row["versus"]["n"] for row in tested)
    few = "; with so few, only large differences are found" if silent and seeds < 5 else ""
    return f"{' '.join(parts)} (Paired t-test over {seeds} seeds, Holm's adjustment over the rows, level {LEVEL}{few}.)"


def patients_in_words(rows: Sequence[Row]) -> str:
    """Return which rows differ significantly from the reference on other patients; empty if that was not tested."""
    tested = [row for row in rows if row["versus"] and (row["versus"]["patients"] or {"p": None})["p"] is not None]
    if not tested:
        return ""
    named: dict[str, list[str]] = {"better": [], "worse": [], NOT_FOUND: []}
    for row in tested:
        patients = row["versus"]["patients"]
        significant = patients["p_holm"] < LEVEL
        kind = ("better" if sum(patients["interval"]) > 0 else "worse") if significant else NOT_FOUND
        named[kind].append(f"{row['row']} ({interval(patients['interval'], sign='+')} points)")
    parts = [f"{kind}: {', '.join(names)}" for kind, names in named.items() if names]
    reference = next((row["row"] for row in rows if row["versus"] is None), "the reference")
    return f"With the models as trained, on other patients, against {reference}: {'; '.join(parts)}."


def _groups(comparison: Comparison, data: str) -> list[Block]:
    table = groups_table(comparison, data)
    if table is None:
        return [Prose("this measure has no groups of labels", "missing")]
    return [table, groups_figure(comparison, data)]


def _classes(comparison: Comparison, data: str) -> list[Block]:
    over_patients = patients_by_class(comparison, data)
    tables = [classes_table(comparison, data), *([] if over_patients is None else [over_patients])]
    return [*tables, *gain_figure(comparison, data)]
