"""Plots as inline SVG for pages. Colours come from the page (``s0``, ``s1``, … in CSS).

Series differ in the shape of their marks or the dashes of their lines too, never in colour alone. Every plot has a
title and a description for those who cannot see it, and every mark has its value as a tooltip.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from itertools import pairwise

from markupsafe import Markup

from ltml.report.figures import BarChart, Chart, HeatMap, Key, Mark, Plot, Points, RowChart, Tree
from ltml.report.scales import Scale, shorten, text_width, tick_text
from ltml.report.writers.svg_elements import dot, element, path, picture, plain, style

LETTER = 7.2
"""Width of a letter of a label, in pixels."""
ROW = 24
"""Height of a row of a chart, in pixels."""
SERIES_DISTANCE = 11
"""Distance of series that lie side by side in a row, in pixels."""
MAX_OPACITY = 0.7
"""Opacity of a square of 100 %, on which its number can still be read."""
MIN_SIDE_WITH_NUMBER = 22
"""Side of the smallest square that shows its number, in pixels."""


@singledispatch
def draw_chart(chart: Chart) -> Markup:
    """Return any chart as SVG."""
    raise TypeError(f"no drawing of {type(chart).__name__}")


@draw_chart.register
def _plot(chart: Plot) -> Markup:
    x_scale = Scale(chart.x.low, chart.x.high, 48, chart.width - 10, whole=chart.x.whole)
    y_scale = Scale(chart.y.low, chart.y.high, chart.height - 36, 8)
    parts = [_frame(x_scale, y_scale, chart.x.name, chart.y.name)]
    if chart.diagonal:
        ends = max(chart.x.low, chart.y.low), min(chart.x.high, chart.y.high)
        parts.append(path([(x_scale.at(v), y_scale.at(v)) for v in ends], class_="guide"))
    if chart.vline is not None:
        x = x_scale.at(chart.vline)
        parts.append(path([(x, y_scale.at(v)) for v in (chart.y.low, chart.y.high)], class_="guide"))
    parts += [_draw_mark(mark, x_scale, y_scale) for mark in chart.marks]
    return picture(chart.width, chart.height, chart.title, chart.description, *parts)


@draw_chart.register
def _row_chart(chart: RowChart) -> Markup:
    names, groups = chart.names, chart.groups
    pitch = ROW if chart.join is not None else max(ROW, SERIES_DISTANCE * len(groups) + 8)
    left, bottom = _label_space(names), 10 + pitch * len(names)
    x_scale = Scale(*chart.axis_limits(), left, chart.width - 14)
    parts = [_row_frame(names, x_scale, bottom, chart.axis, pitch)]
    if chart.zero:
        parts.append(path([(x_scale.at(0), 4), (x_scale.at(0), bottom)], class_="zero"))
    if chart.join == "rows":
        parts += [_joined_row(groups, row, x_scale) for row in range(len(names))]
    if chart.join == "series":
        parts += [_joined_series(group, x_scale) for group in groups]
    for number, group in enumerate(groups):
        offset = 0.0 if chart.join is not None else SERIES_DISTANCE * (number - (len(groups) - 1) / 2)
        parts.append(_draw_points(group, x_scale, [_middle(row, pitch) + offset for row in range(len(names))]))
    return picture(chart.width, bottom + 40, chart.title, chart.description, *parts)


@draw_chart.register
def _bar_chart(chart: BarChart) -> Markup:
    left, bottom = _label_space(chart.names), 10 + ROW * len(chart.names)
    x_scale = Scale(*chart.axis_limits(), left, chart.width - 14, log=chart.log)
    parts = [_row_frame(chart.names, x_scale, bottom, chart.axis)]
    for row, (name, total) in enumerate(zip(chart.names, chart.totals(), strict=True)):
        start = 0
        for bars in chart.bars:
            end = start + bars.counts[row]
            text = f"{name}: {end}" if len(chart.bars) == 1 else f"{name}, {bars.name}: {end - start}"
            if end > start:
                parts.append(_bar(x_scale.at(start), x_scale.at(end), _middle(row), bars.series, text))
            start = end
        parts.append(element("text", str(total), class_="value", x=x_scale.at(total) + 6, y=_middle(row) + 4))
    return picture(chart.width, bottom + 40, chart.title, chart.description, *parts)


@draw_chart.register
def _heat_map(chart: HeatMap) -> Markup:
    names = chart.names
    side = chart.side or max(9.0, min(34.0, 480 / max(len(names), 1)))
    left = _label_space(names)
    top = 12 + 0.72 * left  # names of columns are turned
    parts = []
    for row, name in enumerate(names):
        parts.append(_row_label(name, left - 6, top + (row + 0.5) * side + 4))
        x, y = left + (row + 0.5) * side + 4, top - 6
        turned = f"rotate(-55 {plain(x)} {plain(y)})"
        parts.append(element("text", element("title", name), shorten(name), class_="label", x=x, y=y, transform=turned))
    for row in range(len(names)):
        for column in range(len(names)):
            parts.append(_square(chart, row, column, (left + column * side, top + row * side), side))
    width = left + side * len(names) + 0.6 * left
    return picture(width, top + side * len(names) + 6, chart.title, chart.description, *parts)


@draw_chart.register
def _tree(chart: Tree) -> Markup:
    left, bottom = _label_space(chart.names), 10 + ROW * len(chart.names)
    x_scale = Scale(*chart.axis_limits(), left, chart.width - 14)
    parts = [_row_frame(chart.order, x_scale, bottom, chart.axis)]
    for bracket in chart.brackets():
        parts.append(path([(x_scale.at(x), _middle(row)) for x, row in bracket.corners()], class_="branch"))
    return picture(chart.width, bottom + 40, chart.title, chart.description, *parts)


def draw_key(key: Key) -> Markup:
    """Return the small sample of a legend's entry."""
    class_ = style(key.series)
    if key.kind == "line":
        drawn = path([(2.0, 8.0), (24.0, 8.0)], class_=f"line {class_}")
    elif key.kind == "area":
        drawn = element("rect", class_=f"area {class_}", x=3, y=2, width=20, height=12)
    else:
        drawn = dot(key.series, 13, 8.0, class_=f"dot {'hollow ' if key.kind == 'hollow' else ''}{class_}")
    return element("svg", drawn, viewBox="0 0 26 16", width=26, height=16, aria_hidden="true", class_="swatch")


