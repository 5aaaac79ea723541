"""Figures: one description, drawn on pages and for papers with the same series; files that are the same every time."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import style
from matplotlib._pylab_helpers import Gcf

import ltml
from ltml.errors import InputError
from ltml.report.comparison.sections import comparison_page
from ltml.report.data_figures import stats_figure
from ltml.report.figures import Axis, BarChart, Bars, HeatMap, Key, Mark, Plot, Points, RowChart, Tree
from ltml.report.page import Figure, Panel
from ltml.report.run.sections import run_page
from ltml.report.write import figures_of
from ltml.report.writers.figure_files import write_figure, write_figures
from ltml.report.writers.plots import DOUBLE, SINGLE, STYLE, draw_figure
from ltml.report.writers.svg import draw_chart

OF_RUN = [
    "classes",
    "labels",
    "cooccurrence",
    "roc",
    "precision-recall",
    "reliability",
    "training",
    "classifier-weights",
    "gaussians",
    "relations-queries",
    "relations-features",
]
OF_COMPARISON = ["seeds", "groups", "gain", "classifier-weights"]
ALL_KINDS = [
    Plot(
        "t",
        "d",
        [
            Mark("line", [0, 1, 2], [0, 2, 1], 0),
            Mark("dots", [0.5, 1], [1, 1], 1),
            Mark("area", [0, 1, 1], [1, 1, 0], 2),
            Mark("steps", [0, 1, 2], [1, 2], 3),
        ],
        Axis("x", 0, 2, whole=True),
        Axis("y", 0, 2),
        diagonal=True,
        vline=1,
    ),
    RowChart(
        "t",
        "d",
        ["a", "b", "c"],
        [
            Points("p", [1.0, None, 3.0], 0, ["x", "y", "z"], spread=[0.5, None, None], hollow=[True, False, False]),
            Points("q", [2.0, 2.5, None], 1, ["x", "y", "z"]),
        ],
        "axis",
        zero=True,
    ),
    BarChart("t", "d", ["a", "b", "c"], [Bars("n", [1000, 1, 0], 0)], "axis"),
    BarChart("t", "d", ["a", "b"], [Bars("n", [3, 1], 0), Bars("m", [0, 2], 1)], "axis", log=False),
    HeatMap("t", "d", ["a", "b"], [[1.0, 0.25], [None, 1.0]]),
    HeatMap("t", "d", ["a", "b"], [[1.0, -0.25], [-0.25, 1.0]], signed=True),
    Tree("t", "d", ["a", "b", "c"], [[0, 2, 0.5, 2], [1, 3, 1.0, 3]], ["b", "a", "c"], "axis"),
]


@pytest.fixture(scope="module")
def figures(tiny_run: Path, comparison: Path) -> dict[str, list[Figure]]:
    return {"run": figures_of(run_page(tiny_run)), "comparison": figures_of(comparison_page(comparison))}


@pytest.fixture
def paper() -> Any:
    """Draws a figure by matplotlib and returns its axes without those of colour bars."""

    def draw(figure: Figure) -> list[Any]:
        with style.context(["default", STYLE]):
            return [axes for axes in draw_figure(figure).axes if axes.get_label() != "<colorbar>"]

    return draw


def _in_svg(chart: Any) -> dict[str, list[int]]:
    """Numbers of points of everything that stands for data on a page."""
    root = ET.fromstring(draw_chart(chart))
    points = [(item.get("class", ""), len(item.get("points", "").split())) for item in root.iter("polyline")]
    dots = [item for item in root.iter() if item.tag in ("circle", "polygon") and "dot" in item.get("class", "")]
    return {
        "lines": sorted(n for name, n in points if re.match(r"line s\d|branch", name)),
        "areas": [1 for name, _ in points if name.startswith("area")],
        "dots": [len(dots)],
        "hollow": [sum("hollow" in dot.get("class", "") for dot in dots)],
        "whiskers": [sum(name.startswith("whisker") for name, _ in points)],
        "bars": [sum("bar" in item.get("class", "") for item in root.iter("rect"))],
        "squares": [sum("heat" in item.get("class", "") for item in root.iter("rect"))],
    }


def _in_axes(axes: Any) -> dict[str, list[int]]:
    """The same of what matplotlib draws."""
    lines = [line for line in axes.lines if line.get_label() not in ("guide", "joint", "zero")]
    marks = [item for item in axes.collections if type(item).__name__ == "PathCollection"]
    dots = sum(len(line.get_xdata()) for line in lines if line.get_linestyle() == "None")
    faces = [face for mark in marks for face in mark.get_facecolors()]
    return {
        "lines": sorted(len(line.get_xdata()) for line in lines if line.get_linestyle() != "None"),
        "areas": [1 for patch in axes.patches if type(patch).__name__ in ("Polygon", "StepPatch")],
        "dots": [dots + sum(len(mark.get_offsets()) for mark in marks)],
        "hollow": [sum(face[:3].tolist() == [1, 1, 1] for face in faces)],
        "whiskers": [sum(type(item).__name__ == "LineCollection" for item in axes.collections)],
        "bars": [sum(patch.get_width() > 0 for patch in axes.patches if type(patch).__name__ == "Rectangle")],
        "squares": [sum(int(np.isfinite(image.get_array().filled(np.nan)).sum()) for image in axes.images)],
    }


@pytest.mark.parametrize("chart", ALL_KINDS, ids=lambda chart: type(chart).__name__)
def test_a_page_and_a_paper_show_the_same_marks(chart: Any, paper: Callable) -> None:
    (axes,) = paper(Figure("f", [Panel(chart)], "caption"))
    assert _in_axes(axes) == _in_svg(chart)
    assert any(sum(numbers) for numbers in _in_svg(chart).values())


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_every_figure_is_drawn_by_both_from_one_description(
    figures: dict[str, list[Figure]], kind: str, paper: Callable
) -> None:
    assert [figure.name for figure in figures[kind]] == (OF_RUN if kind == "run" else OF_COMPARISON)
    for figure in figures[kind]:
        drawn = paper(figure)
        assert len(drawn) == len(figure.panels)
        for panel, axes in zip(figure.panels, drawn, strict=True):
            assert _in_axes(axes) == _in_svg(panel.chart), figure.name
        legends = drawn[0].figure.legends
        assert [text.get_text() for legend in legends for text in legend.texts] == [key.name for key in figure.legend]
        assert drawn[0].figure.get_figwidth() in (SINGLE, DOUBLE)


def test_points_lie_where_their_values_are(paper: Callable) -> None:
    rows, tree = ALL_KINDS[1], ALL_KINDS[-1]
    (axes,) = paper(Figure("f", [Panel(rows)], "caption"))
    first, second = (item for item in axes.collections if type(item).__name__ == "PathCollection")
    assert first.get_offsets()[:, 0].tolist() == [1.0, 3.0]
    assert second.get_offsets()[:, 0].tolist() == [2.0, 2.5]
    assert [round(y) for y in first.get_offsets()[:, 1]] == [0, 2]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.yaxis_inverted()
    (axes,) = paper(Figure("f", [Panel(tree)], "caption"))
    assert [list(zip(*line.get_data(), strict=True)) for line in axes.lines] == [
        [(0, 1), (0.5, 1), (0.5, 2), (0, 2)],
        [(0, 0), (1, 0), (1, 1.5), (0.5, 1.5)],
    ]


def test_text_is_neither_cut_nor_on_other_text(figures: dict[str, list[Figure]]) -> None:
    keys = [Key("dots", number, f"method_{number}") for number in range(8)]
    for figure in [*figures["run"], *figures["comparison"], Figure("f", [Panel(ALL_KINDS[1])], "c", keys)]:
        with style.context(["default", STYLE]):
            canvas = draw_figure(figure)
            canvas.draw_without_rendering()
            boxes = [axes.get_tightbbox() for axes in canvas.axes] + [
                item.get_window_extent() for item in canvas.legends
            ]
        whole = canvas.bbox
        for box in boxes:
            assert box.x0 >= whole.x0 - 1, figure.name
            assert box.x1 <= whole.x1 + 1, figure.name
            assert box.y0 >= whole.y0 - 1, figure.name
            assert box.y1 <= whole.y1 + 1, figure.name
        for number, one in enumerate(boxes):
            for other in boxes[number + 1 :]:
                width = min(one.x1, other.x1) - max(one.x0, other.x0)
                height = min(one.y1, other.y1) - max(one.y0, other.y0)
                assert width <= 1 or height <= 1, figure.name


def test_files_of_a_comparison_are_named_after_what_they_show(cli: Any, comparison: Path, tmp_path: Path) -> None:
    folder, page = tmp_path / "new" / "figures", tmp_path / "page.html"
    result = cli("report", comparison, "--out", page, "--figures", folder, "--json")
    assert result.exit_code == 0, result.stderr
    paths = [folder / f"{name}.pdf" for name in OF_COMPARISON]
    assert json.loads(result.stdout) == {
        "report": str(page),
        "format": "html",
        "figures": [str(path) for path in paths],
    }
    assert sorted(folder.iterdir()) == sorted(paths)
    first = {path: path.read_bytes() for path in paths}
    for content in first.values():
        assert content.startswith(b"%PDF")
        assert b"/FontFile2" in content  # TrueType, embedded
        assert b"/Type3" not in content
        assert b"CreationDate" not in content
    tables = tmp_path / "tables.md"
    result = cli("report", comparison, "--out", tables, "--format", "md", "--figures", folder)
    assert result.stdout.split() == [str(tables), *map(str, paths)]
    assert {path: path.read_bytes() for path in paths} == first


def test_figures_from_python(comparison: Path, tmp_path: Path) -> None:
    page = ltml.write_report(comparison, tmp_path / "a.html", figures=tmp_path / "figures", figure_format="svg")
    assert page == tmp_path / "a.html"
    for name in OF_COMPARISON:
        root = ET.parse(tmp_path / "figures" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")


@pytest.mark.parametrize("format", ["pdf", "png", "svg"])
def test_the_same_figure_has_the_same_bytes_whatever_the_settings(format: str, tmp_path: Path) -> None:  # noqa: A002
    figure = Figure("f", [Panel(chart, "title", "0.1") for chart in ALL_KINDS], "c", [Key("line", 0, "a")])
    write_figure(figure, tmp_path / f"a.{format}")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "pdf.fonttype": 3}):
        write_figure(figure, tmp_path / f"b.{format}")
        assert mpl.rcParams["font.size"] == 30
    first, second = ((tmp_path / f"{name}.{format}").read_bytes() for name in "ab")
    assert first == second
    assert Gcf.figs == {}  # nothing is left open in pyplot


def test_equal_names_get_files_of_their_own(tmp_path: Path) -> None:
    chart = ALL_KINDS[2]
    figures = [Figure(name, [Panel(chart)], "c") for name in ("gain", "../a b/gain", "gain", "...")]
    paths = write_figures(figures, tmp_path, "svg")
    assert [path.name for path in paths] == ["gain.svg", "a-b-gain.svg", "gain-2.svg", "figure.svg"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.parametrize("format", ["pdf", "png", "svg"])
def test_any_name_can_stand_in_a_figure(evil_run: Path, tmp_path: Path, format: str) -> None:  # noqa: A002
    figures = [figure for figure in figures_of(run_page(evil_run)) if figure.name in ("labels", "cooccurrence")]
    for path in write_figures(figures, tmp_path, format):
        if format == "svg":
            ET.parse(path)
        assert path.stat().st_size > 1000


def test_what_cannot_be_written_is_refused_first(cli: Any, comparison: Path, tmp_path: Path) -> None:
    page, file = tmp_path / "page.html", tmp_path / "file"
    file.write_text("mine")
    for options, message in (
        (["--figures", tmp_path / "a", "--figure-format", "pgn"], "--figure-format pgn: did you mean 'png'?"),
        (["--figures", tmp_path / "a", "--figure-format", "PDF"], "--figure-format PDF"),
        (["--figures", file], f"cannot write figures to {file}: {file} is a file; give a folder"),
        (["--figures", file / "a"], f"cannot write figures to {file / 'a'}: {file} is a file; give a folder"),
    ):
        result = cli("report", comparison, "--out", page, *options)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_matplotlib_the_extra_is_named(comparison: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=re.escape("pip install 'ltml[plots]'")):
        ltml.write_report(comparison, tmp_path / "a.html", figures=tmp_path / "figures")
    assert list(tmp_path.iterdir()) == []
    assert ltml.write_report(comparison, tmp_path / "a.html").is_file()


def test_stacked_bars_of_several_sources_and_the_share_that_occurs_together() -> None:
    counts = {"x": {"a": 3, "b": 1}, "y": {"a": 0, "b": 9}}
    sources = {s: {"train": {name: {"positive": n} for name, n in by.items()}} for s, by in counts.items()}
    stats = {"dataset": "d", "labels": ["a", "b"], "rows": {"train": 12, "val": 2}, "sources": sources}
    bars, together = (panel.chart for panel in stats_figure(stats | {"cooccurrence": [[3, 1], [1, 10]]}).panels)
    assert bars.names == ["b", "a"]  # the most frequent first
    assert bars.totals() == [10, 3]
    assert together.values == pytest.approx(np.array([[1, 0.1], [1 / 3, 1]]))
