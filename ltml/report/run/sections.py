"""A run as a report: changes between stages, classes, data, curves, Gaussians, and how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltml.checksums import DamagedFileError
from ltml.class_counts import imbalance_ratio
from ltml.errors import InputError
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.recipe.show import annotated_yaml
from ltml.report.curves import cooccurrence
from ltml.report.figures import BarChart, Bars, HeatMap, Points, RowChart
from ltml.report.numbers import STAGE_NAMES, UNDEFINED, count_cell, interval, number, points
from ltml.report.page import (
    Block,
    Column,
    Facts,
    Figure,
    Listing,
    Page,
    Panel,
    Prose,
    Section,
    Table,
    TableCell,
    choose_classes,
    drop_empty,
    text_column,
)
from ltml.report.run.data import Run, describe_environment, read_log, read_run_results
from ltml.report.run.figures import (
    curve_figures,
    norm_figure,
    reliability_figure,
    stage_keys,
    training_figure,
    tree_figures,
)
from ltml.report.run.gaussians import gaussian_figure
from ltml.report.run.tables import about_classes, classes_table, groups_table, measures_table, stages_table
from ltml.report.tables.calibration import changes_table, fitted_table
from ltml.stages.calibrate import scale
from ltml.stages.evaluate import read_split_table
from ltml.stages.relations import describe_relations
from ltml.stages.run_directory import read_data_record, read_fingerprint


def run_page(folder: Path) -> Page:
    """Return the report of a run.

    Raises:
        InputError: see `read_run_results`.
    """
    run = read_run_results(folder)
    recipe = run.recipe
    title = f"{recipe.name}, {recipe.method or 'custom'}, seed {recipe.seeds.train}"
    parts = {
        "summary": ("Summary", _summary),
        "classes": ("Every class", _classes),
        "groups": ("Head, medium, tail", _groups),
        "labels": ("Labels", _labels),
        "curves": ("ROC and precision-recall", _curves),
        "calibration": ("Calibration", _calibration),
        "training": ("Training", _training),
        "norms": ("Classifier weights", _norms),
        "gaussians": ("Gaussians", _gaussians),
        "relations": ("Relations between classes", _relations),
        "origin": ("How it was made", _origin),
    }
    sections = [Section(key, name, list(make(run))) for key, (name, make) in parts.items()]
    return Page(title, f"{recipe.description[:1].upper()}{recipe.description[1:]}", drop_empty(sections))


def tables_of_run(folder: Path) -> list[Table]:
    """Return tables as papers have them: stages × measures of every test split, classes and groups of the main one,
    and what calibration changed.

    Raises:
        InputError: see `read_run_results`.
    """
    run = read_run_results(folder)
    return [
        *(stages_table(run.scores_of(split), run.better_stages(split)) for split in run.tests),
        _classes_table(run),
        groups_table(run.scores),
        *_calibration_tables(run),
    ]


def _summary(run: Run) -> Iterator[Block]:
    yield Prose(summary_in_words(run), "lead")
    if len(run.stages) == 1:
        yield Prose(f"Scores are those of stage 1: {run.no_stage2}.")
    if about := about_classes(run.scores):
        yield Prose(about)
    ratio = imbalance_ratio(run.positives.values())
    rows = read_split_table(run.directory)["split"].value_counts()
    facts = [("classes", str(len(run.labels))), *((f"rows of {split}", f"{n}") for split, n in rows.items())]
    if ratio is not None:
        facts.append(("imbalance ratio", f"{ratio:.1f}"))
    yield Facts([*facts, ("loss", run.recipe.loss.type), ("head", run.recipe.head.type)])
    for split in run.tests:
        yield measures_table(run.scores_of(split))


def summary_in_words(run: Run) -> str:
    """Return mean AUC, mAP and the tail's AUC, and which of them stage 2 changed, where the samples suffice."""
    tail = run.scores.last["groups"].get("tail", {"labels": []})["labels"]
    wanted = {"mean AUC": ("auroc", run.labels), "mAP": ("ap", run.labels), "tail AUC": ("auroc", tail)}
    means = {
        name: (measure, kept) for name, (measure, labels) in wanted.items() if (kept := run.scores.supported(labels))
    }
    if not means:
        return f"On {run.split} no learned class has {MIN_KNOWN} known positives and negatives: too few for a headline."
    parts = _changes_in_words(run, means) if len(run.stages) == 2 else [_scores_in_words(run, means)]
    if tail and "tail AUC" not in means:
        parts.append(f"No class of the tail has {MIN_KNOWN} known positives and negatives.")
    if run.scores.rare:
        parts.append(f"These are means over the classes with at least {MIN_KNOWN} known positives and negatives.")
    return " ".join(parts)


def _scores_in_words(run: Run, means: Mapping[str, tuple[str, Sequence[str]]]) -> str:
    (stage,) = run.stages
    shown = [f"{name} {number(run.mean(measure, labels, stage))}" for name, (measure, labels) in means.items()]
    return f"On {run.split}: {', '.join(shown)}."


