"""Components that a recipe can name: their one-line descriptions, and the Markdown tables of the READMEs."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from fnmatch import filter as matching
from functools import partial
from typing import TYPE_CHECKING, Any

from ltml.errors import InputError, suggest

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Row = dict[str, str]
"""Cells of one component by column; the description stands under `SUMMARY`."""

SUMMARY = "what it is"
"""Column of the one-line description, the only one that `ltml list KIND` prints without ``--format md``."""

_PAPER = (
    r"(?P<who>[A-Z][\w-]+(?: et al\.| (?:&|and) [A-Z][\w-]+)?)(?:, | \()"
    r"(?P<where>(?:[A-Z][\w .-]*?,? )?(?:19|20)\d\d)\b"
)
IN_SUMMARY = re.compile(_PAPER)
AT_PARAGRAPH = re.compile(rf"(?:^|\n\n){_PAPER}")
"""A paper as docstrings cite it, ``Wu et al. (ECCV 2020)`` or ``(Wu et al., ECCV 2020)``: anywhere in the first line,
or where a later paragraph begins."""


COLUMNS = (
    SUMMARY,
    "in tables",
    "for every class",
    "patient intervals",
    "follows",
    "source",
    "head",
    "loss",
    "other objectives",
    "stage 2",
    "dataset",
    "method",
    "data",
    "options",
)
"""Columns of the Markdown tables after the name, in their order."""


class ListFormat(StrEnum):
    """Forms in which components are listed."""

    text = "text"
    md = "md"


def describe_components(kind: str, pattern: str) -> dict[str, str]:
    """Return the description by name of the components of a kind whose names match a wildcard.

    Raises:
        InputError: the kind does not exist.
    """
    return {name: row[SUMMARY] for name, row in _rows(kind, pattern).items()}


def markdown_table(kind: str, pattern: str = "*") -> str:
    """Return a Markdown table of the components of a kind whose names match a wildcard.

    Columns in which no component has a value are left out.

    Raises:
        InputError: the kind does not exist.
    """
    rows = _rows(kind, pattern)
    columns = [column for column in COLUMNS if any(row.get(column) for row in rows.values())]
    lines = [["name", *columns], ["---"] * (1 + len(columns))]
    lines += [[f"`{name}`", *(_cell(row.get(column, "")) for column in columns)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|") or "–"


def _rows(kind: str, pattern: str) -> dict[str, Row]:
    if kind not in KINDS:
        raise InputError(f"cannot list '{kind}': {suggest(kind, KINDS)}")
    rows = KINDS[kind]()
    return {name: rows[name] for name in sorted(matching(rows, pattern))}


def _registered(kind: str) -> dict[str, Row]:
    from ltml import registry

    components: Any = getattr(registry, kind)
    return {name: _component_row(components, name) for name in components.names()}


def _measures() -> dict[str, Row]:
    from ltml.registry import MEASURES

    return {
        name: {
            SUMMARY: MEASURES.summary(name).rstrip("."),
            "in tables": measure.title,
            "for every class": "yes" if measure.per_class else "",
            "patient intervals": "yes" if measure.resample else "",
        }
        for name, measure in MEASURES.all().items()
    }


def _component_row(components: Any, name: str) -> Row:
    fields = components.options(name).model_fields
    return {
        SUMMARY: re.sub(r"; see `\w+`\.$", "", components.summary(name)).rstrip("."),
        "source": _citation(components.get(name)),
        "options": ", ".join(_option(option, field) for option, field in fields.items()),
    }


def _option(name: str, field: FieldInfo) -> str:
    is_required = field.is_required() or field.default is ...  # pydantic 2.6 keeps the dots of annotated fields
    return f"`{name}`" if is_required else f"`{name}={_shown(field.default)}`"


def _shown(value: Any) -> str:
    """Return a default as a recipe has it."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _citation(component: Any) -> str:
    """Return the paper that the docstring of a component, of its module or of the module's functions cites, or ""."""
    module = sys.modules[component.__module__]
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    for documented in (component, module, *filter(inspect.isfunction, own)):
        text = inspect.getdoc(documented) or ""
        if found := IN_SUMMARY.search(text.partition("\n")[0]) or AT_PARAGRAPH.search(text):
            return f"{found['who']}, {found['where']}"
    return ""


def _methods() -> dict[str, Row]:
    from ltml.recipe.catalog import read_shipped

    return {name: _method_row(preset) for name, preset in read_shipped("methods").items()}


def _method_row(preset: Mapping[str, Any]) -> Row:
    terms = [term["type"] for term in preset["objectives"]]
    stage2 = preset["stage2"]["method"]
    return {
        SUMMARY: _description(preset),
        "head": _code(preset["head"]["type"]),
        "loss": _code(preset["loss"]["type"]) if "supervised" in terms else "",
        "other objectives": ", ".join(_code(term) for term in terms if term != "supervised"),
        "stage 2": "" if stage2 == "none" else _code(stage2),
    }


def _recipes() -> dict[str, Row]:
    from ltml.recipe.catalog import read_shipped

    return {
        name: {
            SUMMARY: _description(recipe),
            "dataset": _code(recipe["data"]["type"]),
            "method": _code(recipe["method"]),
        }
        for name, recipe in read_shipped().items()
    }


def _experiments() -> dict[str, Row]:
    from ltml.recipe.catalog import read_shipped

    return {
        name: {SUMMARY: _description(content), "follows": content["paper"], "data": ", ".join(content["data"])}
        for name, content in read_shipped("experiments").items()
    }


def _description(content: Mapping[str, Any]) -> str:
    return " ".join(str(content["description"]).split())


def _code(name: str) -> str:
    return f"`{name}`"


def _backbones() -> dict[str, Row]:
    from ltml import list_backbones

    return {name: {SUMMARY: ""} for name in list_backbones()}


def _encoders() -> dict[str, Row]:
    from ltml.models.text import ENCODERS

    return {name: {SUMMARY: text} for name, text in ENCODERS.items()}


KINDS: dict[str, Callable[[], dict[str, Row]]] = {
    "methods": _methods,
    "heads": partial(_registered, "HEADS"),
    "losses": partial(_registered, "LOSSES"),
    "objectives": partial(_registered, "OBJECTIVES"),
    "rebalancing": partial(_registered, "REBALANCING"),
    "datasets": partial(_registered, "DATASETS"),
    "measures": _measures,
    "recipes": _recipes,
    "experiments": _experiments,
    "backbones": _backbones,
    "encoders": _encoders,
}
"""Function that lists each kind, by the name of the kind."""
