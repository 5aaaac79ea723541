"""What ``ltml data`` found, as text for a terminal of 80 columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ltml.report.terminal_tables import render

SHOWN = 8
"""Faults of one kind that are printed; all are in the JSON."""


def check_table(report: Mapping[str, Any]) -> str:
    """Faults and warnings by kind, then what was looked at."""
    parts = [_faults(name, report[name]) for name in ("faults", "warnings") if report[name]]
    return "\n".join([*parts, *_looked_at(report)])


def stats_table(found: Mapping[str, Any]) -> str:
    """Labels, most frequent first, with their counts per split and source; then the rest in lines."""
    order = sorted(found["labels"], key=lambda name: -found["splits"]["train"][name]["positive"])
    group_of = {name: group for group, members in found["groups"].items() for name in members}
    group_of |= dict.fromkeys(found["not_learned"], "not learned")
    splits = Table(title="known positives / known labels per split", title_justify="left", box=box.SIMPLE_HEAD)
    splits.add_column("label", min_width=10)
    splits.add_column("group")
    for split in found["splits"]:
        splits.add_column(split, justify="right", no_wrap=True)
    for name in order:
        cells = (f"{counts[name]['positive']}/{counts[name]['known']}" for counts in found["splits"].values())
        splits.add_row(Text(name), group_of.get(name, ""), *cells)
    parts = [render(splits)]
    if len(found["sources"]) > 1:
        parts.append(_sources(found["sources"], order))
    return "\n".join([*parts, *_summary(found, order)])


def _faults(title: str, faults: Sequence[Mapping[str, str]]) -> str:
    by_kind: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for fault in faults:
        by_kind[fault["kind"]].append(fault)
    lines = [f"{title}: {len(faults)}"]
    for kind, members in sorted(by_kind.items()):
        lines.append(f"  {kind}: {len(members)}")
        lines += [f"    {fault['where']}: {fault['message']}" for fault in members[:SHOWN]]
        lines += [f"    → {advice}" for advice in dict.fromkeys(fault["advice"] for fault in members) if advice]
        if len(members) > SHOWN:
            lines.append(f"    … and {len(members) - SHOWN} more (--json lists all)")
    return "\n".join(lines)


def _looked_at(report: Mapping[str, Any]) -> Iterator[str]:
    yield "rows: " + _pairs(report["rows"])
    if report["left_out"]:
        yield "left out: " + _pairs(report["left_out"])
    if report["label_files"]:
        digests = (f"{name} (SHA-256 {digest[:12]}…)" for name, digest in report["label_files"].items())
        yield "label files: " + ", ".join(digests)
    if report["versions"]:
        yield "label version: " + ", ".join(f"{source} {version}" for source, version in report["versions"].items())
    if report["sizes"]:
        yield f"image sizes: {_sizes(report['sizes'])}; modes: {_pairs(report['modes'])}"
    if not report["faults"]:
        yield "no faults" + (", warnings only" if report["warnings"] else "")


def _sources(sources: Mapping[str, Any], order: Sequence[str]) -> str:
    table = Table(title="positives / known per source", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("label", min_width=10)
    for source in sources:
        table.add_column(Text(source), justify="right")
    for name in order:
        counts = [entry["labels"][name] for entry in sources.values()]
        cells = (f"{count['positive']}/{count['known']}" if count["known"] else "unknown" for count in counts)
        table.add_row(Text(name), *cells)
    table.add_row("rows", *(str(entry["rows"]) for entry in sources.values()))
    return render(table)


def _summary(found: Mapping[str, Any], order: Sequence[str]) -> Iterator[str]:
    ratio = found["imbalance_ratio"]
    yield "rows: " + _pairs(found["rows"])
    grouped = found["patients"] != found["rows"]
    yield "patients: " + (_pairs(found["patients"]) if grouped else "no groups given, every row stands alone")
    yield f"groups: {found['groups_by']}"
    if found["not_learned"]:
        yield "not learned, for want of positives or negatives in train: " + ", ".join(found["not_learned"])
    yield "imbalance ratio of train: " + (
        "undefined, no class has positives"
        if ratio is None
        else f"{ratio:.1f} (most over fewest positives, of classes that have any)"
    )
    yield "positives per row of train: " + _pairs(found["labels_per_row"])
    places = {name: c for c, name in enumerate(found["labels"])}
    pairs = [(found["cooccurrence"][places[a]][places[b]], a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    often = [f"{a} + {b} {count}" for count, a, b in sorted(pairs, key=lambda pair: -pair[0])[:5] if count]
    yield "most often together in train: " + (", ".join(often) or "no two labels")
    yield "image sizes: " + _sizes(found["sizes"])


def _sizes(counts: Mapping[str, int]) -> str:
    """Return the commonest sizes with their counts, and of many the range."""
    if len(counts) <= SHOWN:
        return _pairs(counts)
    common = dict(list(counts.items())[:3])
    sides = [[int(side) for side in size.split("×")] for size in counts if "×" in size]
    (widths, heights) = zip(*sides, strict=True)
    return (
        f"{_pairs(common)} and {len(counts) - len(common)} more; widths {min(widths)} to {max(widths)}, "
        f"heights {min(heights)} to {max(heights)} px"
    )


def _pairs(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