def _label_space(names: Sequence[str]) -> float:
    return 16 + LETTER * max((text_width(shorten(name)) for name in names), default=0)


def _middle(row: float, pitch: float = ROW) -> float:
    return 10 + pitch * (row + 0.5)


def _row_label(name: str, x: float, y: float) -> Markup:
    return element("text", element("title", name), shorten(name), class_="label end", x=x, y=y)


def _frame(x_scale: Scale, y_scale: Scale, x_name: str, y_name: str) -> Markup:
    """Return grid lines, numbers and names of both axes."""
    left, right, bottom = x_scale.start, x_scale.end, y_scale.start
    levels = [(v, y_scale.at(v)) for v in y_scale.ticks()]
    parts = [path([(left, y), (right, y)], class_="grid") for _, y in levels]
    parts += [element("text", tick_text(v), class_="tick end", x=left - 6, y=y + 4) for v, y in levels]
    parts.append(_axis_below(x_scale, bottom, x_name, 29))
    middle = (bottom + y_scale.end) / 2
    turned = f"rotate(-90 9 {plain(middle)})"
    parts.append(element("text", y_name, class_="name middle", x=9, y=middle + 3, transform=turned))
    return Markup("").join(parts)


def _row_frame(names: Sequence[str], x_scale: Scale, bottom: float, axis: str, pitch: float = ROW) -> Markup:
    """Return names on the left, vertical grid lines, and numbers and name of the axis below."""
    parts = [path([(x_scale.at(v), 4), (x_scale.at(v), bottom)], class_="grid") for v in x_scale.ticks()]
    parts += [_row_label(name, x_scale.start - 10, _middle(row, pitch) + 4) for row, name in enumerate(names)]
    return Markup("").join([*parts, _axis_below(x_scale, bottom, axis, 32)])


def _axis_below(scale: Scale, bottom: float, name: str, name_distance: float) -> Markup:
    ticks = [(tick_text(v), scale.at(v)) for v in scale.ticks()]
    parts = [element("text", text, class_="tick middle", x=x, y=bottom + 14) for text, x in ticks]
    parts.append(path([(scale.start, bottom), (scale.end, bottom)], class_="axis"))
    centre = (scale.start + scale.end) / 2
    parts.append(element("text", name, class_="name middle", x=centre, y=bottom + name_distance))
    return Markup("").join(parts)


