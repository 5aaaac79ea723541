"""Plots as inline SVG: pure functions from numbers to markup. Colours come from the page (``s0``, ``s1``, … in CSS).

Series differ in the shape of their marks or the dashes of their lines too, never in colour alone. Every plot has a
title and a description for those who cannot see it, and every mark says its value when pointed at.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from markupsafe import Markup, escape

SERIES = 8
"""Colours, shapes and dashes before they repeat."""
NAME_WIDTH = 22
"""Letters of a label that are shown; all of it when pointed at."""
LETTER = 7.2
"""Width of a letter at the size of labels."""
ROW = 24
"""Height of a row of a chart with a label per row."""
APART = 11
"""Distance of series that lie side by side in a row."""

TICK_SPACE = 42
"""Least distance of numbers along an axis."""
DENSEST = 0.7
"""Opacity of a square of 100 %, on which its number can still be read."""

Number = float | None


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """One SVG element; text and values are escaped, ``None`` attributes left out, ``class_`` is ``class``."""
    shown = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    start = Markup("").join(Markup(' {}="{}"').format(key, _plain(value)) for key, value in shown.items())
    inner = Markup("").join(escape(child) for child in children)
    tag = Markup(name)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, start, inner) if inner else Markup("<{}{}/>").format(tag, start)


def picture(width: float, height: float, title: str, description: str, *children: Markup) -> Markup:
    """An SVG of its own size that scales with its place, with a text alternative."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        viewBox=f"0 0 {_plain(width)} {_plain(height)}",
        width=width,
        height=height,
        role="img",
    )


