"""Plots for papers by matplotlib, drawn from the descriptions that pages are drawn from.

Colours suit readers with colour blindness, and series differ in marks or dashes as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from ltml.report.figures import BarChart, Chart, HeatMap, Key, Mark, Plot, Points, RowChart, Tree
from ltml.report.page import Figure, Panel
from ltml.report.scales import shorten, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SINGLE, DOUBLE = 3.35, 6.9
"""Width of one column and of two columns of a paper, in inches."""
MAX_INCHES = 40.0
"""Maximum height of one plot; with more classes their rows shrink."""
SMALL_PER_LINE = 4
"""Maximum number of small plots side by side."""
FONT = 7.0
"""Size of the text, in points."""
LETTER = 0.055
"""Width of a letter of that size, in inches."""
NAME_WIDTH = 30
"""Width in letters to which the label of a row is cut."""
MIN_SQUARE_WITH_NUMBER = 0.15
"""Side of the smallest square that shows its number, in inches."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Colours by Okabe & Ito (2008), grey instead of their yellow, which is faint on white."""
MARKERS = ("o", "s", "D", "^", "v")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (7, 2, 1, 2)))
STYLE: dict[str, Any] = {
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.labelsize": FONT,
    "xtick.labelsize": FONT - 0.5,
    "ytick.labelsize": FONT - 0.5,
    "legend.fontsize": FONT - 0.5,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "patch.linewidth": 0.0,
    "text.parse_math": False,  # a label may hold any character
    "pdf.fonttype": 42,  # whole fonts are embedded, as publishers ask for
    "svg.fonttype": "path",  # a text looks the same wherever it is opened
    "svg.hashsalt": "ltml",  # the same figure has the same bytes
    "savefig.dpi": 300,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.wspace": 0.03,
    "figure.constrained_layout.hspace": 0.03,
}


def draw_figure(figure: Figure) -> Canvas:
    """Return a figure drawn by matplotlib, panels side by side and the legend below; needs `STYLE` to be in use."""
    from matplotlib.figure import Figure as Canvas

    lines = _lines(figure.panels)
    heights = [max(_height(panel.chart, len(lines[0])) for panel in line) for line in lines]
    width = SINGLE if len(lines[0]) == 1 or _is_pair(figure.panels) else DOUBLE
    needed = [_width(panel.chart) for panel in figure.panels]
    canvas = Canvas(figsize=(max([width, *needed]), sum(heights)), layout="constrained")
    grid = canvas.add_gridspec(len(lines), len(lines[0]), height_ratios=heights, width_ratios=_shares(lines[0]))
    for row, line in enumerate(lines):
        for column, panel in enumerate(line):
            axes = canvas.add_subplot(grid[row, column])
            draw_chart(panel.chart, axes)
            axes.set_title(_title(panel, canvas.get_figwidth() / len(lines[0])), loc="left")
    if figure.legend:
        _add_legend(canvas, figure.legend)
    return canvas


def _title(panel: Panel, width: float) -> str:
    """Return the heading with its number behind it, or below it where both do not fit on a line of `width` inches."""
    most = int(0.85 * width / LETTER)
    name = shorten(" ".join(panel.title.split()), most)
    return f"{name}{' ' if text_width(f'{name} {panel.note}') <= most else chr(10)}{panel.note}".strip()


