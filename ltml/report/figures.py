"""Descriptions of plots, free of any drawing: `writers.svg` draws them on a page, `writers.plots` for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ltml.report.scales import Number, fit_limits


class Key(NamedTuple):
    """One entry of a legend.

    Attributes:
        kind: what the sample shows: a line, a filled or hollow mark, or a filled area.
        series: number of its colour, shape and dashes.
        name: text beside the sample.
    """

    kind: Literal["line", "dots", "hollow", "area"]
    series: int
    name: str


class Axis(NamedTuple):
    """Name and limits of an axis; `whole` for values that are whole numbers."""

    name: str
    low: float
    high: float
    whole: bool = False


class Mark(NamedTuple):
    """One series of a `Plot`.

    Attributes:
        kind: ``line`` through the points; ``dots`` at them; ``area``, the polygon that they enclose; ``steps``, bars
            whose edges are `x` (one more than `y`).
        x: horizontal values.
        y: vertical values.
        series: number of its colour, shape and dashes.
        titles: tooltip of each dot; empty for none.
        size: radius of a dot in pixels.
    """

    kind: Literal["line", "dots", "area", "steps"]
    x: Sequence[float]
    y: Sequence[float]
    series: int
    titles: Sequence[str] = ()
    size: float = 3.4


@dataclass(frozen=True)
class Plot:
    """Lines, dots, areas and bars over two axes.

    Attributes:
        title: name of the plot, read out by assistive technology.
        description: its main values in words, read out as well.
        marks: series in the order in which they are drawn.
        x: horizontal axis.
        y: vertical axis.
        width: in pixels.
        height: in pixels.
        diagonal: whether a thin line shows where y equals x.
        vline: x at which a thin vertical line stands; None for no line.
    """

    title: str
    description: str
    marks: Sequence[Mark]
    x: Axis
    y: Axis
    width: float = 250
    height: float = 196
    diagonal: bool = False
    vline: float | None = None


class Points(NamedTuple):
    """One series of a `RowChart`.

    Attributes:
        name: of the series.
        values: one per row; None where a row has none.
        series: number of its colour, shape and dashes.
        titles: tooltip of each mark.
        spread: half the length of each whisker; None for no whiskers.
        hollow: which marks are not filled; None fills all.
    """

    name: str
    values: Sequence[Number]
    series: int
    titles: Sequence[str]
    spread: Sequence[Number] | None = None
    hollow: Sequence[bool] | None = None


@dataclass(frozen=True)
class RowChart:
    """Marks along one horizontal line per name.

    Attributes:
        title: name of the chart, read out by assistive technology.
        description: its main values in words, read out as well.
        names: of the rows, from the top.
        groups: series, each with one value per row.
        axis: name of the horizontal axis.
        width: in pixels.
        limits: of the axis; None fits them to the marks.
        zero: whether a line stands at 0.
        join: connects the marks of each row, or those of each series; None puts them side by side in their row.
    """

    title: str
    description: str
    names: Sequence[str]
    groups: Sequence[Points]
    axis: str
    width: float = 640
    limits: tuple[float, float] | None = None
    zero: bool = False
    join: Literal["rows", "series"] | None = None

    def axis_limits(self) -> tuple[float, float]:
        """Return the ends of the axis."""
        return self.limits or fit_limits(row_ends(self.groups))


class Bars(NamedTuple):
    """One series of a `BarChart`: its name, a count per row, and the number of its colour."""

    name: str
    counts: Sequence[int]
    series: int


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars of counts with their totals; series are stacked.

    Attributes:
        title: name of the chart, read out by assistive technology.
        description: its main values in words, read out as well.
        names: of the rows, from the top.
        bars: series, each with one count per row.
        axis: name of the horizontal axis.
        width: in pixels.
        log: whether the axis is logarithmic, which suits a single series only.
    """

    title: str
    description: str
    names: Sequence[str]
    bars: Sequence[Bars]
    axis: str
    width: float = 640
    log: bool = True

    def totals(self) -> list[int]:
        """Return the sum of the series for every row."""
        return [sum(counts) for counts in zip(*(bars.counts for bars in self.bars), strict=True)]

    def axis_limits(self) -> tuple[float, float]:
        """Return the ends of the axis, with room for the number after the longest bar."""
        highest = max([10 if self.log else 1, *self.totals()])
        return (0.8, highest * 1.6) if self.log else (0.0, highest * 1.15)


@dataclass(frozen=True)
class HeatMap:
    """Squares of a value for every pair of names.

    Attributes:
        title: name of the map, read out by assistive technology.
        description: its main values in words, read out as well.
        names: of rows and columns.
        values: ``C × C``, None where undefined.
        signed: whether the values are similarities in [−1, 1]; otherwise they are shares in [0, 1].
        side: of a square in pixels; None for the largest that fits.
    """

    title: str
    description: str
    names: Sequence[str]
    values: Sequence[Sequence[Number]]
    signed: bool = False
    side: float | None = None

    def text(self, value: float) -> str:
        """Format a value as its square shows it: a percentage or a similarity."""
        return f"{value:.2f}".replace("-", "−") if self.signed else f"{100 * value:.0f}"


class Bracket(NamedTuple):
    """One merge of a `Tree`: two branches, each from a distance and a row, that meet at a distance."""

    starts: tuple[float, float]
    rows: tuple[float, float]
    distance: float

    def corners(self) -> list[tuple[float, float]]:
        """Return distance and row of the four corners."""
        (start_a, start_b), (a, b) = self.starts, self.rows
        return [(start_a, a), (self.distance, a), (self.distance, b), (start_b, b)]


@dataclass(frozen=True)
class Tree:
    """A dendrogram with its leaves on the left.

    Attributes:
        title: name of the tree, read out by assistive technology.
        description: its main values in words, read out as well.
        names: of the leaves by number.
        merges: ``[left, right, distance, size]`` as in scipy's linkage matrix.
        order: the names from the top.
        axis: name of the horizontal axis.
        width: in pixels.
    """

    title: str
    description: str
    names: Sequence[str]
    merges: Sequence[Sequence[float]]
    order: Sequence[str]
    axis: str
    width: float = 560

    def axis_limits(self) -> tuple[float, float]:
        """Return the ends of the axis."""
        return 0.0, 1.05 * max(distance for _, _, distance, _ in self.merges) or 1.0

    def brackets(self) -> list[Bracket]:
        """Return the merges with their places; a leaf lies in the row of its name, at distance 0."""
        places = {number: (0.0, float(self.order.index(name))) for number, name in enumerate(self.names)}
        brackets = []
        for number, (left, right, distance, _) in enumerate(self.merges, len(self.names)):
            (start_a, a), (start_b, b) = places[int(left)], places[int(right)]
            brackets.append(Bracket((start_a, start_b), (a, b), distance))
            places[number] = (distance, (a + b) / 2)
        return brackets


Chart = Plot | RowChart | BarChart | HeatMap | Tree


def row_ends(groups: Sequence[Points]) -> list[float]:
    """Return every value with the ends of its whiskers, from which several charts get common limits."""
    ends = []
    for group in groups:
        spread = group.spread or [None] * len(group.values)
        pairs = [(value, half or 0.0) for value, half in zip(group.values, spread, strict=True) if value is not None]
        ends += [end for value, half in pairs for end in (value - half, value + half)]
    return ends
