"""Write a resolved recipe as YAML, each field with its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from ltml.recipe.schema import Component, DataSection, Recipe
from ltml.registry import DATASETS, HEADS, LOSSES, OBJECTIVES, REBALANCING, Registry

_REGISTRIES: dict[str, Registry[Any]] = {
    "HeadSection": HEADS,
    "LossSection": LOSSES,
    "ObjectiveSection": OBJECTIVES,
    "Stage2Section": REBALANCING,
}


def annotated_yaml(recipe: Recipe) -> str:
    """Return YAML of every field, default or not, with its one-line meaning as a comment."""
    return "\n".join(_lines(recipe, 0)) + "\n"


def _lines(section: BaseModel, depth: int) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        yield from _field(name, getattr(section, name), field.description or "", depth)
    options = _known_options(section)
    if isinstance(section, DataSection) and options:
        yield from _options(options, section.options, depth)
    elif isinstance(section, Component) and options:
        if section.options:
            yield f"{'  ' * depth}{section.chosen}:"
            yield from _options(options, section.options, depth + 1)
    else:
        for name, value in (section.model_extra or {}).items():
            yield from _field(name, value, "", depth)


def _known_options(section: BaseModel) -> type[BaseModel] | None:
    """Return the options of a section's component; None if the component comes from a plugin that was not imported."""
    registry = DATASETS if isinstance(section, DataSection) else _REGISTRIES.get(type(section).__name__)
    name = section.chosen if isinstance(section, Component) else getattr(section, "type", None)
    return registry.options(name) if registry and name in registry.names() else None


def _options(model: type[BaseModel], values: dict[str, Any], depth: int) -> Iterator[str]:
    for name, value in values.items():
        yield from _field(name, value, model.model_fields[name].description or "", depth)


def _field(name: str, value: Any, meaning: str, depth: int) -> Iterator[str]:
    indent, comment = "  " * depth, f"  # {meaning}" if meaning else ""
    if isinstance(value, BaseModel):
        yield f"{indent}{name}:{comment}"
        yield from _lines(value, depth + 1)
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        yield f"{indent}{name}:{comment}"
        for item in value:
            first, *rest = _lines(item, 0)
            yield f"{indent}- {first}"
            yield from (f"{indent}  {line}" for line in rest)
    else:
        plain = json.loads(json.dumps(value, default=str, ensure_ascii=False))
        yield f"{indent}{name}: {json.dumps(plain, ensure_ascii=False)}{comment}"
