"""Plots: places that follow from values, text alternatives, nothing that comes out as markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltml.report.figures import Axis, BarChart, Bars, Chart, HeatMap, Mark, Plot, Points, RowChart, Tree
from ltml.report.scales import Scale, fit_limits, shorten, tick_text
from ltml.report.writers.svg import draw_chart
from ltml.report.writers.svg_elements import element

NAMES = ['<b>bold</b> & "so on"', "second", "第三の非常に長い名前ですから切れます"]


def _charts() -> dict[str, Chart]:
    points = [
        Points("a", [1.0, None, 3.0], 0, ["x", "y", "<z>"], spread=[0.5, None, None], hollow=[True, False, False])
    ]
    points.append(Points("b", [2.0, 2.5, 1.0], 1, ["x", "y", "z"]))
    axes = Axis("across", 0.0, 1.0), Axis("up", 0.0, 2.0)
    marks = [
        Mark("line", [0, 1], [0, 2], 0),
        Mark("dots", [0.5], [1], 1, ["<dot>"]),
        Mark("area", [0, 1, 1], [1, 1, 0], 2),
        Mark("steps", [0, 0.5, 1], [1, 2], 3),
    ]
    return {
        "plot": Plot("<t>", "d & d", marks, *axes, diagonal=True, vline=0.3),
        "rows": RowChart("<t>", "d & d", NAMES, points, "axis", zero=True, join="rows"),
        "series": RowChart("<t>", "d & d", NAMES, points, "axis", join="series"),
        "bars": BarChart("<t>", "d & d", NAMES, [Bars("n", [1000, 1, 0], 0)], "axis"),
        "heat": HeatMap("<t>", "d & d", NAMES, [[1.0, 0.5, None], [0.2, 1.0, 0.0], [None, 0.1, 1.0]]),
        "tree": Tree("<t>", "d & d", NAMES, [[0, 2, 0.2, 2], [1, 3, 0.9, 3]], [NAMES[1], NAMES[0], NAMES[2]], "axis"),
    }


@pytest.mark.parametrize("kind", _charts())
def test_every_plot_is_well_formed_and_says_what_it_shows(kind: str) -> None:
    root = ET.fromstring(draw_chart(_charts()[kind]))
    assert root.attrib["role"] == "img"
    assert (root.find("title").text, root.find("desc").text) == ("<t>", "d & d")
    assert not root.findall(".//b") + root.findall(".//t")  # names stay text
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for item in root.iter("polyline"):
        for pair in item.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert -0.1 <= x <= width + 0.1
            assert -0.1 <= y <= height + 0.1


def _draw(chart: Chart) -> ET.Element:
    return ET.fromstring(draw_chart(chart))


def test_points_lie_where_their_values_are() -> None:
    root = _draw(RowChart("t", "d", ["a", "b"], [Points("s", [2.0, 6.0], 0, ["a: 2", "b: 6"])], "axis"))
    circles = {item.find("title").text: item for item in root.iter("circle")}
    ticks = {float(item.text): float(item.attrib["x"]) for item in root.iter("text") if "tick" in item.attrib["class"]}
    for name, value in (("a: 2", 2.0), ("b: 6", 6.0)):
        slope, start = np.polyfit(list(ticks), list(ticks.values()), 1)
        assert float(circles[name].attrib["cx"]) == pytest.approx(start + slope * value, abs=0.2)


def test_bars_are_logarithmic_and_zero_has_none() -> None:
    root = _draw(BarChart("t", "d", ["a", "b", "c"], [Bars("n", [1000, 100, 0], 0)], "axis"))
    widths = {item.find("title").text: float(item.attrib["width"]) for item in root.iter("rect")}
    assert set(widths) == {"a: 1000", "b: 100"}
    ticks = [float(item.attrib["x"]) for item in root.iter("text") if "tick" in item.attrib["class"]]
    assert widths["a: 1000"] - widths["b: 100"] == pytest.approx(ticks[1] - ticks[0], abs=0.2)  # a power of ten


def test_a_tree_joins_what_is_merged_at_its_distance() -> None:
    root = _draw(Tree("t", "d", ["a", "b", "c"], [[0, 2, 0.5, 2], [1, 3, 1.0, 3]], ["b", "a", "c"], "axis"))
    ticks = {item.text: float(item.attrib["x"]) for item in root.iter("text") if "tick" in item.attrib["class"]}
    brackets = [
        [tuple(map(float, pair.split(","))) for pair in item.attrib["points"].split()]
        for item in root.iter("polyline")
        if item.attrib["class"] == "branch"
    ]
    heights = {
        item.find("title").text: float(item.attrib["y"]) for item in root.iter("text") if "end" in item.attrib["class"]
    }
    first, second = brackets
    assert [x for x, _ in first[1:3]] == pytest.approx([(ticks["0"] + ticks["1"]) / 2] * 2, abs=0.2)
    assert [y for _, y in (first[0], first[3])] == pytest.approx([heights["a"] - 4, heights["c"] - 4])
    assert second[0][1] == pytest.approx(heights["b"] - 4)
    assert second[3] == pytest.approx((first[1][0], (first[0][1] + first[3][1]) / 2), abs=0.2)


def test_a_heat_map_says_every_pair() -> None:
    root = _draw(HeatMap("t", "d", ["a", "b"], [[1.0, 0.25], [None, 1.0]]))
    said = [item.find("title").text for item in root.iter("rect")]
    assert said == ["a, a: 100.0 %", "a, b: 25.0 %", "b, a: undefined", "b, b: 100.0 %"]
    assert [item.text for item in root.iter("text") if item.attrib["class"] == "tick middle"] == ["100", "25", "100"]


def test_stacked_bars_begin_where_the_one_before_ends() -> None:
    bars = [Bars("x", [30, 0], 0), Bars("y", [10, 5], 1)]
    root = _draw(BarChart("t", "d", ["a", "b"], bars, "axis", log=False))
    places = {item.find("title").text: item.attrib for item in root.iter("rect")}
    assert set(places) == {"a, x: 30", "a, y: 10", "b, y: 5"}
    first, second = places["a, x: 30"], places["a, y: 10"]
    assert float(second["x"]) == pytest.approx(float(first["x"]) + float(first["width"]), abs=0.2)
    assert float(first["width"]) == pytest.approx(3 * float(second["width"]), abs=0.3)
    assert [item.text for item in root.iter("text") if item.attrib["class"] == "value"] == ["40", "5"]


def test_similarities_of_both_signs_have_colours_of_their_own() -> None:
    root = _draw(HeatMap("t", "d", ["a", "b"], [[1.0, -0.25], [-0.25, 1.0]], signed=True))
    said = {item.find("title").text: item.attrib["class"] for item in root.iter("rect")}
    assert said == {"a, a: 1.00": "heat", "a, b: −0.25": "heat negative", "b, a: −0.25": "heat negative"} | {
        "b, b: 1.00": "heat"
    }


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_and_within_the_axis(low: float, span: float) -> None:
    scale = Scale(low, low + span, 0.0, 300.0)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 9
    assert all(-1e-2 <= scale.at(tick) <= 300.01 for tick in ticks)
    if len(ticks) > 1:
        step = ticks[1] - ticks[0]
        digits = step / 10 ** np.floor(np.log10(step) + 1e-6)
        assert min(abs(digits - nice) for nice in (1, 2, 5, 10)) < 1e-3


def test_limits_of_equal_values_or_none_are_a_range() -> None:
    for values in ([], [None], [3.0], [0.0, 0.0], [float("nan"), 2.0]):
        low, high = fit_limits(values)
        assert low < high


def test_names_are_shortened_by_how_wide_they_are() -> None:
    assert shorten("short") == "short"
    assert shorten("x" * 30) == "x" * 21 + "…"
    assert shorten("名" * 30) == "名" * 10 + "…"
    assert tick_text(-0.5) == "−0.5"


def test_attributes_are_escaped() -> None:
    assert element("a", "<&>", title='"><b>', class_="x") == '<a title="&#34;&gt;&lt;b&gt;" class="x">&lt;&amp;&gt;</a>'
