"""Tables as Markdown, LaTeX and CSV: a table for a paper comes out ready."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from ltml.csv_table import without_formula
from ltml.report.page import Cell, Table

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "Δ": r"$\Delta$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "×": r"$\times$",
}
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def to_markdown(tables: Sequence[Table]) -> str:
    """Pipe tables with their captions above and notes below."""
    return "\n\n".join(_markdown_table(table) for table in tables) + "\n"


def to_latex(tables: Sequence[Table]) -> str:
    """``table`` environments with booktabs' rules; labels in other scripts need an engine that reads Unicode."""
    return "% \\usepackage{booktabs}\n" + "\n\n".join(_latex_table(table) for table in tables) + "\n"


def to_csv(tables: Sequence[Table]) -> str:
    """One entry per line, numbers in full precision: table, row, column, value, sd, mark, text; none is a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value", "sd", "mark", "text"))
    for table in tables:
        for first, *cells in table.rows:
            for column, cell in zip(table.columns[1:], cells, strict=True):
                numbers = ("" if number is None else repr(float(number)) for number in (cell.value, cell.sd))
                names = map(without_formula, (table.caption, first.text, column))
                writer.writerow((*names, *numbers, cell.mark, without_formula(cell.text)))
    return file.getvalue()


def escape_latex(text: str) -> str:
    """Text as LaTeX prints it, on one line."""
    return "".join(LATEX.get(letter, letter) for letter in _one_line(text))


def escape_markdown(text: str) -> str:
    """Text as Markdown prints it, on one line."""
    return MARKDOWN.sub(r"\\\1", _one_line(text)).replace("&", "&amp;")


def _markdown_table(table: Table) -> str:
    marks = ["---"] * table.texts + ["---:"] * (len(table.columns) - table.texts)
    lines = [
        f"**{escape_markdown(table.caption)}**",
        "",
        _pipes([escape_markdown(column) for column in table.columns]),
        _pipes(marks),
        *(_pipes([_markdown_cell(cell) for cell in row]) for row in table.rows),
    ]
    return "\n".join([*lines, "", escape_markdown(table.note)] if table.note else lines)


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return (f"**{text}**" if cell.best else text) + cell.mark


def _latex_table(table: Table) -> str:
    columns = "l" * table.texts + "r" * (len(table.columns) - table.texts)
    note = f" {escape_latex(table.note)}" if table.note else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}.{note}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _ampersands([escape_latex(column) for column in table.columns]),
        r"\midrule",
        *(_ampersands([_latex_cell(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _ampersands(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    bold = rf"\textbf{{{text}}}" if cell.best else text
    return bold + (rf"\textsuperscript{{{escape_latex(cell.mark)}}}" if cell.mark else "")


def _one_line(text: str) -> str:
    return " ".join(text.split())
