"""Parts of a report, whatever format it is written in: sections of prose, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ltml.report.figures import Chart, Key

MAX_CLASSES = 60
"""Number of classes a figure shows at most: rare and frequent ones at even distances."""


@dataclass(frozen=True)
class TableCell:
    """One entry of a table.

    Attributes:
        text: the text that is printed.
        value: the number in full precision, by which columns are sorted; None for text and undefined scores.
        sd: standard deviation printed with the value.
        best: whether the value is the best of those it is compared with.
        mark: a dagger that the table's note explains, or nothing.
    """

    text: str
    value: float | None = None
    sd: float | None = None
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        numeric: whether it holds numbers, which are aligned on the right and never wrapped.
        pages_only: whether terminals leave it out for want of room.
        meaning: explanation of the heading, printed below the table.
    """

    name: str
    numeric: bool = True
    pages_only: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        caption: what it shows.
        columns: its columns; the first names the rows.
        rows: as many cells per row as there are columns.
        note: sentences printed below it.
        best: what a cell with ``best`` stands out for; empty if no cell can.
        sortable: whether readers of a page can sort it by a column.
    """

    kind: ClassVar[str] = "table"

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[TableCell]]
    note: str = ""
    best: str = ""
    sortable: bool = False

    def explanation(self, emphasis: str = "Bold", *, pages: bool = True) -> str:
        """Return the note, what the columns mean and what stands out, as one paragraph.

        Args:
            emphasis: how the writer shows the best cells.
            pages: whether to explain the columns that only pages have, and emphasis that no cell has.
        """
        columns = [column for column in self.columns if column.meaning and (pages or not column.pages_only)]
        meanings = [f"{column.name}: {column.meaning}." for column in columns]
        has_best = pages or any(cell.best for row in self.rows for cell in row)
        best = [f"{emphasis}: {self.best}."] if self.best and has_best else []
        return " ".join([*([self.note] if self.note else []), *meanings, *best])


def text_column(name: str, *, pages_only: bool = False) -> Column:
    """Return a column of text."""
    return Column(name, numeric=False, pages_only=pages_only)


@dataclass(frozen=True)
class Panel:
    """One plot of a figure.

    Attributes:
        chart: description of the plot.
        title: heading; empty for a plot that stands alone.
        note: number beside the heading.
    """

    chart: Chart
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """Plots that belong together.

    Attributes:
        name: stem of its file, ``precision-recall`` for instance.
        panels: one, or small ones side by side.
        caption: text below the plots.
        legend: one entry per series; empty for a single series.
        wide: whether panels side by side need more room than a small plot.
    """

    kind: ClassVar[str] = "figure"

    name: str
    panels: Sequence[Panel]
    caption: str
    legend: Sequence[Key] = ()
    wide: bool = False


@dataclass(frozen=True)
class Prose:
    """A paragraph.

    Attributes:
        text: plain text.
        tone: ``lead`` for what matters most, ``note`` for an aside, ``missing`` for the reason why a section would be
            empty.
    """

    kind: ClassVar[str] = "prose"

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Facts:
    """Names with their values, side by side."""

    kind: ClassVar[str] = "facts"

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Listing:
    """Long text that is folded away under a heading."""

    kind: ClassVar[str] = "listing"

    summary: str
    text: str


Block = Table | Figure | Prose | Facts | Listing


@dataclass(frozen=True)
class Section:
    """A part with a heading.

    Attributes:
        key: its anchor.
        title: its heading.
        blocks: what is in it, in order.
    """

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: what it is about.
        subtitle: in a line, how it came about.
        sections: in order.
        warning: what nobody may overlook; empty for nothing.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    warning: str = ""


def drop_empty(sections: Sequence[Section]) -> list[Section]:
    """Leave out empty sections; the last section lists those with a reason (`Prose` with the tone ``missing``)."""
    reasons = {
        section.title: block.text
        for section in sections
        for block in section.blocks
        if isinstance(block, Prose) and block.tone == "missing"
    }
    *kept, last = (section for section in sections if section.blocks and section.title not in reasons)
    if not reasons:
        return [*kept, last]
    listed = "; ".join(f"{title} ({reason})" for title, reason in reasons.items())
    return [*kept, replace(last, blocks=[*last.blocks, Prose(f"Not in this report: {listed}.", "note")])]


def choose_classes(names: Sequence[str], limit: int = MAX_CLASSES) -> list[str]:
    """Return all names, or `limit` of them at even distances in their order."""
    if len(names) <= limit:
        return list(names)
    return [names[round(index * (len(names) - 1) / (limit - 1))] for index in range(limit)]