def _draw_mark(mark: Mark, x_scale: Scale, y_scale: Scale) -> Markup:
    if mark.kind == "steps":
        return _draw_steps(mark, x_scale, y_scale)
    class_ = style(mark.series)
    places = [(x_scale.at(x), y_scale.at(y)) for x, y in zip(mark.x, mark.y, strict=True)]
    if mark.kind == "line":
        return path(places, class_=f"line {class_}")
    if mark.kind == "area":
        return path([*places, places[0]], class_=f"area {class_}")
    pairs = zip(places, mark.titles or [""] * len(places), strict=True)
    dots = (dot(mark.series, x, y, text, class_=f"dot {class_}", size=mark.size) for (x, y), text in pairs)
    return Markup("").join(dots)


def _draw_steps(mark: Mark, x_scale: Scale, y_scale: Scale) -> Markup:
    points = [(x_scale.at(mark.x[0]), y_scale.start)]
    for (left, right), height in zip(pairwise(mark.x), mark.y, strict=True):
        points += [(x_scale.at(left), y_scale.at(height)), (x_scale.at(right), y_scale.at(height))]
    points.append((x_scale.at(mark.x[-1]), y_scale.start))
    return path(points, class_=f"area {style(mark.series)}")


def _joined_row(groups: Sequence[Points], row: int, x_scale: Scale) -> Markup:
    values = [group.values[row] for group in groups]
    return path([(x_scale.at(v), _middle(row)) for v in values if v is not None], class_="joint")


def _joined_series(group: Points, x_scale: Scale) -> Markup:
    """Return a line through the marks of a series, with a gap where a value is missing."""
    places = [None if v is None else (x_scale.at(v), _middle(row)) for row, v in enumerate(group.values)]
    pairs = [[a, b] for a, b in pairwise(places) if a is not None and b is not None]
    return Markup("").join(path(pair, class_=f"thin line {style(group.series)}") for pair in pairs)


def _draw_points(group: Points, x_scale: Scale, heights: Sequence[float]) -> Markup:
    parts, class_ = [], style(group.series)
    spread = group.spread or [None] * len(group.values)
    hollow = group.hollow or [False] * len(group.values)
    for row, (value, half, empty) in enumerate(zip(group.values, spread, hollow, strict=True)):
        if value is None:
            continue
        x, y = x_scale.at(value), heights[row]
        if half is not None:
            ends = [(x_scale.at(value - half), y), (x_scale.at(value + half), y)]
            parts.append(path(ends, class_=f"whisker {class_}"))
        kind = f"dot {'hollow ' if empty else ''}{class_}"
        parts.append(dot(group.series, x, y, group.titles[row], class_=kind))
    return Markup("").join(parts)


def _bar(start: float, end: float, middle: float, series: int, title: str) -> Markup:
    size = {"x": start, "y": middle - 7, "width": end - start, "height": 14, "rx": 2}
    return element("rect", element("title", title), class_=f"bar {style(series)}", **size)


def _square(chart: HeatMap, row: int, column: int, place: tuple[float, float], side: float) -> Markup:
    """Return the square of a pair of names, with its number where there is room for it."""
    (x, y), value = place, chart.values[row][column]
    pair = f"{chart.names[row]}, {chart.names[column]}"
    size = {"x": x, "y": y, "width": side - 1, "height": side - 1}
    if value is None:
        return element("rect", element("title", f"{pair}: undefined"), class_="empty", **size)
    title = element("title", f"{pair}: {chart.text(value) if chart.signed else f'{100 * value:.1f} %'}")
    class_, opacity = "heat" if value >= 0 else "heat negative", f"{MAX_OPACITY * abs(value):.3f}"
    square = element("rect", title, class_=class_, fill_opacity=opacity, **size)
    if side < MIN_SIDE_WITH_NUMBER:
        return square
    middle = {"x": x + (side - 1) / 2, "y": y + side / 2 + 3.5}
    return square + element("text", chart.text(value), class_="tick middle", **middle)
