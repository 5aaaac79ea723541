"""A comparison as a report: who ranks where and whether it means anything, per class, per group, per seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.report.comparison.data import LEVEL, Comparison, Row, is_uneven, judge, leads, ranked, read_comparison
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
    relations_table,
    run_blocks,
)
from ltml.report.comparison_tables import change, interval, p_value, spread
from ltml.report.oracle import oracle_mark, oracle_warning
from ltml.report.page import Block, Figure, Page, Prose, Section, Table, typeset


def comparison_page(folder: Path) -> Page:
    """The report of a comparison.

    Raises:
        InputError: see `read_comparison`.
    """
    comparison = read_comparison(folder)
    result = comparison.result
    count = len(result["seeds"])
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    where = f"{comparison.measure} on {result['split']}"
    subtitle = f"{where}; {len(result['rows'])} rows, {seeds}, against {result['reference']}"
    sections = [section for data in comparison.places for section in _data_sections(comparison, data)]
    title = f"{oracle_mark(result)}{result['paper'] or result['name']}"
    return Page(title, subtitle, [*sections, *_common_sections(comparison)], oracle_warning(result))


def tables_of_comparison(folder: Path) -> list[Table]:
    """Tables as papers have them: what a sweep chose; rows × measures, intervals, groups and classes, for every data.

    Raises:
        InputError: see `read_comparison`.
    """
    comparison = read_comparison(folder)
    tables = [chosen_table(comparison)] if _has_chosen(comparison) else []
    for data in comparison.places:
        parts = (measures_table, ranking_table, patients_table, groups_table, classes_across)
        tables += [table for part in parts if (table := part(comparison, data)) is not None]
    mark = oracle_mark(comparison.result)
    return [replace(table, caption=f"{mark}{table.caption}") for table in tables]


def _data_sections(comparison: Comparison, data: str) -> Iterator[Section]:
    several, number = len(comparison.places) > 1, comparison.places.index(data)

    def section(key: str, title: str, blocks: Sequence[Block]) -> Section:
        marked = [_marked(block, oracle_mark(comparison.result)) for block in blocks]
        return Section(f"{key}-{number}" if several else key, f"{data}: {title}" if several else title, marked)

    yield section("summary", "Summary", _summary(comparison, data))
    yield section("seeds", "Seed by seed", [seeds_figure(comparison, data)])
    yield section("groups", "Head, medium, tail", _groups(comparison, data))
    yield section("classes", "Every class", _classes(comparison, data))
    yield section("norms", "Classifier weights", norms_figure(comparison, data))


def _marked(block: Block, mark: str) -> Block:
    """A block with a mark before its caption, or before the sentence that matters most."""
    if isinstance(block, Table | Figure):
        return replace(block, caption=f"{mark}{block.caption}")
    if isinstance(block, Prose) and block.tone == "lead":
        return replace(block, text=f"{mark}{block.text}")
    return block


def _common_sections(comparison: Comparison) -> Iterator[Section]:
    result = comparison.result
    if result["warnings"]:
        yield Section("warnings", "Be careful with", [Prose(warning, "note") for warning in result["warnings"]])
    if result["ranks"]:
        yield Section("ranks", "Over all data", [ranks_table(result["ranks"])])
    if result.get("relations"):
        yield Section("relations", "Alike classes", [relations_table(result)])
    if result["claims"]:
        yield Section("claims", "Claims of the paper", [claims_table(result)])
    failed = [cell for cell in result["cells"] if cell["state"] == "failed"]
    if failed:
        yield Section("failures", "Failed runs", [failures_table(failed)])
    yield Section("recipes", "What differs between rows", list(recipe_blocks(comparison)))
    yield Section("runs", "Runs", list(run_blocks(comparison)))


def _summary(comparison: Comparison, data: str) -> list[Block]:
    rows, result = comparison.rows(data), comparison.result
    failed = sum(cell["state"] == "failed" and cell["data"] == data for cell in result["cells"])
    cells = sum(cell["data"] == data for cell in result["cells"])
    blocks: list[Block] = []
    if result["chosen"] is not None:
        blocks.append(Prose(choice_in_words(result["chosen"]), "lead"))
    if _has_chosen(comparison):
        blocks.append(chosen_table(comparison))
    where = f"{comparison.measure} on {result['split']}"
    blocks += [Prose(ranking_in_words(rows, where, comparison.rare(data)), "lead"), Prose(verdict_in_words(rows))]
    if patients := patients_in_words(rows):
        blocks.append(Prose(patients))
    if is_uneven(rows):
        text = (
            "Rows know different classes or lack seeds: their means are over their own, differences over shared ones."
        )
        blocks.append(Prose(text))
    if failed:
        blocks.append(Prose(f"{failed} of {cells} runs failed; what is shown is of the others."))
    tables = [ranking_table(comparison, data), patients_table(comparison, data), measures_table(comparison, data)]
    return [*blocks, *(table for table in tables if table is not None)]


def _has_chosen(comparison: Comparison) -> bool:
    """Whether it is a sweep that could choose."""
    return comparison.result["chosen"] is not None and comparison.result["chosen"]["row"] is not None


def choice_in_words(chosen: Mapping[str, Any]) -> str:
    """What a sweep chose and what that scores on test; `oracle_mark` says the rest where test chose."""
    if chosen["row"] is None:
        return f"Nothing is chosen on {chosen['on']}, for no row has every seed."
    where = "" if chosen["oracle"] else f", chosen on {chosen['on']},"
    return f"{chosen['row']}{where} scores {typeset(spread(chosen['test']))} points on test."


def ranking_in_words(rows: Sequence[Row], measure: str, rare: Mapping[str, int] = MappingProxyType({})) -> str:
    """Who has the highest mean, and who follows; no more than the figures where that is no difference found.

    Args:
        rows: of one data.
        measure: in print, and where.
        rare: classes in the means with too few known positives or negatives, and how many.
    """
    defined = [row for row in ranked(rows) if row["mean"] is not None]
    if not defined:
        return "No row has a defined score."
    first, *others = defined
    if not others:
        return f"{first['row']} has a mean {measure} of {typeset(spread(first))} points."
    if not rare and leads(first, rows):
        text = f"{first['row']} has the highest mean {measure}, {typeset(spread(first))} points"
        return f"{text}; {others[0]['row']} follows with {typeset(spread(others[0]))}."
    rest = ", ".join(f"{row['row']} {typeset(spread(row))}" for row in others[:2])
    text = f"No row is shown to lead: the highest mean {measure} is that of {first['row']}, {typeset(spread(first))} "
    text += f"points, then {rest}{', …' if len(others) > 2 else ''}."
    if rare:
        counts = [f"{label} ({count})" for label, count in rare.items()]
        text += (
            f" The mean has classes with fewer than {MIN_KNOWN} known positives or negatives: "
            f"{first_few(counts, most=12)}."
        )
    return text


def verdict_in_words(rows: Sequence[Row]) -> str:
    """Which rows differ significantly from the reference, and how far that can be told."""
    reference = next((row["row"] for row in rows if row["versus"] is None), "the reference")
    others = [row for row in rows if row["versus"] is not None]
    if not others:
        return "There is no second row to compare with."
    tested = [row for row in others if row["versus"]["p_holm"] is not None]
    if not tested:
        return f"Nothing can be tested against {reference}: that takes two finished seeds that differ."
    parts = []
    for kind in ("better", "worse"):
        named = [
            f"{row['row']} ({typeset(change(row['versus']))} points, p {p_value(row['versus'], 'p_holm')})"
            for row in tested
            if judge(row["versus"]) == kind
        ]
        parts += [f"Significantly {kind} than {reference}: {', '.join(named)}."] if named else []
    silent = [row["row"] for row in tested if judge(row["versus"]) == "not shown"]
    parts += [f"No difference from {reference} is shown for {first_few(silent, most=12)}."] if silent else []
    seeds = min(row["versus"]["n"] for row in tested)
    few = "; with so few, a difference has to be large to be shown" if silent and seeds < 5 else ""
    return f"{' '.join(parts)} (Paired t-test over {seeds} seeds, Holm's adjustment over the rows, level {LEVEL}{few}.)"


def patients_in_words(rows: Sequence[Row]) -> str:
    """Which rows differ significantly from the reference on other patients; empty where that was not tested."""
    tested = [row for row in rows if row["versus"] and (row["versus"]["patients"] or {"p": None})["p"] is not None]
    if not tested:
        return ""
    found: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for row in tested:
        patients = row["versus"]["patients"]
        told = patients["p_holm"] < LEVEL
        kind = ("better" if sum(patients["interval"]) > 0 else "worse") if told else "not told apart"
        found[kind].append(f"{row['row']} ({typeset(interval(patients['interval'], sign='+'))} points)")
    parts = [f"{kind}: {', '.join(names)}" for kind, names in found.items() if names]
    reference = next((row["row"] for row in rows if row["versus"] is None), "the reference")
    return f"With the models as trained, on other patients, against {reference}: {'; '.join(parts)}."


def _groups(comparison: Comparison, data: str) -> list[Block]:
    table = groups_table(comparison, data)
    if table is None:
        return [Prose("Left out: this measure of these data has no groups.", "note")]
    return [table, groups_figure(comparison, data)]


def _classes(comparison: Comparison, data: str) -> list[Block]:
    over_patients = patients_by_class(comparison, data)
    tables = [classes_table(comparison, data), *([] if over_patients is None else [over_patients])]
    return [*tables, *gain_figure(comparison, data)]