def _changes_in_words(run: Run, means: Mapping[str, tuple[str, Sequence[str]]]) -> list[str]:
    """Return what changed by more than the uncertainty over patients, and what did not."""
    changes = {name: run.change(measure, labels) for name, (measure, labels) in means.items()}
    texts = {name: f"{name} from {number(c.old)} to {number(c.new)}" for name, c in changes.items()}
    significant = [
        f"{texts[name]} ({points(c.old, c.new)} points, 95 % {interval(c.interval, sign='+')})"
        for name, c in changes.items()
        if c.is_found
    ]
    silent = [texts[name] for name, c in changes.items() if c.interval is not None and not c.is_found]
    untested = [texts[name] for name, c in changes.items() if c.interval is None]
    start = f"From stage 1 to stage 2, on {run.split}: "
    return [
        f"{start}{'; '.join(parts)}{end}"
        for parts, end in (
            (significant, "."),
            (silent, "; other patients might show no change."),
            (untested, "; the change cannot be tested without predictions of several patients."),
        )
        if parts
    ]


def _classes(run: Run) -> Iterator[Block]:
    yield _classes_table(run)
    if len(run.stages) == 2:
        yield _change_figure(run)


def _classes_table(run: Run) -> Table:
    knows_patients = all(predictions.knows_patients for predictions in run.predictions.values())
    return classes_table(run.scores, run.intervals, knows_patients=knows_patients)


def _groups(run: Run) -> Iterator[Block]:
    yield groups_table(run.scores) if run.scores.last["groups"] else Prose("the scores have no groups", "missing")


def _change_figure(run: Run) -> Figure:
    shown, groups = choose_classes(run.labels), []
    for place, (stage, metrics) in enumerate(run.stages.items()):
        by_label = {row["label"]: row["auroc"] for row in metrics["per_class"]}
        values = [by_label[label] for label in shown]
        titles = [f"{label}, {STAGE_NAMES[stage]}: {number(value)}" for label, value in zip(shown, values, strict=True)]
        groups.append(Points(STAGE_NAMES[stage], values, 1 - place, titles))
    title = f"AUC of every class on {run.split} after stage 1 and stage 2"
    chart = RowChart(title, summary_in_words(run), shown, groups, "AUC", join="rows")
    caption = f"AUC of every class on {run.split}, the most frequent in training at the top.{_left_out_classes(run)}"
    return Figure("classes", [Panel(chart)], caption, stage_keys("dots", run.stages))


def _labels(run: Run) -> Iterator[Block]:
    shown = choose_classes(run.labels)
    counts = [run.positives.get(label, 0) for label in shown]
    title = "Known positives of every class in training, logarithmic"
    description = ", ".join(f"{label} {count}" for label, count in zip(shown, counts, strict=True))
    axis = "known positives in training"
    chart = BarChart(title, description, shown, [Bars(axis, counts, 0)], axis)
    yield Figure("labels", [Panel(chart)], f"{title}.{_left_out_classes(run)}")
    if not run.predictions:
        yield Prose(f"Labels that occur together are left out: {_no_predictions(run)}.", "note")
        return
    yield _together_figure(run, shown)


def _together_figure(run: Run, shown: Sequence[str]) -> Figure:
    predictions = next(iter(run.predictions.values()))
    columns = [predictions.label_names.index(label) for label in shown]
    shares = cooccurrence(predictions.targets[:, columns])
    values = [[None if np.isnan(share) else float(share) for share in row] for row in shares]
    title = f"Labels that occur together in {run.split}"
    pairs = [(shares[a, b], shown[a], shown[b]) for a in range(len(shown)) for b in range(len(shown)) if a != b]
    often = sorted((pair for pair in pairs if not np.isnan(pair[0])), reverse=True)[:3]
    description = "Most often: " + ", ".join(f"{100 * share:.0f} % of {a} are {b} too" for share, a, b in often)
    caption = (
        f"Of the samples of {run.split} that are positive for the row's label, the percentage that are positive for "
        f"the column's too, among those where both are known. {description}.{_left_out_classes(run)}"
    )
    return Figure("cooccurrence", [Panel(HeatMap(title, description, shown, values))], caption)


def _no_predictions(run: Run) -> str:
    return f"the predictions of {run.split} do not exist"


def _left_out_classes(run: Run) -> str:
    shown = len(choose_classes(run.labels))
    if shown == len(run.labels):
        return ""
    return f" {shown} of {len(run.labels)} classes are drawn, evenly by frequency; the tables have all."


def _curves(run: Run) -> Iterator[Block]:
    if not run.predictions:
        yield Prose(_no_predictions(run), "missing")
        return
    yield from curve_figures(run.predictions, choose_classes(run.labels), run.split, _left_out_classes(run))


