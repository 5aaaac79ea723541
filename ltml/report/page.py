"""What a report is made of, whatever it is written as: sections of prose, tables and figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ltml.report.figures import Chart, Key

MOST_CLASSES = 60
"""Classes of a figure; of more, some are shown, rare and frequent ones alike."""


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes:
        text: as it is shown.
        value: in full precision, what the column is sorted by; None where it is no number or undefined.
        sd: standard deviation that is shown with the value.
        best: the best of those it is compared with.
        mark: a dagger that the table's note explains, or nothing.
    """

    text: str
    value: float | None = None
    sd: float | None = None
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        caption: what it shows.
        columns: names of the columns.
        rows: as many cells per row as there are columns.
        texts: how many columns from the left hold text; the others hold numbers.
        note: what its marks mean.
        sortable: whether a reader may want it in another order.
    """

    kind: ClassVar[str] = "table"

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    texts: int = 1
    note: str = ""
    sortable: bool = False


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
        tone: ``lead`` for what matters most, ``note`` for an aside or for what is missing and why.
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


def choose_classes(names: Sequence[str], most: int = MOST_CLASSES) -> list[str]:
    """All names, or so many of them evenly over their order."""
    if len(names) <= most:
        return list(names)
    return [names[round(place * (len(names) - 1) / (most - 1))] for place in range(most)]


def typeset(text: str) -> str:
    """``−0.4 ± 0.2`` of ``-0.4±0.2``; nothing has no sign."""
    return re.sub(r"^[-+](0\.0)(?!\d)", r"\1", text).replace("±", " ± ").replace("-", "−")