def _lines(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    """Return the panels line by line."""
    most = SMALL_PER_LINE if all(isinstance(panel.chart, Plot) for panel in panels) else 2
    count = min(most, len(panels))
    return [panels[start : start + count] for start in range(0, len(panels), count)]


def _is_pair(panels: Sequence[Panel]) -> bool:
    return len(panels) == 2 and all(isinstance(panel.chart, Plot) for panel in panels)


def _shares(line: Sequence[Panel]) -> list[float]:
    """Return the shares of the width: a map of all pairs needs more than the chart beside it."""
    mixed = len({isinstance(panel.chart, HeatMap) for panel in line}) == 2
    return [1.6 if mixed and isinstance(panel.chart, HeatMap) else 1.0 for panel in line]


def _height(chart: Chart, columns: int) -> float:
    """Return the height of a plot in inches, with the names of its axis."""
    if isinstance(chart, Plot):
        return 2.5 if columns == 1 else 1.55
    if isinstance(chart, HeatMap):
        return min(MAX_INCHES, max(0.8 * SINGLE if len(chart.names) <= 12 else 0.8 * DOUBLE, 0.1 * len(chart.names)))
    return min(MAX_INCHES, 0.55 + _pitch(chart) * len(chart.names))


def _width(chart: Chart) -> float:
    """Return the width in inches that a map of many classes needs; 0 for any other plot."""
    if not isinstance(chart, HeatMap) or len(chart.names) <= 12:
        return 0.0
    return min(MAX_INCHES, max(DOUBLE, 0.12 * len(chart.names)))


def _pitch(chart: Chart) -> float:
    """Return the height of a row in inches."""
    side_by_side = isinstance(chart, RowChart) and chart.join is None
    return max(0.16, 0.08 * len(chart.groups) + 0.06) if side_by_side and isinstance(chart, RowChart) else 0.16


@singledispatch
def draw_chart(chart: Chart, axes: Axes) -> None:  # noqa: ARG001 - of those that are registered
    """Draw any chart on the axes."""
    raise TypeError(f"no drawing of {type(chart).__name__}")


@draw_chart.register(Plot)
def _plot(chart: Plot, axes: Axes) -> None:
    axes.grid(axis="y")
    if chart.diagonal:
        ends = max(chart.x.low, chart.y.low), min(chart.x.high, chart.y.high)
        axes.plot(ends, ends, color="0.6", linewidth=0.6, linestyle=":", label="guide")
    if chart.vline is not None:
        axes.axvline(chart.vline, color="0.6", linewidth=0.6, linestyle=":", label="guide")
    for mark in chart.marks:
        _draw_mark(mark, axes)
    axes.set(xlim=(chart.x.low, chart.x.high), ylim=(chart.y.low, chart.y.high), xlabel=chart.x.name)
    axes.set_ylabel(chart.y.name)
    axes.locator_params(nbins=5)
    if chart.x.whole:
        axes.locator_params(axis="x", integer=True)


def _draw_mark(mark: Mark, axes: Axes) -> None:
    colour = COLOURS[mark.series % len(COLOURS)]
    if mark.kind == "line":
        axes.plot(mark.x, mark.y, color=colour, linestyle=_dashes(mark.series))
    elif mark.kind == "dots":
        axes.plot(mark.x, mark.y, color=colour, linestyle="", marker=_marker(mark.series), markersize=mark.size)
    elif mark.kind == "area":
        axes.fill(mark.x, mark.y, color=colour, alpha=0.2)
    else:
        axes.stairs(mark.y, mark.x, fill=True, color=colour, alpha=0.25)


@draw_chart.register(RowChart)
def _row_chart(chart: RowChart, axes: Axes) -> None:
    _set_rows(axes, chart.names, chart.axis, chart)
    axes.set_xlim(chart.axis_limits())
    if chart.zero:
        axes.axvline(0, color="0.5", linewidth=0.6, label="zero")
    if chart.join == "rows":
        for row in range(len(chart.names)):
            values = [group.values[row] for group in chart.groups]
            defined = [value for value in values if value is not None]
            axes.plot(defined, [row] * len(defined), color="0.7", linewidth=1, label="joint")
    for number, group in enumerate(chart.groups):
        offset = 0.0 if chart.join else (number - (len(chart.groups) - 1) / 2) * 0.8 / len(chart.groups)
        _draw_points(group, [row + offset for row in range(len(chart.names))], axes, joined=chart.join == "series")


def _draw_points(group: Points, heights: Sequence[float], axes: Axes, *, joined: bool) -> None:
    """Draw the marks of a series, their whiskers, and a line through them that is broken where a value is missing."""
    colour = COLOURS[group.series % len(COLOURS)]
    if joined:
        values = [math.nan if value is None else value for value in group.values]
        dashes = _dashes(group.series)
        axes.plot(values, heights, label="joint", color=colour, linestyle=dashes, linewidth=0.8, alpha=0.75)
    spread = group.spread or [None] * len(group.values)
    hollow = group.hollow or [False] * len(group.values)
    cells = zip(group.values, heights, spread, hollow, strict=True)
    rows = [(value, y, half, empty) for value, y, half, empty in cells if value is not None]
    for value, y, half, _ in rows:
        if half is not None:
            axes.hlines(y, value - half, value + half, color=colour, alpha=0.6, linewidth=1)
    axes.scatter(
        [value for value, *_ in rows],
        [y for _, y, *_ in rows],
        s=14,
        marker=_marker(group.series),
        linewidths=0.9,
        edgecolors=colour,
        facecolors=["white" if empty else colour for *_, empty in rows],
        zorder=3,
    )


@draw_chart.register(BarChart)
def _bar_chart(chart: BarChart, axes: Axes) -> None:
    rows = list(range(len(chart.names)))
    _set_rows(axes, chart.names, chart.axis, chart)
    if chart.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_xlim(chart.axis_limits())
    starts = [0] * len(rows)
    for bars in chart.bars:
        axes.barh(rows, bars.counts, left=starts, height=0.65, color=COLOURS[bars.series % len(COLOURS)])
        starts = [start + count for start, count in zip(starts, bars.counts, strict=True)]
    for row, total in enumerate(starts):
        place = (max(total, chart.axis_limits()[0]), row)
        axes.annotate(str(total), place, (3, 0), textcoords="offset points", va="center", fontsize=FONT - 1.5)


@draw_chart.register(HeatMap)
def _heat_map(chart: HeatMap, axes: Axes) -> None:
    import matplotlib as mpl
    import numpy as np

    count = len(chart.names)
    colours = mpl.colormaps["RdBu_r" if chart.signed else "Blues"].with_extremes(bad="0.85")
    values = np.array(chart.values, dtype=np.float64).reshape(count, count)
    image = axes.imshow(values, cmap=colours, vmin=-1 if chart.signed else 0, vmax=1)
    side = _side(chart)
    size = min(FONT - 0.5, 72 * 0.9 * side)
    axes.set_xticks(range(count), [_label(name) for name in chart.names], rotation=90, fontsize=size)
    axes.set_yticks(range(count), [_label(name) for name in chart.names], fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    label = "cosine similarity" if chart.signed else "% of the row's positives"
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.75, aspect=25, pad=0.02, label=label)
    bar.outline.set_visible(False)
    factor, digits = (1, 1) if chart.signed else (100, 0)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{factor * value:.{digits}f}".replace("-", "−"))
    if side >= MIN_SQUARE_WITH_NUMBER * (1.6 if chart.signed else 1.0):
        _write_values(chart, axes)


def _side(chart: HeatMap) -> float:
    """Return the approximate side of a square in inches, beside the names and the colour bar."""
    names = 0.1 + LETTER * max((text_width(_label(name)) for name in chart.names), default=0)
    room = min(max(SINGLE, _width(chart)) - 0.65 - names, _height(chart, 1) - names)
    return room / max(len(chart.names), 1)


def _write_values(chart: HeatMap, axes: Axes) -> None:
    for row, line in enumerate(chart.values):
        for column, value in enumerate(line):
            if value is not None:
                colour = "white" if abs(value) > 0.6 else "black"
                text = chart.text(value)
                axes.text(column, row, text, ha="center", va="center", fontsize=FONT - 1.5, color=colour)


@draw_chart.register(Tree)
def _tree(chart: Tree, axes: Axes) -> None:
    _set_rows(axes, chart.order, chart.axis, chart)
    axes.set_xlim(chart.axis_limits())
    for bracket in chart.brackets():
        distances, rows = zip(*bracket.corners(), strict=True)
        axes.plot(distances, rows, color=COLOURS[0], linewidth=1)


def _set_rows(axes: Axes, names: Sequence[str], axis: str, chart: Chart) -> None:
    """Write the names on the left, the first at the top, and the name of the axis below."""
    pitch = (_height(chart, 1) - 0.55) / max(len(names), 1)
    size = min(FONT - 0.5, 72 * 0.9 * pitch)
    axes.set_yticks(range(len(names)), [_label(name) for name in names], fontsize=size)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(axis)


def _add_legend(canvas: Canvas, keys: Sequence[Key]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for key in keys:
        colour, name = COLOURS[key.series % len(COLOURS)], _label(key.name)
        if key.kind == "area":
            handles.append(Patch(color=colour, alpha=0.25, label=name))
        elif key.kind == "line":
            handles.append(Line2D([], [], color=colour, linestyle=_dashes(key.series), label=name))
        else:
            face = "white" if key.kind == "hollow" else colour
            marker = _marker(key.series)
            handles.append(Line2D([], [], color=colour, label=name, marker=marker, markerfacecolor=face, linestyle=""))
    letters = max(text_width(_label(key.name)) for key in keys) + 9  # sample and gap
    columns = min(len(handles), max(1, int(canvas.get_figwidth() / (letters * LETTER))))
    lines = math.ceil(len(handles) / columns)
    canvas.set_figheight(canvas.get_figheight() + 0.06 + 0.15 * lines)
    canvas.legend(handles=handles, loc="outside lower center", ncols=columns)


def _label(name: str) -> str:
    """Return a name on one line, cut where it is very long."""
    return shorten(" ".join(name.split()), NAME_WIDTH)


def _dashes(series: int) -> Any:
    return DASHES[series % len(DASHES)]


def _marker(series: int) -> str:
    return MARKERS[series % len(MARKERS)]
