"""Tables for papers: marks, escapes, and numbers in full precision."""

from __future__ import annotations

import csv
import io
import re

import pytest

from ltml.report.page import Column, Table, TableCell, text_column
from ltml.report.writers.text import escape_latex, escape_markdown, to_csv, to_latex, to_markdown

NASTY = r'50%_of_$x$ & #1 {y} \alpha ~^ <a|b> "q"'
TABLE = Table(
    f"Scores of {NASTY}",
    [text_column("row"), Column("AUC"), Column(NASTY)],
    [
        [TableCell("ours"), TableCell("90.1 ± 0.2", 90.123456789, 0.2, best=True, mark="†"), TableCell("–")],
        [TableCell(NASTY), TableCell("88.0 ± 0.1", 88.0, 0.1, mark="‡"), TableCell("−1.0", -1.0)],
    ],
    note="† better, ‡ worse.",
)


def _unescaped(latex: str) -> str:
    """LaTeX without its escaped characters."""
    return re.sub(r"\\[&%$#_{}]", "", latex)


def test_latex_is_balanced_and_has_what_booktabs_needs() -> None:
    text = to_latex([TABLE, TABLE])
    plain = _unescaped(text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert "#" not in plain
    assert re.findall(r"(?<!\\)%.*", text) == ["% \\usepackage{booktabs}"]
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 2
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == 2
    lines = [line for line in _unescaped(text).splitlines() if line.endswith(r"\\")]
    assert len(lines) == 6
    assert {line.count("&") for line in lines} == {2}
    assert r"\begin{tabular}{lrr}" in text
    assert r"\textbf{90.1 $\pm$ 0.2}\textsuperscript{\dag{}}" in text
    assert r"\dag{} better, \ddag{} worse." in text


def test_every_command_in_escaped_latex_ends_before_the_next_letter() -> None:
    escaped = escape_latex(NASTY)
    assert escaped == (
        r"50\%\_of\_\$x\$ \& \#1 \{y\} \textbackslash{}alpha \textasciitilde{}\textasciicircum{} "
        r"\textless{}a\textbar{}b\textgreater{} ''q''"
    )
    assert escape_latex("a\n\nb") == "a b"  # a blank line would end the caption


def test_markdown_keeps_its_columns_and_shows_names_as_they_are() -> None:
    lines = to_markdown([TABLE]).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert rows[1] == "| --- | ---: | ---: |"
    assert "| **90.1 ± 0.2**† |" in rows[2]
    assert re.sub(r"\\(.)", r"\1", escape_markdown(NASTY)).replace("&amp;", "&") == NASTY


def test_csv_has_every_entry_in_full_precision() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([TABLE]))))
    assert [row["row"] for row in rows] == ["ours", "ours", NASTY, NASTY]
    assert rows[0] == {
        "table": TABLE.caption,
        "row": "ours",
        "column": "AUC",
        "value": "90.123456789",
        "sd": "0.2",
        "mark": "†",
        "text": "90.1 ± 0.2",
    }
    assert (rows[1]["value"], rows[1]["text"]) == ("", "–")
    assert float(rows[3]["value"]) == pytest.approx(-1.0)
