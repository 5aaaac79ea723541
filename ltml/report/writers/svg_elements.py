"""SVG elements as markup: text and values are escaped, numbers are short, and series differ in colour and shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

SERIES = 8
"""Number of colours before they repeat."""

_SHAPES: tuple[Sequence[tuple[float, float]] | None, ...] = (
    None,
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    ((0, -1.2), (1.2, 1), (-1.2, 1)),
    ((0, 1.2), (1.2, -1), (-1.2, -1)),
)
"""Corners of the marks by series, as multiples of their size; None for a circle."""


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """Return one SVG element.

    Args:
        name: of the element.
        children: markup, or text that is escaped.
        attributes: values are escaped and None is left out; ``class_`` is ``class``, other underscores are hyphens.
    """
    shown = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    start = Markup("").join(Markup(' {}="{}"').format(key, plain(value)) for key, value in shown.items())
    inner = Markup("").join(escape(child) for child in children)
    tag = Markup(name)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, start, inner) if inner else Markup("<{}{}/>").format(tag, start)


def picture(width: float, height: float, title: str, description: str, *children: Markup) -> Markup:
    """Return a whole SVG with a text alternative; its size in pixels is that before it is scaled."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        viewBox=f"0 0 {plain(width)} {plain(height)}",
        width=width,
        height=height,
        role="img",
    )


def path(points: Iterable[tuple[float, float]], **attributes: object) -> Markup:
    """Return a line through points in pixels."""
    steps = " ".join(f"{plain(float(x))},{plain(float(y))}" for x, y in points)
    return element("polyline", points=steps, **attributes)


def dot(series: int, x: float, y: float, title: str = "", *, class_: str, size: float = 4.2) -> Markup:
    """Return a circle, square, diamond or triangle, by the series; `title` is its tooltip."""
    inner = [element("title", title)] if title else []
    corners = _SHAPES[series % len(_SHAPES)]
    if corners is None:
        return element("circle", *inner, class_=class_, cx=x, cy=y, r=size)
    points = " ".join(f"{plain(x + size * dx)},{plain(y + size * dy)}" for dx, dy in corners)
    return element("polygon", *inner, class_=class_, points=points)


def plain(value: object) -> object:
    """Round a float to one digit after the point; return anything else as it is."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def style(series: int) -> str:
    """Return the CSS class of a series."""
    return f"s{series % SERIES}"
