"""Tables of intervals over patients, and of methods compared by their prediction files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.metrics.measures import measure_title, measure_titles
from ltml.report.numbers import (
    change_cell,
    count_cell,
    fraction_interval_cell,
    interval,
    number_cell,
    p_cell,
    spread_cell,
)
from ltml.report.page import Column, Prose, Table, TableCell, text_column


def intervals_table(metrics: Mapping[str, Any], title: str) -> Table:
    """Return AUC and AP of every class and their macro means, of metrics with intervals (``ci``)."""
    ci = metrics["ci"]
    lines = []
    for row, intervals in zip(metrics["per_class"], ci["per_class"], strict=True):
        suffix = " (not learned)" if row["label"] in metrics.get("not_learned", []) else ""
        own = {measure: intervals[measure] for measure in ci["macro"]}  # they also hold the label
        lines.append([TableCell(f"{row['label']}{suffix}"), count_cell(row["n_pos"]), *_cells(row, own)])
    has_all = len(ci["classes"]) == len(ci["per_class"])
    if not has_all:
        lines.append([TableCell("mean"), TableCell(""), *_cells(metrics["macro"], dict.fromkeys(ci["macro"]))])
    if ci["classes"]:
        name = "mean" if has_all else f"mean of {len(ci['classes'])}"
        lines.append([TableCell(name), TableCell(""), *_cells(ci["estimate"], ci["macro"])])
    names = [f"{metrics['split']} +", *(part for name in _resampled(ci).values() for part in (name, _percent(ci)))]
    columns = [text_column("class"), *map(Column, names)]
    return Table(f"{title}: {_about(ci)}", columns, lines, _about_classes(ci))


def predictions_blocks(result: Mapping[str, Any]) -> Iterator[Table | Prose]:
    """Yield macro means with intervals and paired differences, then every class, of `ltml.compare_predictions`."""
    yield from (_macro_table(result, measure) for measure in result["methods"][0]["ci"]["macro"])
    if about := _about_classes(result["methods"][0]["ci"]):
        yield Prose(about)
    yield Prose(
        f"Δ: from '{result['reference']}', with its interval and p by the paired bootstrap (the same resamples for "
        "all methods); Holm: adjusted over the methods."
    )
    yield from (_delong_table(result, method) for method in result["methods"][1:])
    yield Prose(
        "By class: DeLong's test, Holm over classes and methods. It takes rows as independent; if patients have "
        "several, trust the bootstrap."
    )


def _macro_table(result: Mapping[str, Any], measure: str) -> Table:
    ci = result["methods"][0]["ci"]
    lines = []
    for method in result["methods"]:
        versus = None if method["versus"] is None else method["versus"][measure]
        mean = spread_cell({"mean": _mean(method, measure), "sd": None})
        change = _change_cell(versus, "estimate" if ci["classes"] else "difference")
        ends = [TableCell(interval(method["ci"]["macro"][measure]))]
        ends_of_change = TableCell(interval(None if versus is None else versus["interval"], sign="+"))
        tests = [p_cell(versus, kind) for kind in ("p", "p_holm")]
        lines.append([TableCell(method["name"]), mean, *ends, change, ends_of_change, *tests])
    names = (measure_title(measure), _percent(ci), "Δ", _percent(ci), "p", "p Holm")
    return Table(
        f"{measure_title(measure)} in points: {_about(ci)}", [text_column("method"), *map(Column, names)], lines
    )


def _delong_table(result: Mapping[str, Any], method: Mapping[str, Any]) -> Table:
    reference = result["methods"][0]
    lines = []
    for row, other, test in zip(method["per_class"], reference["per_class"], method["delong"], strict=True):
        areas = [spread_cell({"mean": entry["auroc"], "sd": None}) for entry in (other, row)]
        cells = [count_cell(row["n_pos"]), *areas, _change_cell(test), p_cell(test, "p"), p_cell(test, "p_holm")]
        lines.append([TableCell(row["label"]), *cells])
    names = ("positives", reference["name"], method["name"], "Δ", "p", "p Holm")
    caption = f"AUC of every class in points, {method['name']} against {reference['name']}"
    return Table(caption, [text_column("class"), *map(Column, names)], lines)


def _mean(method: Mapping[str, Any], measure: str) -> float | None:
    """Return the macro mean over the classes of the interval, or over all defined classes if it has none."""
    ci = method["ci"]
    mean: float | None = (ci["estimate"] if ci["classes"] else method["macro"])[measure]
    return mean


def _about_classes(ci: Mapping[str, Any]) -> str:
    """Return sentences on the classes that the macro interval leaves out; empty if none."""
    if ci["reason"]:
        return f"The mean has no interval: {ci['reason']}."
    inside, names = ci["classes"], [row["label"] for row in ci["per_class"]]
    texts = []
    if len(inside) < len(names):
        outside = first_few([name for name in names if name not in inside], most=12)
        texts.append(
            f"The interval of the mean, and the mean and Δ beside it, are over the {len(inside)} of {len(names)} "
            f"classes with at least {MIN_KNOWN} known positives and negatives; without: {outside}."
        )
    if ci["macro_resamples"] < ci["resamples"]:
        texts.append(f"{ci['macro_resamples']} of {ci['resamples']} resamples define all of these classes.")
    return " ".join(texts)


def _resampled(ci: Mapping[str, Any]) -> dict[str, str]:
    """Return the measures with intervals over patients, with their titles of a single class."""
    titles = measure_titles(per_class=True)
    return {name: titles.get(name, name) for name in ci["macro"]}


def _about(ci: Mapping[str, Any]) -> str:
    return f"{ci['resamples']} resamples of {ci['groups']} groups ({ci['rows']} rows)"


def _percent(ci: Mapping[str, Any]) -> str:
    return f"{ci['level']:.0%} interval"


def _cells(values: Mapping[str, Any], intervals: Mapping[str, Any]) -> list[TableCell]:
    return [
        cell
        for measure in intervals
        for cell in (number_cell(values[measure]), fraction_interval_cell(intervals[measure]))
    ]


def _change_cell(entry: Mapping[str, Any] | None, key: str = "difference") -> TableCell:
    return change_cell(None if entry is None else {"mean": entry[key], "sd": None})