def _calibration(run: Run) -> Iterator[Block]:
    if not run.predictions:
        yield Prose(_no_predictions(run), "missing")
        return
    scaled = {stage: scale(run.predictions[stage], found["labels"]) for stage, found in run.calibrations.items()}
    yield reliability_figure(run.predictions, scaled, run.split)
    if not scaled:
        how = f"`ltml calibrate {run.directory.path}` fits them on val"
        yield Prose(f"Temperature and thresholds have not been fitted; {how}.", "note")
    yield from _calibration_tables(run)
    for found in run.calibrations.values():
        yield fitted_table(found, run.labels)


def _calibration_tables(run: Run) -> Iterator[Table]:
    """Yield what calibration changed, by stage and test split."""
    for found in run.calibrations.values():
        yield from (changes_table(found, split) for split in run.tests if split in found["splits"])


def _training(run: Run) -> Iterator[Block]:
    log = read_log(run.directory.shared, {"epoch", "loss", f"val_{run.recipe.train.select}"})
    yield (
        training_figure(log, run.recipe.train.select)
        if log
        else Prose("Stage 1 has no log: its classifier was fitted to features directly.", "note")
    )
    steps = read_log(run.directory.path / "stage2", {"round", "step", "number"})
    yield _steps_table(steps) if steps else Prose(f"No log of stage 2: {_why_no_log(run)}.", "note")


def _why_no_log(run: Run) -> str:
    return run.no_stage2 if len(run.stages) == 1 else "it trains nothing"


def _steps_table(steps: Sequence[Mapping[str, Any]]) -> Table:
    """Return a line per epoch of stage 2: its round and step, its loss, and validation where a round ends."""
    names = list(dict.fromkeys(name for step in steps for name in step))
    numbers = [name for name in names if name not in ("round", "step", "number", "ends_round", "seconds")]
    lines = [
        [
            TableCell(f"round {step['round']}, {step['step']} {step['number'] + 1}"),
            *(TableCell(_four_digits(step.get(name)), step.get(name)) for name in numbers),
        ]
        for step in steps
    ]
    note = "M: classifier; E: encoder and backbone; bce: everything; adjust: a formula."
    return Table("Stage 2, epoch by epoch", [text_column("step"), *map(Column, numbers)], lines, note)


def _four_digits(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.4g}"


def _norms(run: Run) -> Iterator[Block]:
    shown, more = choose_classes(run.labels), _left_out_classes(run)
    yield norm_figure(run.directory, shown, more) or Prose(_why_no_norms(run), "missing")


def _why_no_norms(run: Run) -> str:
    if not run.directory.checkpoint2.is_file():
        return run.no_stage2
    return f"the classifier of head {run.recipe.head.type} has no weight vector per class of its own"


def _gaussians(run: Run) -> Iterator[Block]:
    if not run.directory.gaussians.is_file():
        method = run.recipe.stage2.method
        why = run.no_stage2 if len(run.stages) == 1 else f"stage2.method={method} fits none"
        yield Prose(why, "missing")
        return
    figure = gaussian_figure(run.directory, choose_classes(run.labels), _left_out_classes(run))
    yield figure or Prose(_why_no_norms(run), "missing")


def _relations(run: Run) -> Iterator[Block]:
    try:
        relations = describe_relations(run.directory.path)
    except DamagedFileError:
        raise
    except InputError as error:
        yield Prose(str(error), "missing")
        return
    yield from tree_figures(relations)


def _where_labels_are(run: Run) -> str:
    if run.directory.shared.parent == run.directory.path.resolve():
        return "the run began from feature files, whose hashes are part of the fingerprint"
    return "the labels come with the data themselves"


def _origin(run: Run) -> Iterator[Block]:
    path, shared = run.directory.path, run.directory.shared
    data = read_data_record(run.directory)
    identity = {"run": path, "stage 1": shared, "data fingerprint": read_fingerprint(path)}
    lines = [[TableCell(name), TableCell(str(value))] for name, value in identity.items()]
    yield Table("Identity of the run", [text_column("part"), text_column("folder or hash")], lines)
    if data["label_files"]:
        lines = [[TableCell(name), TableCell(digest)] for name, digest in data["label_files"].items()]
        yield Table("Files that labels and splits were read from", [text_column("file"), text_column("SHA-256")], lines)
    else:
        yield Prose(f"No label file is on record: {_where_labels_are(run)}.", "note")
    if data["left_out"]:
        lines = [[TableCell(rule), count_cell(count)] for rule, count in data["left_out"].items()]
        yield Table("Rows that were left out", [text_column("rule"), Column("rows")], lines)
    else:
        yield Prose("No rows were left out.", "note")
    yield Listing("Recipe, every field with its meaning", annotated_yaml(run.recipe))
    for name, folder in {"Environment": path, "Environment of stage 1": shared}.items():
        if (folder / "environment.json").is_file():
            yield Listing(name, describe_environment(folder))
