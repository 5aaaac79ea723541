"""Tables of a comparison as text: its grid, its rows with what differs, every class, the claims of a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ltml.errors import first_few
from ltml.metrics.bootstrap import MIN_KNOWN
from ltml.report.comparison.data import LEVEL
from ltml.report.oracle import oracle_mark
from ltml.report.terminal_tables import MEASURES, render

COLUMNS = 7
"""Classes side by side in 80 columns, beside the name of a row."""


def grid_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Rows by seed of what `ltml.dry_run` gave, and the count of runs left."""
    seeds = list(dict.fromkeys(cell["seed"] for cell in cells))
    table = Table(box=box.SIMPLE_HEAD, title="seeds: done, begun, to do", title_justify="left")
    table.add_column("data")
    table.add_column("row")
    for seed in seeds:
        table.add_column(str(seed), justify="right", no_wrap=True)
    states = {(cell["data"], cell["row"], cell["seed"]): cell["state"] for cell in cells}
    for data, row in dict.fromkeys((cell["data"], cell["row"]) for cell in cells):
        table.add_row(Text(data), Text(row), *(states[data, row, seed] for seed in seeds))
    left = len({cell["run"] for cell in cells if cell["state"] != "done"})
    return f"{render(table)}\n{left} of {len({cell['run'] for cell in cells})} runs are left"


def rows_table(result: Mapping[str, Any]) -> str:
    """A line per row: mean ± sd over seeds, further means, and the difference from the reference with its p."""
    seeds = len(result["seeds"])
    name = "AUC of the novel class" if result["measure"] == "novel" else MEASURES[result["measure"]]
    about = f"{result['paper'] or result['name']}: {name} in points, {result['split']}, {seeds} seed(s)"
    title = f"{oracle_mark(result)}{about}"
    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left")
    several = len({row["data"] for row in result["rows"]}) > 1
    for column in (["data"] if several else []) + ["row"]:
        table.add_column(column, min_width=12)
    means = list(dict.fromkeys(name for row in result["rows"] for name in row["means"]))
    tests = {"p_holm": "p Holm"} if means else {"p": "p", "p_holm": "p Holm", "p_independent": "p indep."}
    for column in (name, *means, "Δ", *tests.values()):
        table.add_column(column, justify="right", no_wrap=True)
    rounds = any(row.get("rounds") for row in result["rows"])
    if rounds:
        table.add_column("round", justify="right", overflow="fold")
    for row in result["rows"]:
        versus = row["versus"]
        cells = [Text(row["data"])] if several else []
        cells += [Text(row["row"]), Text(spread(row))]
        cells += [Text(spread(row["means"].get(name))) for name in means]
        cells += [Text(change(versus)), *(Text(p_value(versus, kind)) for kind in tests)]
        cells += [Text(rounds_in_words(row))] if rounds else []
        table.add_row(*cells)
    legend = (
        f"Δ: mean ± sd over seeds of the paired difference from '{result['reference']}', over the classes that both "
        "have. p: paired t-test, and adjusted over the rows (Holm); indep.: two-sample t-test."
    )
    legend += " round: of stage 2, the one that val chose, for every seed (0: the M step alone)." if rounds else ""
    return "\n".join([render(table), fill(legend, 80), *(fill(text, 80) for text in _about_classes(result))])


def _about_classes(result: Mapping[str, Any]) -> list[str]:
    """What tells a reader of the means which classes are not in them, or have few samples."""
    texts = [
        f"{data}: not learned by a row, outside all means: {', '.join(labels)}."
        for data, labels in result.get("not_learned", {}).items()
    ]
    for data, found in result.get("rare", {}).items():
        apart = result.get("not_learned", {}).get(data, [])
        counts = [f"{label} ({count})" for label, count in found.items() if label not in apart]
        if counts:
            texts.append(f"{data}: fewer than {MIN_KNOWN} known positives or negatives: {first_few(counts, most=12)}.")
    return texts


def rounds_in_words(row: Mapping[str, Any]) -> str:
    """The chosen rounds of stage 2 by seed, ``0,0,1``; a dash for a row without stage 2."""
    rounds = row.get("rounds")
    return ",".join("?" if number is None else str(number) for number in rounds) if rounds else "–"


