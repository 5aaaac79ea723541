"""Find recipes, experiments and method presets: shipped ones by name, files by path.

This module imports nothing heavy, so that listing recipes is instant.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from ltml.errors import InputError, brief, first_line, suggest
from ltml.file_kinds import foreign_kind
from ltml.files import write_text

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Allowed names of recipes, which are also names of folders."""


def _shipped(folder: str = "") -> dict[str, Traversable]:
    root = importlib.resources.files("ltml_recipes")
    place = root / folder if folder else root
    entries = {entry.name.removesuffix(".yaml"): entry for entry in place.iterdir() if entry.name.endswith(".yaml")}
    return dict(sorted(entries.items()))


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes."""
    return list(_shipped())


def method_names() -> list[str]:
    """Return the names of the shipped method presets."""
    return list(_shipped("methods"))


def find_recipe(name_or_path: str) -> str:
    """Return the YAML text of a shipped recipe by name, or of a file by path.

    Raises:
        InputError: the recipe or file does not exist.
    """
    return _find(name_or_path, _shipped(), "recipe")


def _find(name_or_path: str, shipped: Mapping[str, Traversable], kind: str) -> str:
    if name_or_path in shipped:
        return shipped[name_or_path].read_text(encoding="utf-8")
    path = Path(name_or_path)
    _refuse_other_files(path, kind)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        article = "An" if kind[0] in "aeiou" else "A"
        raise InputError(
            f"unknown {kind} '{brief(name_or_path, 120)}': {suggest(name_or_path, shipped)}. "
            f"{article} {kind} is one of these names or the path of a .yaml file."
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the {kind} file {path}: {error}") from error


TABLES = (".csv", ".csv.gz", ".tsv", ".parquet", ".pq", ".xlsx")
"""File name endings of tables, which are no recipes."""


def _refuse_other_files(path: Path, kind: str) -> None:
    """Raise if a data file is given instead of a recipe, and say what to type.

    Raises:
        InputError: the path is a table, an array, an image or the folder of a run.
    """
    try:
        found = foreign_kind(path) if path.exists() else ""
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the {kind} file {brief(path, 120)}: {error}") from error
    name = path.name.lower()
    if found == "a folder":
        if kind != "method" and (path / "recipe.yaml").is_file():
            raise InputError(f"{path} is the folder of a run; its {kind} is {path / 'recipe.yaml'}")
        return
    if kind == "method" and path.is_file() and (found or name.endswith(TABLES)):
        raise InputError(
            f"{path} is {found or 'a table'}, not a method, which is a YAML file (see `ltml list methods`)"
        )
    if path.is_file() and name.endswith(TABLES):
        raise InputError(f"{path} is a table, not a {kind}. {_use_of_table(path)}")
    if path.is_file() and name.endswith(".npz"):
        raise InputError(
            f"{path} is a file of arrays, not a {kind}. Images: write `npz data.file={path}` in its place, as in `ltml "
            f"data check npz data.file={path}`; features: `ltml stage2 RECIPE --features {path} --val FILE`"
        )
    if found:
        raise InputError(f"{path} is {found}, not a {kind}, which is a YAML file (`ltml recipes cp digits mine.yaml`)")


def _use_of_table(path: Path) -> str:
    """Return what to type for a table: predictions can be scored, labels can be the data of a recipe."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline(100_000)
        if "prob:" in header:
            return f"Score predictions with `ltml evaluate {path}`, or compare them with `ltml compare --predictions`"
    use = f"csv_small data.file={path}"
    return f"Write `{use}` in its place, as in `ltml data check {use}`"


def yaml_fault(error: Exception) -> str:
    """Return what is wrong with a YAML file and where, without quoting the file."""
    mark = getattr(error, "problem_mark", None)
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    problem = getattr(error, "problem", None) or first_line(error)
    return f"{brief(problem, 200)}{place}"


def experiment_names() -> list[str]:
    """Return the names of the shipped experiments."""
    return list(_shipped("experiments"))


def find_experiment(name_or_path: str) -> str:
    """Return the YAML text of a shipped experiment by name, or of a file by path.

    Raises:
        InputError: the experiment or file does not exist.
    """
    return _find(name_or_path, _shipped("experiments"), "experiment")


def find_method(name_or_path: str) -> tuple[str, str]:
    """Return the name and the YAML text of a shipped method preset, or of a file by path.

    A file's preset is called by the file's name without its ending, which also names the folder of the run.

    Raises:
        InputError: the preset or file does not exist, or the file has the name of a shipped preset.
    """
    shipped = _shipped("methods")
    text = _find(name_or_path, shipped, "method")
    if name_or_path in shipped:
        return name_or_path, text
    name = Path(name_or_path).stem
    if name in shipped:
        raise InputError(f"the method file {name_or_path} has the name of the shipped method '{name}': rename the file")
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(f"the method file {name_or_path}: its name may hold letters, digits, '.', '_' and '-' only")
    return name, text


def read_shipped(folder: str = "") -> dict[str, dict[str, Any]]:
    """Return the content of every shipped recipe, or of the files of a folder: ``methods`` or ``experiments``."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    files = _shipped(folder).items()
    return {name: yaml.load(entry.read_text(encoding="utf-8"), Loader=loader) for name, entry in files}


def describe_recipes() -> dict[str, str]:
    """Return the description of every shipped recipe by name."""
    return {name: " ".join(str(content["description"]).split()) for name, content in read_shipped().items()}


def copy_recipe(name: str, target: Path) -> Path:
    """Copy a recipe to a new file and name the copy after the file.

    Raises:
        InputError: the recipe does not exist, the target exists, or its name is not allowed for a recipe.
    """
    path = target / f"{Path(name).stem}.yaml" if target.is_dir() else target
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"cannot copy to '{path}': a recipe file ends in .yaml")
    if not re.fullmatch(NAME_PATTERN, path.stem):
        raise InputError(f"cannot copy to '{path}': a recipe's name holds letters, digits, '.', '_' and '-' only")
    if path.exists():
        raise InputError(f"{path} exists already; give another name or remove it first")
    lines = find_recipe(name).splitlines()
    renamed = [f'name: "{path.stem}"' if line.startswith("name:") else line for line in lines]
    write_text(path, "\n".join(renamed) + "\n")
    return path
