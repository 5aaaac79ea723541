"""Results of ``ltml data check`` and ``ltml data stats``: paragraphs and tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ltml.report.page import Column, Prose, Table, TableCell, text_column

MAX_SHOWN = 8
"""Number of faults of one kind that are printed; the JSON has all."""


def check_text(report: Mapping[str, Any]) -> str:
    """Return faults and warnings by kind, then what was checked."""
    parts = [_faults(name, report[name]) for name in ("faults", "warnings") if report[name]]
    return "\n".join([*parts, *_checked(report)])


def stats_blocks(stats: Mapping[str, Any]) -> Iterator[Table | Prose]:
    """Yield labels, the most frequent first, with their counts per split and source; then sentences."""
    order = sorted(stats["labels"], key=lambda name: -stats["splits"]["train"][name]["positive"])
    yield _splits_table(stats, order)
    if len(stats["sources"]) > 1:
        yield _sources_table(stats["sources"], order)
    yield from map(Prose, _summary(stats, order))


def _splits_table(stats: Mapping[str, Any], order: Sequence[str]) -> Table:
    group_of = {name: group for group, members in stats["groups"].items() for name in members}
    group_of |= dict.fromkeys(stats["not_learned"], "not learned")
    lines = [
        [TableCell(name), TableCell(group_of.get(name, "")), *(_count_cell(c[name]) for c in stats["splits"].values())]
        for name in order
    ]
    columns = [text_column("label"), text_column("group"), *map(Column, stats["splits"])]
    return Table("Known positives / known labels per split", columns, lines)


def _sources_table(sources: Mapping[str, Any], order: Sequence[str]) -> Table:
    lines = [[TableCell(name), *(_count_cell(entry["labels"][name]) for entry in sources.values())] for name in order]
    lines.append([TableCell("rows"), *(TableCell(str(entry["rows"]), entry["rows"]) for entry in sources.values())])
    return Table("Known positives / known labels per source", [text_column("label"), *map(Column, sources)], lines)


def _count_cell(counts: Mapping[str, int]) -> TableCell:
    if not counts["known"]:
        return TableCell("unknown")
    return TableCell(f"{counts['positive']}/{counts['known']}", counts["positive"])


def _faults(title: str, faults: Sequence[Mapping[str, str]]) -> str:
    by_kind: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for fault in faults:
        by_kind[fault["kind"]].append(fault)
    lines = [f"{title}: {len(faults)}"]
    for kind, members in sorted(by_kind.items()):
        lines.append(f"  {kind}: {len(members)}")
        lines += [f"    {fault['where']}: {fault['message']}" for fault in members[:MAX_SHOWN]]
        lines += [f"    → {advice}" for advice in dict.fromkeys(fault["advice"] for fault in members) if advice]
        if len(members) > MAX_SHOWN:
            lines.append(f"    … and {len(members) - MAX_SHOWN} more (--json lists all)")
    return "\n".join(lines)


def _checked(report: Mapping[str, Any]) -> Iterator[str]:
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


def _summary(stats: Mapping[str, Any], order: Sequence[str]) -> Iterator[str]:
    ratio = stats["imbalance_ratio"]
    yield "rows: " + _pairs(stats["rows"])
    grouped = stats["patients"] != stats["rows"]
    yield "patients: " + (_pairs(stats["patients"]) if grouped else "no groups given, every row is its own group")
    yield f"groups: {stats['groups_by']}"
    if stats["not_learned"]:
        yield "not learned, because train has no positive or no negative: " + ", ".join(stats["not_learned"])
    yield "imbalance ratio of train: " + (
        "undefined, no class has positives"
        if ratio is None
        else f"{ratio:.1f} (most over fewest positives, of classes that have any)"
    )
    yield "positives per row of train: " + _pairs(stats["labels_per_row"])
    index = {name: c for c, name in enumerate(stats["labels"])}
    pairs = [(stats["cooccurrence"][index[a]][index[b]], a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    often = [f"{a} + {b} {count}" for count, a, b in sorted(pairs, key=lambda pair: -pair[0])[:5] if count]
    yield "most often together in train: " + (", ".join(often) or "no two labels")
    yield "image sizes: " + _sizes(stats["sizes"])


def _sizes(counts: Mapping[str, int]) -> str:
    """Return the commonest sizes with their counts, and of many the range."""
    if len(counts) <= MAX_SHOWN:
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
