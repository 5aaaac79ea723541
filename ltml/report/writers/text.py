"""Tables as Markdown, LaTeX and CSV, ready to paste into a paper."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from ltml.csv_table import without_formula
from ltml.report.page import Table, TableCell

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
    """Return pipe tables, each with its caption above and its explanation below."""
    return "\n\n".join(_markdown_table(table) for table in tables) + "\n"


def to_latex(tables: Sequence[Table]) -> str:
    """Return ``table`` environments with booktabs' rules; labels in other scripts need an engine that reads Unicode."""
    return "% \\usepackage{booktabs}\n" + "\n\n".join(_latex_table(table) for table in tables) + "\n"


def to_csv(tables: Sequence[Table]) -> str:
    """Return a line per cell: table, row, column, value, sd (both in full precision), mark, text.

    Text that a spreadsheet would read as a formula is quoted.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value", "sd", "mark", "text"))
    for table in tables:
        for first, *cells in table.rows:
            for column, cell in zip(table.columns[1:], cells, strict=True):
                numbers = ("" if number is None else repr(float(number)) for number in (cell.value, cell.sd))
                names = map(without_formula, (table.caption, first.text, column.name))
                writer.writerow((*names, *numbers, cell.mark, without_formula(cell.text)))
    return file.getvalue()


def escape_latex(text: str) -> str:
    """Return the source of text in LaTeX, on one line."""
    return "".join(LATEX.get(letter, letter) for letter in _one_line(text))


def escape_markdown(text: str) -> str:
    """Return the source of text in Markdown, on one line."""
    return MARKDOWN.sub(r"\\\1", _one_line(text)).replace("&", "&amp;")


def _markdown_table(table: Table) -> str:
    lines = [
        f"**{escape_markdown(table.caption)}**",
        "",
        _pipes([escape_markdown(column.name) for column in table.columns]),
        _pipes(["---:" if column.numeric else "---" for column in table.columns]),
        *(_pipes([_markdown_cell(cell) for cell in row]) for row in table.rows),
    ]
    explanation = escape_markdown(table.explanation())
    return "\n".join([*lines, "", explanation] if explanation else lines)


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: TableCell) -> str:
    text = escape_markdown(cell.text)
    return (f"**{text}**" if cell.best else text) + cell.mark


def _latex_table(table: Table) -> str:
    alignment = "".join("r" if column.numeric else "l" for column in table.columns)
    explanation = f" {text}" if (text := escape_latex(table.explanation())) else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}.{explanation}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _ampersands([escape_latex(column.name) for column in table.columns]),
        r"\midrule",
        *(_ampersands([_latex_cell(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _ampersands(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(cell: TableCell) -> str:
    text = escape_latex(cell.text)
    bold = rf"\textbf{{{text}}}" if cell.best else text
    return bold + (rf"\textsuperscript{{{escape_latex(cell.mark)}}}" if cell.mark else "")


def _one_line(text: str) -> str:
    return " ".join(text.split())
