"""Tables in a terminal: the other writers' words, and no name or number cut at any width."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ltml_cli import output
from rich.cells import cell_len

from ltml.report.page import Column, Page, Prose, Section, Table, TableCell, drop_empty, text_column
from ltml.report.writers.html import render_html
from ltml.report.writers.terminal import to_terminal
from ltml.report.writers.text import to_csv, to_latex, to_markdown

LONG = "Support devices and lines of every kind that a radiologist may name in one long label, left and right"
NAMES = ("Mass", LONG, "心臓肥大と肺炎", "[bold]Edema")
NUMBERS = [[f"{value}.{place} ± 0.1" for place in range(6)] for value in range(len(NAMES))]
TABLE = Table(
    "Scores on test",
    [
        text_column("class"),
        text_column("group"),
        *(Column(f"AUC of method {place}") for place in range(6)),
        Column("Δ", pages_only=True, meaning="the change in points"),
    ],
    [
        [TableCell(name), TableCell(f"tail {row}"), *(TableCell(text, 1.0) for text in numbers), TableCell("+9.9", 9.9)]
        for row, (name, numbers) in enumerate(zip(NAMES, NUMBERS, strict=True))
    ],
    note="Means over seeds.",
    best="highest",
)


def test_all_writers_show_the_texts_of_one_table(tmp_path: Path, read_page: Callable) -> None:
    page = tmp_path / "page.html"
    page.write_text(render_html(Page("t", "s", [Section("k", "K", [TABLE])]), "0"), encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(to_csv([TABLE]))))
    unescaped = re.sub(r"\\(.)", r"\1", to_markdown([TABLE]))
    latex = to_latex([TABLE]).replace(r"$\pm$", "±")
    terminal = to_terminal([TABLE])
    for (name, group), numbers in zip(((row[0].text, row[1].text) for row in TABLE.rows), NUMBERS, strict=True):
        cells = [name, group, *numbers]
        html = next(line for line in read_page(page).tables["Scores on test"] if line[0] == name)
        assert html[: len(cells)] == cells
        assert [row["text"] for row in rows if row["row"] == name][: len(cells) - 1] == cells[1:]
        assert f"| {' | '.join(cells)} |" in unescaped
        assert " & ".join(cells) in latex
        (line,) = (line for line in terminal.splitlines() if line.startswith(name))
        assert re.split(r" {2,}", line) == cells


@pytest.mark.parametrize("width", [40, 80, 200, 1000])
def test_no_width_cuts_a_name_or_a_number(width: int) -> None:
    shown = to_terminal([TABLE], width)
    assert max(map(cell_len, shown.splitlines())) <= width
    for numbers in NUMBERS:
        assert all(number in shown for number in numbers)
    for name in NAMES:  # whole words in order, on as many lines as the width needs
        assert re.search(r"\s.*?".join(map(re.escape, name.split())), shown, re.DOTALL)
    assert "…" not in shown


def test_a_file_or_pipe_has_every_name_on_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output.print_blocks([TABLE])
    shown = capsys.readouterr().out
    assert sum(line.startswith(LONG) for line in shown.splitlines()) == 1
    assert max(map(len, shown.splitlines())) > 200


def test_a_terminal_is_used_to_its_width(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    widths = []
    for width in (80, 200):
        monkeypatch.setattr("shutil.get_terminal_size", lambda width=width: os.terminal_size((width, 24)))
        output.print_blocks([TABLE])
        widths.append(max(map(cell_len, capsys.readouterr().out.splitlines())))
    assert widths[0] <= 80 < widths[1] <= 200


def test_only_pages_show_and_explain_their_columns() -> None:
    shown = to_terminal([TABLE])
    assert "+9.9" not in shown
    assert shown.endswith("Means over seeds.")  # no cell is the best one
    assert to_markdown([TABLE]).endswith("Means over seeds. Δ: the change in points. Bold: highest.\n")


def test_columns_that_do_not_fit_stand_below_with_the_names_again() -> None:
    lines = to_terminal([TABLE], 60).splitlines()
    headers = [line for line in lines if line.startswith("class")]
    assert len(headers) > 1
    assert all("group" in line for line in headers)
    assert sum(line.startswith("Mass") for line in lines) == len(headers)


def test_best_cells_and_marks_are_explained_by_their_signs() -> None:
    best = TableCell("0.9", 0.9, best=True, mark="†")
    table = Table("c", [text_column("row"), Column("AUC")], [[TableCell("a"), best]], "† better.", "highest")
    assert to_terminal([table], 80).splitlines()[-2:] == ["a    0.9*†", "† better. *: highest."]


def test_sections_without_content_are_left_out_with_their_reason() -> None:
    sections = [
        Section("a", "Shown", [Prose("text")]),
        Section("b", "Missing", [Prose("no file exists", "missing")]),
        Section("c", "Empty", []),
        Section("d", "Last", [Prose("end")]),
    ]
    kept = drop_empty(sections)
    assert [section.title for section in kept] == ["Shown", "Last"]
    assert kept[-1].blocks[-1] == Prose("Not in this report: Missing (no file exists).", "note")
    assert drop_empty([sections[0], sections[3]]) == [sections[0], sections[3]]


def test_only_the_longest_headings_are_wrapped() -> None:
    columns = [text_column("row"), Column("a b"), Column("a heading of many words")]
    table = Table("c", columns, [[TableCell("x"), TableCell("1.0"), TableCell("2.0")]])
    heading = to_terminal([table], 24).splitlines()[1:5]
    assert [line.split() for line in heading][-1] == ["row", "a", "b", "words"]