@dataclass(frozen=True)
class Scale:
    """From values to places on an axis.

    Attributes:
        low: value at `start`.
        high: value at `end`.
        start: place.
        end: place.
        log: equal ratios are equal distances; values below `low` are put at its place.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Place of a value."""
        if self.log:
            low, high, value = math.log(self.low), math.log(self.high), math.log(max(value, self.low))
        else:
            low, high = self.low, self.high
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the axis: multiples of 1, 2 or 5 as many as have room, or powers of ten."""
        if self.log:
            exponents = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**exponent for exponent in exponents]
        room = max(3.0, abs(self.end - self.start) / TICK_SPACE)
        step = round_step((self.high - self.low) / room)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * count for count in range(first, last + 1)]


def round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= rough * (1 - 1e-9))


def fit_limits(values: Iterable[Number], *, include: Sequence[float] = ()) -> tuple[float, float]:
    """Lowest and highest of values with a margin; a range of their own for equal values or none."""
    there = [value for value in [*values, *include] if value is not None and math.isfinite(value)]
    low, high = (min(there), max(there)) if there else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def shorten(text: str, width: int = NAME_WIDTH) -> str:
    """The text, cut off with an ellipsis where it is wider than so many letters; CJK letters are two wide."""
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def tick_text(value: float) -> str:
    """``0.2``, ``1000``, ``−3``: as short as it can be."""
    return f"{value:.6g}".replace("-", "−")


class Mark(NamedTuple):
    """A series of a panel.

    Attributes:
        kind: ``line`` through the points; ``dots`` at them; ``shape``, what they go round; ``steps``, bars whose edges
            are `x` (one more than `y`).
        x: places.
        y: values.
        series: number of its colour, shape and dashes.
        titles: what each dot says when pointed at; empty for nothing.
        size: of a dot.
    """

    kind: Literal["line", "dots", "shape", "steps"]
    x: Sequence[float]
    y: Sequence[float]
    series: int
    titles: Sequence[str] = ()
    size: float = 3.4


class Axis(NamedTuple):
    """Name and limits of an axis of a panel."""

    name: str
    low: float
    high: float


def panel(
    title: str,
    description: str,
    marks: Sequence[Mark],
    x: Axis,
    y: Axis,
    *,
    width: float = 250,
    height: float = 196,
    diagonal: bool = False,
    upright: float | None = None,
) -> Markup:
    """A small plot of lines, dots, shapes and bars.

    Args:
        title: what it shows, read out.
        description: what there is to see in it.
        marks: drawn in order.
        x: axis.
        y: axis.
        width: in pixels.
        height: in pixels.
        diagonal: a thin line where y is x.
        upright: where a thin upright line stands.
    """
    across = Scale(x.low, x.high, 48, width - 10)
    up = Scale(y.low, y.high, height - 36, 8)
    parts = [_frame(across, up, x.name, y.name)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(_path([(across.at(v), up.at(v)) for v in (low, high)], class_="guide"))
    if upright is not None:
        parts.append(_path([(across.at(upright), up.at(v)) for v in (y.low, y.high)], class_="guide"))
    parts += [_draw_mark(mark, across, up) for mark in marks]
    return picture(width, height, title, description, *parts)


class Points(NamedTuple):
    """A series of a row chart.

    Attributes:
        name: of the series.
        values: one per row; None where there is none.
        series: number of its colour, shape and dashes.
        spread: half the length of each whisker; None for no whiskers.
        hollow: which marks are not filled; None fills all.
        titles: what each mark says when pointed at.
    """

    name: str
    values: Sequence[Number]
    series: int
    titles: Sequence[str]
    spread: Sequence[Number] | None = None
    hollow: Sequence[bool] | None = None


def row_chart(
    title: str,
    description: str,
    names: Sequence[str],
    groups: Sequence[Points],
    axis: str,
    *,
    width: float = 640,
    limits: tuple[float, float] | None = None,
    zero: bool = False,
    join: Literal["rows", "series"] | None = None,
) -> Markup:
    """Marks along a line per name.

    Args:
        title: what it shows, read out.
        description: what there is to see in it.
        names: of the rows, from the top.
        groups: the series.
        axis: name of the axis below.
        width: in pixels.
        limits: of the axis; by default what the marks need.
        zero: draw a line at 0.
        join: connect the marks of each row, or those of each series; otherwise they lie side by side in their row.
    """
    pitch = ROW if join is not None else max(ROW, APART * len(groups) + 8)
    left, bottom = _label_space(names), 10 + pitch * len(names)
    across = Scale(*(limits or fit_limits(row_ends(groups))), left, width - 14)
    parts = [_row_frame(names, across, bottom, axis, pitch)]
    if zero:
        parts.append(_path([(across.at(0), 4), (across.at(0), bottom)], class_="zero"))
    if join == "rows":
        parts += [_joined_row(groups, row, across) for row in range(len(names))]
    if join == "series":
        parts += [_joined_series(group, across) for group in groups]
    for number, group in enumerate(groups):
        offset = 0.0 if join is not None else APART * (number - (len(groups) - 1) / 2)
        parts.append(_draw_points(group, across, [_middle(row, pitch) + offset for row in range(len(names))]))
    return picture(width, bottom + 40, title, description, *parts)


def row_ends(groups: Sequence[Points]) -> list[float]:
    """Every value with the ends of its whiskers, for limits that several charts share."""
    ends = []
    for group in groups:
        spread = group.spread or [None] * len(group.values)
        pairs = [(value, half or 0.0) for value, half in zip(group.values, spread, strict=True) if value is not None]
        ends += [end for value, half in pairs for end in (value - half, value + half)]
    return ends


def bar_chart(
    title: str, description: str, names: Sequence[str], values: Sequence[int], axis: str, *, width: float = 640
) -> Markup:
    """Bars of counts along a logarithmic axis, each with its number; none for 0."""
    left, bottom = _label_space(names), 10 + ROW * len(names)
    highest = max([10, *values])
    across = Scale(0.8, highest * 1.6, left, width - 14, log=True)
    parts = [_row_frame(names, across, bottom, axis)]
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        end, middle = across.at(value), _middle(row)
        text = f"{name}: {value}"
        if value:
            bar = {"x": left, "y": middle - 7, "width": end - left, "height": 14, "rx": 2}
            parts.append(element("rect", element("title", text), class_="bar s0", **bar))
        parts.append(element("text", str(value), class_="value", x=end + 6, y=middle + 4))
    return picture(width, bottom + 40, title, description, *parts)


def heat_map(
    title: str, description: str, names: Sequence[str], values: Sequence[Sequence[Number]], *, side: float | None = None
) -> Markup:
    """Squares of shares in [0, 1] of a row's name with a column's; numbers in percent where they have room.

    Args:
        title: what it shows, read out.
        description: what there is to see in it.
        names: of rows and columns.
        values: ``C × C``, None where undefined.
        side: of a square; by default as large as fits.
    """
    side = side or max(9.0, min(34.0, 480 / max(len(names), 1)))
    left = _label_space(names)
    top = 12 + 0.72 * left  # names of columns are turned
    parts = []
    for row, name in enumerate(names):
        parts.append(_row_label(name, left - 6, top + (row + 0.5) * side + 4))
        x, y = left + (row + 0.5) * side + 4, top - 6
        turned = f"rotate(-55 {_plain(x)} {_plain(y)})"
        parts.append(element("text", element("title", name), shorten(name), class_="label", x=x, y=y, transform=turned))
    for row, a in enumerate(names):
        for column, b in enumerate(names):
            place = (left + column * side, top + row * side)
            parts.append(_square(a, b, values[row][column], place, side))
    width = left + side * len(names) + 0.6 * left
    return picture(width, top + side * len(names) + 6, title, description, *parts)


def tree(
    title: str,
    description: str,
    names: Sequence[str],
    merges: Sequence[Sequence[float]],
    order: Sequence[str],
    axis: str,
    *,
    width: float = 560,
) -> Markup:
    """A dendrogram: leaves on the left, a bracket per merge at its distance.

    Args:
        title: what it shows, read out.
        description: what there is to see in it.
        names: of the leaves by number.
        merges: ``[left, right, distance, size]`` as scipy's linkage matrix has it.
        order: the names from the top.
        axis: name of the axis below.
        width: in pixels.
    """
    left, bottom = _label_space(names), 10 + ROW * len(names)
    highest = max(distance for _, _, distance, _ in merges)
    across = Scale(0.0, 1.05 * highest or 1.0, left, width - 14)
    parts = [_row_frame(order, across, bottom, axis)]
    places = {number: (0.0, _middle(order.index(name))) for number, name in enumerate(names)}
    for i, (a, b, distance, _) in enumerate(merges):
        (start_a, y_a), (start_b, y_b) = places[int(a)], places[int(b)]
        points = [(start_a, y_a), (distance, y_a), (distance, y_b), (start_b, y_b)]
        parts.append(_path([(across.at(x), y) for x, y in points], class_="branch"))
        places[len(names) + i] = (distance, (y_a + y_b) / 2)
    return picture(width, bottom + 40, title, description, *parts)


def swatch(kind: Literal["line", "dots", "hollow", "area"], series: int) -> Markup:
    """A small sample of a series for a legend."""
    line, y = [(2.0, 8.0), (24.0, 8.0)], 8.0
    drawn = {
        "line": lambda: _path(line, class_=f"line s{series % SERIES}"),
        "dots": lambda: _shape(series, 13, y, class_=f"dot s{series % SERIES}"),
        "hollow": lambda: _shape(series, 13, y, class_=f"dot hollow s{series % SERIES}"),
        "area": lambda: element("rect", class_=f"area s{series % SERIES}", x=3, y=2, width=20, height=12),
    }[kind]()
    return element("svg", drawn, viewBox="0 0 26 16", width=26, height=16, aria_hidden="true", class_="swatch")


def _plain(value: object) -> object:
    """Numbers with one digit after the point at most."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _label_space(names: Sequence[str]) -> float:
    return 16 + LETTER * max((_width(shorten(name)) for name in names), default=0)