def patients_table(result: Mapping[str, Any], data: str) -> str:
    """Intervals over the patients, and the paired bootstrap of the difference from the reference."""
    about, reference = result["patients"][data], result["reference"]
    patients = f"{about['resamples']} resamples of {about['groups']} groups ({about['rows']} rows)"
    table = Table(box=box.SIMPLE_HEAD, title=Text(f"{oracle_mark(result)}{data}: {patients}"), title_justify="left")
    table.add_column("row", min_width=12)
    for column in ("95% interval", "Δ 95% interval", "p", "p Holm"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in (row for row in result["rows"] if row["data"] == data):
        versus = (row["versus"] or {"patients": None})["patients"]
        change_ends = "–" if versus is None else interval(versus["interval"], sign="+")
        tests = [p_value(versus, kind) for kind in ("p", "p_holm")]
        table.add_row(Text(row["row"]), interval(row["interval"]), change_ends, *tests)
    legend = (
        f"Over patients, of the mean over seeds: percentile intervals, and Δ from '{reference}' on the same resamples "
        "(paired bootstrap). The models are as trained: other seeds are the table above."
        f"{interval_classes_in_words([row for row in result['rows'] if row['data'] == data])}"
    )
    return f"{render(table)}\n{fill(legend, 80)}"


def interval_classes_in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence on the classes that intervals over patients leave out, after a blank; empty where none."""
    left_out = dict.fromkeys(
        label
        for row in rows
        for label in (row["per_label"] if row.get("interval_labels") is not None else ())
        if label not in row["interval_labels"]
    )
    if not left_out:
        return ""
    return (
        f" Intervals are over the learned classes with at least {MIN_KNOWN} known positives and negatives, so without "
        f"{first_few(left_out, most=12)}, in the resamples that define them all."
    )


def ranks_table(ranks: Mapping[str, Any]) -> str:
    """Mean ranks over several data and what the test of them says."""
    table = Table(box=box.SIMPLE_HEAD, title=f"rank over {len(ranks['data'])} data (1 is best)", title_justify="left")
    table.add_column("row", min_width=12)
    table.add_column("mean rank", justify="right")
    for rank, name in sorted(zip(ranks["ranks"], ranks["rows"], strict=True)):
        table.add_row(Text(name), f"{rank:.2f}")
    return f"{render(table)}\n{fill(ranks_in_words(ranks), 80)}"


def ranks_in_words(ranks: Mapping[str, Any]) -> str:
    """What the test over data says."""
    if ranks["test"] is None:
        return f"Not tested: too few data ({len(ranks['data'])})."
    if ranks["test"] == "wilcoxon":
        return f"Wilcoxon's signed-rank test over the data: p {p_value(ranks, 'p')}."
    return (
        f"Friedman's test that all are alike: p {p_value(ranks, 'p')}. Mean ranks that differ by "
        f"{ranks['critical_difference']:.2f} or more differ significantly (Nemenyi, level {LEVEL}, all pairs)."
    )


def label_tables(result: Mapping[str, Any]) -> str:
    """Mean over seeds of every class, a few classes side by side."""
    labels = list(dict.fromkeys(label for row in result["rows"] for label in row["per_label"]))
    blocks = [labels[start : start + COLUMNS] for start in range(0, len(labels), COLUMNS)]
    return "\n".join(_label_table(result, block) for block in blocks)


def claims_table(result: Mapping[str, Any]) -> str:
    """A line per claim of the paper and what became of it here."""
    table = Table(box=box.SIMPLE_HEAD, title="claims of the paper, here", title_justify="left")
    table.add_column("claim")
    for column in ("Δ", "p Holm", "verdict"):
        table.add_column(column, justify="right", no_wrap=True)
    for claim in result["claims"]:
        gap = None if claim["difference"] is None else {"mean": claim["difference"], "sd": claim["sd"]}
        table.add_row(Text(claim["text"]), change(gap), p_value(claim, "p_holm"), claim["verdict"])
    return render(table)


def choice(result: Mapping[str, Any]) -> str:
    """What a sweep chose, on what, and how that does on test."""
    chosen = result["chosen"]
    mark = oracle_mark(result) or f"chosen on {chosen['on']}: "
    if chosen["row"] is None:
        return f"{mark}nothing, for no row has every seed"
    return fill(f"{mark}{chosen['row']}; on test {spread(chosen['test'])}", 80)


def failures(result: Mapping[str, Any]) -> str:
    """A line per run that failed."""
    failed = [cell for cell in result["cells"] if cell["state"] == "failed"]
    return "\n".join(f"failed: {cell['data']}: {cell['row']}, seed {cell['seed']}: {cell['error']}" for cell in failed)


def spread(entry: Mapping[str, Any] | None) -> str:
    """``89.1±0.4`` in points of a mean and standard deviation."""
    if entry is None or entry["mean"] is None:
        return "–"
    return f"{100 * entry['mean']:.1f}" + ("" if entry["sd"] is None else f"±{100 * entry['sd']:.1f}")


def change(entry: Mapping[str, Any] | None) -> str:
    """``+0.4±0.2`` in points of a mean difference."""
    if entry is None or entry["mean"] is None:
        return "–"
    return f"{100 * entry['mean']:+.1f}" + ("" if entry["sd"] is None else f"±{100 * entry['sd']:.1f}")


def interval(ends: Sequence[float] | None, *, sign: str = "") -> str:
    """``88.1 to 90.2`` in points."""
    return "–" if ends is None else " to ".join(f"{100 * end:{sign}.1f}" for end in ends)


def p_value(entry: Mapping[str, Any] | None, kind: str) -> str:
    """Three digits after the point, or ``<.001``."""
    if entry is None or entry[kind] is None:
        return "–"
    return "<.001" if entry[kind] < 0.001 else f"{entry[kind]:.3f}"


def _label_table(result: Mapping[str, Any], labels: Sequence[str]) -> str:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("row", min_width=12)
    apart = {label for names in result.get("not_learned", {}).values() for label in names}
    for label in labels:
        table.add_column(Text(f"{label} (not learned)" if label in apart else label), justify="right")
    for row in result["rows"]:
        means = [row["per_label"].get(label, {"mean": None})["mean"] for label in labels]
        table.add_row(Text(row["row"]), *("–" if mean is None else f"{100 * mean:.1f}" for mean in means))
    return render(table)
