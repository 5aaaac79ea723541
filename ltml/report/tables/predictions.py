"""Tables of intervals, and of methods compared by their prediction files, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.report.comparison_tables import change, interval, p_value
from ltml.report.terminal_tables import MEASURES, render

SHOWN = {"auroc": "AUC", "ap": "AP"}


def intervals_table(metrics: Mapping[str, Any], title: str) -> str:
    """AUC and AP of every class and their macro means with intervals, of metrics that have ``ci``."""
    ci = metrics["ci"]
    table = Table(box=box.SIMPLE_HEAD, title=Text(f"{title}: {_about(ci)}"), title_justify="left")
    table.add_column("class", min_width=10)
    for column in ("here+", *(part for name in SHOWN.values() for part in (name, _percent(ci)))):
        table.add_column(column, justify="right", no_wrap=True)
    for row, intervals in zip(metrics["per_class"], ci["per_class"], strict=True):
        apart = " (not learned)" if row["label"] in metrics.get("not_learned", []) else ""
        table.add_row(Text(f"{row['label']}{apart}"), str(row["n_pos"]), *_cells(row, intervals))
    table.add_section()
    everywhere = len(ci["classes"]) == len(ci["per_class"])
    if not everywhere:
        table.add_row("mean", "", *_cells(metrics["macro"], dict.fromkeys(SHOWN)))
    if ci["classes"]:
        own = "mean" if everywhere else f"mean of {len(ci['classes'])}"
        table.add_row(own, "", *_cells(ci["estimate"], ci["macro"]))
    return "\n".join([render(table), *(fill(text, 80) for text in _about_classes(ci))])


def predictions_table(result: Mapping[str, Any]) -> str:
    """Macro means with intervals and paired differences of what `ltml.compare_predictions` gave, then every class."""
    tables = [_macro_table(result, measure) for measure in SHOWN]
    tables += [_delong_table(result, method) for method in result["methods"][1:]]
    macro = (
        f"Δ: from '{result['reference']}', with its interval and p by the paired bootstrap (the same resamples for "
        "all methods); Holm: adjusted over the methods."
    )
    over = [fill(text, 80) for text in _about_classes(result["methods"][0]["ci"])]
    delong = (
        "By class: DeLong's test, Holm over classes and methods. It takes rows as independent; where patients have "
        "several, the bootstrap is the one to trust."
    )
    return "\n".join([*tables[:2], *over, fill(macro, 80), *tables[2:], fill(delong, 80)])


def _macro_table(result: Mapping[str, Any], measure: str) -> str:
    ci = result["methods"][0]["ci"]
    title = Text(f"{MEASURES[measure]} in points: {_about(ci)}")
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("method")
    for column in (MEASURES[measure], _percent(ci), "Δ", _percent(ci), "p", "p Holm"):
        table.add_column(column, justify="right", no_wrap=True)
    for method in result["methods"]:
        versus = None if method["versus"] is None else method["versus"][measure]
        own = [_points(_mean(method, measure)), interval(method["ci"]["macro"][measure])]
        ends = "–" if versus is None else interval(versus["interval"], sign="+")
        tests = [p_value(versus, "p"), p_value(versus, "p_holm")]
        name = "estimate" if ci["classes"] else "difference"
        table.add_row(Text(method["name"]), *own, _change(versus, name), ends, *tests)
    return render(table)


def _delong_table(result: Mapping[str, Any], method: Mapping[str, Any]) -> str:
    reference = result["methods"][0]
    title = Text(f"AUC of every class in points, {method['name']} against {reference['name']}")
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("class", min_width=10)
    for column in ("here+", reference["name"], method["name"], "Δ", "p", "p Holm"):
        table.add_column(Text(column), justify="right")
    for own, other, found in zip(method["per_class"], reference["per_class"], method["delong"], strict=True):
        values = [str(own["n_pos"]), _points(other["auroc"]), _points(own["auroc"])]
        table.add_row(Text(own["label"]), *values, _change(found), p_value(found, "p"), p_value(found, "p_holm"))
    return render(table)


def _mean(method: Mapping[str, Any], measure: str) -> float | None:
    """Return the macro mean over the classes of the interval, or over all that are defined where there is none."""
    ci = method["ci"]
    mean: float | None = (ci["estimate"] if ci["classes"] else method["macro"])[measure]
    return mean


def _about_classes(ci: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of the classes of the macro interval, if anything."""
    if ci["reason"]:
        return [f"The mean has no interval: {ci['reason']}."]
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
    return texts


def _about(ci: Mapping[str, Any]) -> str:
    return f"{ci['resamples']} resamples of {ci['groups']} groups ({ci['rows']} rows)"


def _percent(ci: Mapping[str, Any]) -> str:
    return f"{ci['level']:.0%} interval"


def _cells(values: Mapping[str, Any], intervals: Mapping[str, Any]) -> list[str]:
    pairs = [
        ("–" if values[measure] is None else f"{values[measure]:.3f}", _interval(intervals[measure]))
        for measure in SHOWN
    ]
    return [cell for pair in pairs for cell in pair]


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _change(entry: Mapping[str, Any] | None, name: str = "difference") -> str:
    return change(None if entry is None else {"mean": entry[name], "sd": None})


def _interval(ends: Sequence[float] | None) -> str:
    """``0.812 to 0.853``."""
    return "–" if ends is None else " to ".join(f"{end:.3f}" for end in ends)
