"""Tables and paragraphs as plain text: as wide as a terminal, or on lines of any length for a file or pipe."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ltml.report.page import Prose, Table, TableCell

GAP = 2
"""Number of spaces between columns."""
NARROW_TEXT = 16
"""Width in characters that text columns may be wrapped to, so that more numeric columns fit beside them."""
NARROWEST_TEXT = 8
"""Width in characters below which no text column is wrapped: longer lines are better than letters in a column."""
LONGEST_WORD = 24
"""Width in characters from which on a single word of a numeric column's heading is wrapped."""


@dataclass(frozen=True, eq=False)
class _Strip:
    """A column with its cells as text, `width` characters wide."""

    name: str
    numeric: bool
    cells: Sequence[str]
    width: int


def to_terminal(blocks: Iterable[Table | Prose], width: int | None = None) -> str:
    """Return tables and paragraphs as text. No name and no number is cut.

    Args:
        blocks: tables and paragraphs, in order.
        width: characters per line; None for a file or pipe, where nothing is wrapped.
    """
    parts: list[str] = []
    for block in blocks:
        if isinstance(block, Table):
            parts += ["", _table(block, width), ""]
        else:
            parts.append(_wrap(block.text, width))
    return "\n".join(parts).replace("\n\n\n", "\n\n").strip("\n")


def _table(table: Table, width: int | None) -> str:
    shown = [index for index, column in enumerate(table.columns) if not column.pages_only]
    strips = [
        _natural(table.columns[index].name, table.columns[index].numeric, [_text(row[index]) for row in table.rows])
        for index in shown
    ]
    grids = [_grid(part) for part in _parts(strips, width)]
    explanation = table.explanation("*", pages=False)
    return "\n".join([_wrap(table.caption, width), *grids, *([_wrap(explanation, width)] if explanation else [])])


def _text(cell: TableCell) -> str:
    return " ".join(cell.text.split()) + ("*" if cell.best else "") + cell.mark


def _natural(name: str, numeric: bool, cells: Sequence[str]) -> _Strip:
    return _Strip(name, numeric, cells, max(map(cell_len, (name, *cells))))


def _parts(strips: Sequence[_Strip], width: int | None) -> list[list[_Strip]]:
    """Split numeric columns that do not fit side by side; every part begins with the text columns."""
    if width is None or _total(strips) <= width:
        return [list(strips)]
    strips = _wrap_headings(strips, width)
    texts = [replace(strip, width=min(strip.width, NARROW_TEXT)) for strip in strips if not strip.numeric]
    parts: list[list[_Strip]] = [[]]
    for strip in (strip for strip in strips if strip.numeric):
        if parts[-1] and _total([*texts, *parts[-1], strip]) > width:
            parts.append([])
        parts[-1].append(strip)
    return [_fit([strip for strip in strips if not strip.numeric or strip in part], width) for part in parts]


def _wrap_headings(strips: Sequence[_Strip], width: int) -> list[_Strip]:
    """Wrap the headings of numeric columns until the line fits, the longest first."""
    shown = list(strips)
    for strip in sorted(
        (strip for strip in strips if strip.numeric), key=lambda strip: _narrow(strip).width - strip.width
    ):
        if _total(shown) > width:
            shown[shown.index(strip)] = _narrow(strip)
    return shown


def _narrow(strip: _Strip) -> _Strip:
    """Return a numeric column whose heading is wrapped between words."""
    words = (min(cell_len(word), LONGEST_WORD) for word in strip.name.split())
    return replace(strip, width=max([*map(cell_len, strip.cells), *words]))


def _fit(strips: list[_Strip], width: int) -> list[_Strip]:
    """Wrap the widest text columns until the line fits."""
    while _total(strips) > width:
        widest = max((strip for strip in strips if not strip.numeric), key=lambda strip: strip.width)
        if widest.width <= NARROWEST_TEXT:
            break
        strips = [replace(strip, width=strip.width - 1) if strip is widest else strip for strip in strips]
    return strips


def _total(strips: Sequence[_Strip]) -> int:
    return sum(strip.width for strip in strips) + GAP * (len(strips) - 1)


def _grid(strips: Sequence[_Strip]) -> str:
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for strip in strips:
        grid.add_column(
            Text(strip.name), justify="right" if strip.numeric else "left", width=strip.width, overflow="fold"
        )
    for row in zip(*(strip.cells for strip in strips), strict=True):
        grid.add_row(*map(Text, row))
    file = io.StringIO()
    Console(file=file, width=_total(strips) + GAP, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _wrap(text: str, width: int | None) -> str:
    if width is None:
        return text
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))
