"""Hash the code of a recipe's components that come from plugins."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ltml.files import hash_file
from ltml.recipe.schema import Recipe
from ltml.registry import DATASETS, HEADS, LOSSES, MEASURES, OBJECTIVES, REBALANCING, Registry

INSTALLED = {"site-packages", "dist-packages"}
"""Folders of installed packages, whose versions are recorded elsewhere."""


def component_code(recipe: Recipe, stage: int) -> dict[str, dict[str, str]]:
    """Return hashes of the code outside this project that implements the components of a stage.

    Returns:
        By component, such as ``"loss 'mine'"``, the SHA-256 by path of the module that registers it and of the modules
        that it imports from the same folder. Left out are components of this project, components of the running script,
        and plugins from which the recipe uses nothing.
    """
    found = {}
    for registry, name in _components(recipe, stage):
        module = registry.origin(name)
        if module.partition(".")[0] not in ("", "ltml", "__main__"):
            found[f"{registry.kind} '{name}'"] = {str(file): hash_file(file) for file in sorted(_code_of(module))}
    return found


def _components(recipe: Recipe, stage: int) -> Iterator[tuple[Registry[Any], str]]:
    yield MEASURES, recipe.train.select
    if stage == 2:
        yield REBALANCING, recipe.stage2.method
        yield LOSSES, recipe.stage2.m_step.loss.type
        return
    yield DATASETS, recipe.data.type
    for source in recipe.data.options.get("sources", ()) if recipe.data.type == "union" else ():
        yield DATASETS, source.type
    yield HEADS, recipe.head.type
    yield LOSSES, recipe.loss.type
    for term in recipe.objectives:
        yield OBJECTIVES, term.type


def _code_of(name: str) -> set[Path]:
    """Return the file of a module and of the modules in its folder or below that it imports, directly or not."""
    first = _file_of(name)
    if first is None:
        return set()
    files, waiting = {first}, [name]
    while waiting:
        module = waiting.pop()
        file = _file_of(module)
        for imported in _imports(module, file) if file else ():
            beside = _file_of(imported)
            if beside is None or beside in files or not beside.is_relative_to(first.parent):
                continue
            if imported.partition(".")[0] != "ltml" and not INSTALLED & set(beside.relative_to(first.parent).parts):
                files.add(beside)
                waiting.append(imported)
    return files


def _file_of(name: str) -> Path | None:
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file is not None and file.endswith(".py") and Path(file).is_file() else None


def _imports(name: str, file: Path) -> Iterator[str]:
    """Yield the full names that a module imports; some may be functions or classes instead of modules."""
    package = getattr(sys.modules[name], "__package__", None) or ""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
