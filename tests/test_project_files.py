"""Files that hosts, installers and readers look for, held together with the code."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_folder_of_code_and_recipes_is_a_package_of_the_wheel() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    names = {"ltml": "ltml", "cli": "ltml_cli", "recipes": "ltml_recipes"}
    folders = {
        file.parent.relative_to(ROOT) for top in names for end in ("*.py", "*.yaml") for file in (ROOT / top).rglob(end)
    }
    assert listed == {".".join((names[folder.parts[0]], *folder.parts[1:])) for folder in folders}


def test_citation_and_changelog_name_the_version_of_the_package() -> None:
    version = PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["license"] == PROJECT["project"]["license"] == "Apache-2.0"