def _middle(row: int, pitch: float = ROW) -> float:
    return 10 + pitch * (row + 0.5)


def _path(points: Iterable[tuple[float, float]], **attributes: object) -> Markup:
    steps = " ".join(f"{_plain(float(x))},{_plain(float(y))}" for x, y in points)
    return element("polyline", points=steps, **attributes)


def _row_label(name: str, x: float, y: float) -> Markup:
    return element("text", element("title", name), shorten(name), class_="label end", x=x, y=y)


def _frame(across: Scale, up: Scale, x_name: str, y_name: str) -> Markup:
    """Grid lines, numbers and names of both axes."""
    parts = [_path([(across.start, up.at(v)), (across.end, up.at(v))], class_="grid") for v in up.ticks()]
    parts += [element("text", tick_text(v), class_="tick end", x=across.start - 6, y=up.at(v) + 4) for v in up.ticks()]
    parts += [
        element("text", tick_text(v), class_="tick middle", x=across.at(v), y=up.start + 14) for v in across.ticks()
    ]
    parts.append(_path([(across.start, up.start), (across.end, up.start)], class_="axis"))
    centre = (across.start + across.end) / 2
    parts.append(element("text", x_name, class_="name middle", x=centre, y=up.start + 29))
    turned = f"rotate(-90 9 {_plain((up.start + up.end) / 2)})"
    parts.append(element("text", y_name, class_="name middle", x=9, y=(up.start + up.end) / 2 + 3, transform=turned))
    return Markup("").join(parts)


