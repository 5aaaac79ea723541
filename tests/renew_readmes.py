"""Renew what is generated in the READMEs: ``python tests/renew_readmes.py``.

A list stands between two comments, ``<!-- ltml list KIND -->`` and ``<!-- end of list -->``, and is the output of
``ltml list KIND --format md``. RESULTS.md of the experiments comes from saved tables as a whole.
"""

from __future__ import annotations

import re
from pathlib import Path

from ltml_cli.listing import markdown_table
from results_tables import EXPERIMENTS, results_page

ROOT = Path(__file__).parents[1]
LIST = re.compile(r"<!-- ltml list (?P<kind>\w+) -->\n(?P<table>.*?)<!-- end of list -->", flags=re.DOTALL)


def readmes() -> list[Path]:
    """Return the Markdown files of the project, those of hidden folders included, without templates."""
    folders = (ROOT / name for name in (".github", "cli", "ltml", "recipes", "tests"))
    nested = sorted(path for folder in folders for path in folder.rglob("*.md"))
    return [*sorted(ROOT.glob("*.md")), *(path for path in nested if not path.name.endswith(".template.md"))]


def renewed(text: str) -> str:
    """Return the text of a README with every list as the registries have it now."""
    return LIST.sub(lambda found: _between_comments(found["kind"]), text)


def _between_comments(kind: str) -> str:
    return f"<!-- ltml list {kind} -->\n\n{markdown_table(kind)}\n\n<!-- end of list -->"


if __name__ == "__main__":
    for path in readmes():
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
    (EXPERIMENTS / "RESULTS.md").write_text(results_page(), encoding="utf-8")
