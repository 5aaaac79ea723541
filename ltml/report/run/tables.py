"""Tables of a run: means, classes and groups after both stages, with what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.metrics.inputs import NO_PATIENTS
from ltml.report.page import Cell, Table, typeset
from ltml.report.run.data import Metrics, Run
from ltml.report.run.figures import STAGE_NAMES
from ltml.report.terminal_tables import MEASURES, PER_CLASS, number, points


def measures_table(split: str, stages: Mapping[str, Metrics]) -> Table:
    """Measures × stages with the change."""
    shown = [stages[stage] for stage in STAGE_NAMES if stage in stages]
    columns = ["measure", *(STAGE_NAMES[stage] for stage in STAGE_NAMES if stage in stages)]
    lines = [
        [
            Cell(name),
            *_score_cells([metrics["macro"][measure] for metrics in shown]),
            Cell(str(shown[-1]["n_classes"][measure]), shown[-1]["n_classes"][measure]),
        ]
        for measure, name in MEASURES.items()
    ]
    change = ["change, points"] if len(shown) == 2 else []
    limit = f"threshold {shown[-1]['threshold']:g} where a measure needs one"
    note = f"Means over the learned classes that are defined; {limit}."
    return Table(f"Means over classes on {split}", [*columns, *change, "classes"], lines, note=note)


def stages_across(run: Run, split: str) -> Table:
    """Stages × measures; of AUC and mAP the better one in bold where a difference was found."""
    stages = run.splits[split]
    shown = {stage: stages[stage]["macro"] for stage in STAGE_NAMES if stage in stages}
    better = _better_stages(run) if split == run.split and len(shown) == 2 else {}
    lines = []
    for stage, means in shown.items():
        cells = [Cell(STAGE_NAMES[stage])]
        for measure in MEASURES:
            best = better.get(measure) == stage
            cells.append(Cell(typeset(number(means[measure])), means[measure], best=best))
        lines.append(cells)
    caption = f"Means over classes on {split}"
    note = f"Bold: higher, where a 95 % interval of the change over patients shows it. {about_classes(run)}".strip()
    note = note if len(shown) == 2 else about_classes(run)
    return Table(caption, ["stage", *MEASURES.values()], lines, note=note)


def _better_stages(run: Run) -> dict[str, str]:
    """The better stage by measure, where a change was found and every class in the mean has samples enough."""
    labels = run.supported(run.labels)
    if run.rare or not labels:
        return {}
    changes = {measure: run.change(measure, labels) for measure in ("auroc", "ap")}
    found = {measure: change for measure, change in changes.items() if change.is_found}
    return {measure: "stage2" if change.new > change.old else "stage1" for measure, change in found.items()}


def about_classes(run: Run) -> str:
    """Which classes stand outside the means, and which have too few samples for a headline."""
    parts = []
    if run.not_learned:
        parts.append(f"Not learned, and outside all means: {first_few(run.not_learned, most=12)}.")
    if run.rare:
        counts = [f"{name} ({count})" for name, count in run.rare.items()]
        parts.append(
            f"Fewer than {MIN_KNOWN} known positives or negatives on {run.split}: {first_few(counts, most=12)}."
        )
    return " ".join(parts)


def classes_table(run: Run) -> Table:
    """Every class, the most frequent in training first, with its intervals over patients."""
    group_of = {name: group for group, about in run.last["groups"].items() for name in about["labels"]}
    group_of |= dict.fromkeys(run.not_learned, "not learned")
    by_label = [{row["label"]: row for row in metrics["per_class"]} for metrics in run.stages.values()]
    lines = []
    for label in run.labels:
        rows = [rows[label] for rows in by_label]
        counts = [Cell("–" if n is None else str(n), n) for n in (rows[0]["train_pos"], rows[0]["n_pos"])]
        cells = [Cell(label), Cell(group_of.get(label, "")), *counts, *_measure_cells(rows)]
        lines.append([*cells, *_interval_cells(run, label)])
    intervals = [] if run.intervals is None else ["AUC 95 %", "AP 95 %"]
    columns = ["class", "group", "train +", f"{run.split} +", *_measure_columns(run), *intervals]
    caption = f"Every class on {run.split}, the most frequent in training first"
    note = " ".join(part for part in (_change_note(run), _interval_note(run), about_classes(run)) if part)
    return Table(caption, columns, lines, texts=2, note=note, sortable=True)


def _interval_cells(run: Run, label: str) -> list[Cell]:
    """Intervals of a class after the last stage; sorted by their lower ends."""
    if run.intervals is None:
        return []
    (found,) = (row for row in run.intervals["per_class"] if row["label"] == label)
    ends = (found["auroc"], found["ap"])
    return [Cell("–") if pair is None else Cell(f"{pair[0]:.3f} to {pair[1]:.3f}", pair[0]) for pair in ends]


def _interval_note(run: Run) -> str:
    if run.intervals is None:
        return ""
    stage = f" of {STAGE_NAMES[list(run.stages)[-1]]}" if len(run.stages) == 2 else ""
    patients = f"{run.intervals['resamples']} resamples of {run.intervals['groups']} patients"
    unknown = "" if all(answers.knows_patients for answers in run.answers.values()) else f" {NO_PATIENTS}."
    return f"95 %: interval{stage} over {patients}; none under {MIN_KNOWN} known positives or negatives.{unknown}"


def groups_table(run: Run) -> Table:
    """Head, medium and tail."""
    lines = []
    for name, group in run.last["groups"].items():
        cut = "–".join(str(count) for count in dict.fromkeys(group["train_pos"] or ()))
        labels = ", ".join(group["labels"]) or "none"
        cells = [Cell(name), Cell(labels), Cell(cut or "–")]
        lines.append([*cells, *_measure_cells([metrics["groups"][name] for metrics in run.stages.values()])])
    columns = ["group", "classes", "train +", *_measure_columns(run)]
    return Table(f"Means over groups of classes on {run.split}", columns, lines, texts=3, note=_group_note(run))


def _group_note(run: Run) -> str:
    by = run.last.get("groups_by")
    parts = [_change_note(run), f"Groups: {by}." if by else "", about_classes(run)]
    return " ".join(part for part in parts if part)


def _measure_columns(run: Run) -> list[str]:
    if len(run.stages) == 1:
        return list(PER_CLASS.values())
    return [part for name in PER_CLASS.values() for part in (f"{name} 1", f"{name} 2", "Δ")]


def _measure_cells(rows: Sequence[Metrics]) -> list[Cell]:
    return [cell for measure in PER_CLASS for cell in _score_cells([row[measure] for row in rows])]


def _score_cells(values: Sequence[float | None]) -> list[Cell]:
    """A cell per stage, and where there are two their difference in points."""
    cells = [Cell(typeset(number(value)), value) for value in values]
    if len(values) == 2:
        old, new = values
        gap = None if old is None or new is None else 100 * (new - old)
        cells.append(Cell(typeset(points(old, new)), gap))
    return cells


def _change_note(run: Run) -> str:
    return "1 and 2: after stage 1 and stage 2; Δ: the change in points." if len(run.stages) == 2 else ""
