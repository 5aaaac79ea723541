"""Numbers as text and as cells of tables: scores, changes in points, intervals, p values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ltml.report.page import TableCell

STAGE_NAMES = {"stage1": "stage 1", "stage2": "stage 2"}
UNDEFINED = "–"


def typeset(text: str) -> str:
    """Return ``−0.4 ± 0.2`` for ``-0.4±0.2``; zero loses its sign."""
    return re.sub(r"^[-+](0\.0)(?!\d)", r"\1", text).replace("±", " ± ").replace("-", "−")


def number(value: float | None) -> str:
    """Return three digits after the point; a dash for None."""
    return UNDEFINED if value is None else typeset(f"{value:.3f}")


def points(old: float | None, new: float | None) -> str:
    """Return the change between two scores in points, ``+1.2``; a dash if one is None."""
    return UNDEFINED if old is None or new is None else typeset(f"{100 * (new - old):+.1f}")


def spread(entry: Mapping[str, Any] | None) -> str:
    """Return ``89.1 ± 0.4`` in points from the keys ``mean`` and ``sd``."""
    return _mean_and_sd(entry, "")


def change(entry: Mapping[str, Any] | None) -> str:
    """Return ``+0.4 ± 0.2`` in points from the keys ``mean`` and ``sd`` of a difference."""
    return _mean_and_sd(entry, "+")


def interval(ends: Sequence[float] | None, *, sign: str = "") -> str:
    """Return ``88.1 to 90.2`` in points."""
    return UNDEFINED if ends is None else typeset(" to ".join(f"{100 * end:{sign}.1f}" for end in ends))


def p_value(entry: Mapping[str, Any] | None, kind: str) -> str:
    """Return the p under the key `kind`: three digits after the point, or ``<.001``."""
    if entry is None or entry[kind] is None:
        return UNDEFINED
    return "<.001" if entry[kind] < 0.001 else f"{entry[kind]:.3f}"


def count_cell(count: int | None) -> TableCell:
    """Return a whole number as a cell."""
    return TableCell(UNDEFINED) if count is None else TableCell(str(count), count)


def number_cell(value: float | None, *, best: bool = False) -> TableCell:
    """Return `number` as a cell."""
    return TableCell(number(value), value, best=best)


def points_cell(old: float | None, new: float | None) -> TableCell:
    """Return `points` as a cell."""
    return TableCell(points(old, new), None if old is None or new is None else 100 * (new - old))


def spread_cell(entry: Mapping[str, Any] | None, *, best: bool = False, mark: str = "") -> TableCell:
    """Return `spread` as a cell; one that is undefined is neither best nor marked."""
    if entry is None or entry["mean"] is None:
        return TableCell(UNDEFINED)
    return TableCell(spread(entry), 100 * entry["mean"], _in_points(entry["sd"]), best, mark)


def change_cell(entry: Mapping[str, Any] | None) -> TableCell:
    """Return `change` as a cell."""
    if entry is None or entry["mean"] is None:
        return TableCell(UNDEFINED)
    return TableCell(change(entry), 100 * entry["mean"], _in_points(entry["sd"]))


def interval_cells(ends: Sequence[float] | None, *, sign: str = "") -> list[TableCell]:
    """Return both ends of an interval in points, a cell each."""
    if ends is None:
        return [TableCell(UNDEFINED)] * 2
    return [TableCell(typeset(f"{100 * end:{sign}.1f}"), 100 * end) for end in ends]


def fraction_interval_cell(ends: Sequence[float] | None) -> TableCell:
    """Return ``0.812 to 0.853`` as a cell, sorted by its lower end."""
    return TableCell(UNDEFINED) if ends is None else TableCell(f"{ends[0]:.3f} to {ends[1]:.3f}", ends[0])


def p_cell(entry: Mapping[str, Any] | None, kind: str) -> TableCell:
    """Return `p_value` as a cell."""
    return TableCell(p_value(entry, kind), None if entry is None else entry[kind])


def _mean_and_sd(entry: Mapping[str, Any] | None, sign: str) -> str:
    if entry is None or entry["mean"] is None:
        return UNDEFINED
    return typeset(f"{100 * entry['mean']:{sign}.1f}" + ("" if entry["sd"] is None else f"±{100 * entry['sd']:.1f}"))


def _in_points(value: float | None) -> float | None:
    return None if value is None else 100 * value