def _row_frame(names: Sequence[str], across: Scale, bottom: float, axis: str, pitch: float = ROW) -> Markup:
    """Names on the left, upright grid lines, numbers and the axis' name below."""
    parts = [_path([(across.at(v), 4), (across.at(v), bottom)], class_="grid") for v in across.ticks()]
    parts += [
        element("text", tick_text(v), class_="tick middle", x=across.at(v), y=bottom + 14) for v in across.ticks()
    ]
    parts += [_row_label(name, across.start - 10, _middle(row, pitch) + 4) for row, name in enumerate(names)]
    parts.append(_path([(across.start, bottom), (across.end, bottom)], class_="axis"))
    centre = (across.start + across.end) / 2
    parts.append(element("text", axis, class_="name middle", x=centre, y=bottom + 32))
    return Markup("").join(parts)


def _draw_mark(mark: Mark, across: Scale, up: Scale) -> Markup:
    if mark.kind == "steps":
        return _draw_steps(mark, across, up)
    places = [(across.at(x), up.at(y)) for x, y in zip(mark.x, mark.y, strict=True)]
    if mark.kind == "line":
        return _path(places, class_=f"line s{mark.series % SERIES}")
    if mark.kind == "shape":
        return _path([*places, places[0]], class_=f"area s{mark.series % SERIES}")
    titles = mark.titles or [""] * len(places)
    shapes = (
        _shape(mark.series, x, y, text, class_=f"dot s{mark.series % SERIES}", size=mark.size)
        for (x, y), text in zip(places, titles, strict=True)
    )
    return Markup("").join(shapes)


def _draw_steps(mark: Mark, across: Scale, up: Scale) -> Markup:
    points = [(across.at(mark.x[0]), up.start)]
    for left, right, height in zip(mark.x, mark.x[1:], mark.y, strict=False):
        points += [(across.at(left), up.at(height)), (across.at(right), up.at(height))]
    points.append((across.at(mark.x[-1]), up.start))
    return _path(points, class_=f"area s{mark.series % SERIES}")


def _shape(series: int, x: float, y: float, title: str = "", *, class_: str, size: float = 4.2) -> Markup:
    """Circle, square, diamond, triangle or cross, by the series."""
    inner = [element("title", title)] if title else []
    draw = _SHAPES[series % len(_SHAPES)]
    if draw is None:
        return element("circle", *inner, class_=class_, cx=x, cy=y, r=size)
    points = " ".join(f"{_plain(x + size * dx)},{_plain(y + size * dy)}" for dx, dy in draw)
    return element("polygon", *inner, class_=class_, points=points)


_SHAPES: tuple[Sequence[tuple[float, float]] | None, ...] = (
    None,
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    ((0, -1.2), (1.2, 1), (-1.2, 1)),
    ((0, 1.2), (1.2, -1), (-1.2, -1)),
)


def _joined_row(groups: Sequence[Points], row: int, across: Scale) -> Markup:
    values = [group.values[row] for group in groups]
    return _path([(across.at(v), _middle(row)) for v in values if v is not None], class_="joint")


def _joined_series(group: Points, across: Scale) -> Markup:
    """A line through the marks of a series, with a gap where there is none."""
    places = [None if v is None else (across.at(v), _middle(row)) for row, v in enumerate(group.values)]
    pairs = [[a, b] for a, b in pairwise(places) if a is not None and b is not None]
    return Markup("").join(_path(pair, class_=f"thin line s{group.series % SERIES}") for pair in pairs)


def _draw_points(group: Points, across: Scale, heights: Sequence[float]) -> Markup:
    parts = []
    spread = group.spread or [None] * len(group.values)
    hollow = group.hollow or [False] * len(group.values)
    style = f"s{group.series % SERIES}"
    for row, (value, half, empty) in enumerate(zip(group.values, spread, hollow, strict=True)):
        if value is None:
            continue
        y = heights[row]
        if half is not None:
            parts.append(_path([(across.at(value - half), y), (across.at(value + half), y)], class_=f"whisker {style}"))
        class_ = f"dot {'hollow ' if empty else ''}{style}"
        parts.append(_shape(group.series, across.at(value), y, group.titles[row], class_=class_))
    return Markup("").join(parts)


def _square(a: str, b: str, value: Number, place: tuple[float, float], side: float) -> Markup:
    x, y = place
    size = {"x": x, "y": y, "width": side - 1, "height": side - 1}
    if value is None:
        return element("rect", element("title", f"{a}, {b}: undefined"), class_="empty", **size)
    text, opacity = element("title", f"{a}, {b}: {100 * value:.1f} %"), f"{DENSEST * value:.3f}"
    square = element("rect", text, class_="heat", fill_opacity=opacity, **size)
    if side < 22:
        return square
    number = element("text", f"{100 * value:.0f}", class_="tick middle", x=x + (side - 1) / 2, y=y + side / 2 + 3.5)
    return square + number
