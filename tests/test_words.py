"""Docstrings, help texts and option descriptions use the field's words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "ltml").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
STANDARD = {
    r"\banew\b": "again, afresh",
    r"\blikewise\b": "also, in the same way",
    r"\b(told|tells|telling) (apart|as|by|how|what|which|whether|from|once|wrongly)\b": "known, reported, classified",
    r"\bto be told\b": "to be reported",
    r"\bwell told\b": "well classified",
    r"\banswers?\b": "predictions, outputs",
    r"\bmade again\b": "repeated, written again",
    r"\b(is|are) there already\b": "exists, is finished",
    r"\bwhat there is\b": "the existing …",
    r"\bthere is not\b": "does not exist",
    r"\bas it is now\b": "the current …",
    r"\bno longer there\b": "missing",
}
"""Patterns of wording that newcomers stumbled over, and the standard words."""


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, and the strings given as `help`, `description` or `epilog`, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value  # the docstring of a constant
        elif isinstance(node, ast.keyword) and node.arg in ("help", "description", "epilog"):
            parts = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            yield node.value.lineno, " ".join(part for part in parts if isinstance(part, str))


def _strange(text: str) -> list[str]:
    found = [(pattern, match[0]) for pattern in STANDARD for match in re.finditer(pattern, text, flags=re.IGNORECASE)]
    return [f"'{words}': write {STANDARD[pattern]}" for pattern, words in found]


def test_docstrings_and_help_use_standard_words() -> None:
    lines = [
        f"{path.relative_to(ROOT)}:{line}: {problem}"
        for path in FILES
        for line, text in _texts(path)
        for problem in _strange(text)
    ]
    assert not lines, "\n".join(lines)


def test_descriptions_of_recipes_use_standard_words() -> None:
    paths = sorted((ROOT / "recipes").rglob("*.yaml"))
    assert len(paths) > 50
    texts = {path: str((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("description")) for path in paths}
    lines = [f"{path.relative_to(ROOT)}: {problem}" for path, text in texts.items() for problem in _strange(text)]
    assert not lines, "\n".join(lines)


def test_readmes_use_standard_words() -> None:
    paths = [
        ROOT / "README.md",
        *(path for room in ("ltml", "cli", "recipes") for path in (ROOT / room).rglob("README.md")),
    ]
    lines = [f"{path.relative_to(ROOT)}: {p}" for path in paths for p in _strange(path.read_text(encoding="utf-8"))]
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    "text", ["The rows are drawn anew.", "How well a label is told from others", "The answers of a model"]
)
def test_the_check_finds_what_it_should(text: str) -> None:
    assert _strange(text)
