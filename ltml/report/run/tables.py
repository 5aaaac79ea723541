"""Tables of scores: means, classes and groups after every stage, with what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.metrics.measures import measure_titles
from ltml.metrics.patient_inputs import NO_PATIENTS
from ltml.report.numbers import (
    STAGE_NAMES,
    UNDEFINED,
    count_cell,
    fraction_interval_cell,
    number_cell,
    points_cell,
)
from ltml.report.page import Column, Table, TableCell, text_column
from ltml.report.run.scores import Metrics, StageScores


def score_tables(scores: StageScores) -> Iterator[Table]:
    """Yield classes, groups (if any) and means of one split."""
    yield classes_table(scores)
    if scores.last["groups"]:
        yield groups_table(scores)
    yield measures_table(scores)


def measures_table(scores: StageScores) -> Table:
    """Return measures × stages with the change."""
    stages, last = scores.stages, scores.last
    lines = []
    for measure, name in measure_titles(last["macro"]).items():
        cells = _score_cells([metrics["macro"].get(measure) for metrics in stages.values()])
        lines.append([TableCell(name), *cells, count_cell(last["n_classes"].get(measure))])
    names = ["value"] if len(stages) == 1 else [*(STAGE_NAMES[stage] for stage in stages), "change, points"]
    threshold = last["threshold"]
    limit = "a threshold per class" if isinstance(threshold, list) else f"threshold {threshold:g}"
    note = f"Means over the learned classes that are defined; {limit} where a measure needs one."
    columns = [text_column("measure"), *map(Column, [*names, "classes"])]
    return Table(f"Means over classes on {scores.split}", columns, lines, note)


def stages_table(scores: StageScores, better: Mapping[str, str]) -> Table:
    """Return stages × measures.

    Args:
        scores: scores of the split.
        better: the better stage by measure, where a difference was found.
    """
    titles = measure_titles(scores.last["macro"])
    lines = [
        [TableCell(STAGE_NAMES[stage])]
        + [number_cell(metrics["macro"].get(measure), best=better.get(measure) == stage) for measure in titles]
        for stage, metrics in scores.stages.items()
    ]
    best = "higher, where a 95 % interval of the change over patients shows it" if len(scores.stages) == 2 else ""
    columns = [text_column("stage"), *map(Column, titles.values())]
    return Table(f"Means over classes on {scores.split}", columns, lines, about_classes(scores), best)


def about_classes(scores: StageScores) -> str:
    """Return sentences on the classes outside the means and those with too few samples for a headline."""
    parts = []
    if scores.not_learned:
        parts.append(f"Not learned, and outside all means: {first_few(scores.not_learned, most=12)}.")
    if scores.rare:
        counts = first_few([f"{name} ({count})" for name, count in scores.rare.items()], most=12)
        parts.append(f"Fewer than {MIN_KNOWN} known positives or negatives on {scores.split}: {counts}.")
    return " ".join(parts)


def classes_table(
    scores: StageScores, intervals: Mapping[str, Any] | None = None, *, knows_patients: bool = True
) -> Table:
    """Return every class, the most frequent in training first.

    Args:
        scores: scores of the split.
        intervals: intervals over patients after the last stage, from `describe_intervals`.
        knows_patients: whether the resampled groups are patients; else the note says that they are rows.
    """
    group_of = {name: group for group, about in scores.last["groups"].items() for name in about["labels"]}
    group_of |= dict.fromkeys(scores.not_learned, "not learned")
    by_label = [{row["label"]: row for row in metrics["per_class"]} for metrics in scores.stages.values()]
    lines = []
    for label in scores.labels:
        rows = [rows[label] for rows in by_label]
        cells = [TableCell(label), TableCell(group_of.get(label, "")), *map(count_cell, _positives(rows[-1]))]
        lines.append([*cells, *_measure_cells(rows), *_interval_cells(intervals, label)])
    columns = [text_column("class"), text_column("group", pages_only=True), Column("train +")]
    columns += [Column(f"{scores.split} +"), *_measure_columns(scores)]
    columns += [] if intervals is None else [Column(f"{name} 95 %", pages_only=True) for name in ("AUC", "AP")]
    notes = [_stage_note(scores), _interval_note(scores, intervals, knows_patients), about_classes(scores)]
    caption = f"Every class on {scores.split}, the most frequent in training first"
    return Table(caption, columns, lines, " ".join(filter(None, notes)), sortable=True)


def _positives(row: Metrics) -> tuple[int | None, int]:
    return row["train_pos"], row["n_pos"]


def _interval_cells(intervals: Mapping[str, Any] | None, label: str) -> list[TableCell]:
    """Return the intervals of a class, sorted by their lower ends."""
    if intervals is None:
        return []
    (row,) = (row for row in intervals["per_class"] if row["label"] == label)
    return [fraction_interval_cell(row[measure]) for measure in ("auroc", "ap")]


def _interval_note(scores: StageScores, intervals: Mapping[str, Any] | None, knows_patients: bool) -> str:
    if intervals is None:
        return ""
    stage = f" of {STAGE_NAMES[list(scores.stages)[-1]]}" if len(scores.stages) == 2 else ""
    patients = f"{intervals['resamples']} resamples of {intervals['groups']} patients"
    unknown = "" if knows_patients else f" {NO_PATIENTS}."
    return f"95 %: interval{stage} over {patients}; none under {MIN_KNOWN} known positives or negatives.{unknown}"


def groups_table(scores: StageScores) -> Table:
    """Return the means of head, medium and tail."""
    lines = []
    for name, group in scores.last["groups"].items():
        cut = "–".join(str(count) for count in dict.fromkeys(group["train_pos"] or ()))
        cells = [TableCell(name), TableCell(", ".join(group["labels"]) or "none"), TableCell(cut or UNDEFINED)]
        rows = [metrics["groups"][name] for metrics in scores.stages.values()]
        lines.append([*cells, count_cell(len(group["labels"])), *_measure_cells(rows)])
    columns = [text_column("group"), text_column("labels", pages_only=True), text_column("train +")]
    columns += [Column("classes"), *_measure_columns(scores)]
    by = scores.last.get("groups_by")
    notes = [_stage_note(scores), f"Groups: {by}." if by else "", about_classes(scores)]
    return Table(f"Means over groups of classes on {scores.split}", columns, lines, " ".join(filter(None, notes)))


def _measure_columns(scores: StageScores) -> list[Column]:
    if len(scores.stages) == 1:
        return list(map(Column, measure_titles(per_class=True).values()))
    columns: list[Column] = []
    for name in measure_titles(per_class=True).values():
        meaning = "" if columns else "the change in points"
        columns += [Column(f"{name} 1"), Column(f"{name} 2"), Column("Δ", pages_only=True, meaning=meaning)]
    return columns


def _measure_cells(rows: Sequence[Metrics]) -> list[TableCell]:
    return [
        cell for measure in measure_titles(per_class=True) for cell in _score_cells([row.get(measure) for row in rows])
    ]


def _score_cells(values: Sequence[float | None]) -> list[TableCell]:
    """Return a cell per stage and, after two, their difference in points."""
    return [*map(number_cell, values), *([points_cell(*values)] if len(values) == 2 else [])]


def _stage_note(scores: StageScores) -> str:
    return "1 and 2: after stage 1 and stage 2." if len(scores.stages) == 2 else ""
