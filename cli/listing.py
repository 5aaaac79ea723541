"""Names and one-line descriptions of components."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import filter as matching
from typing import Any

from ltml.errors import InputError, suggest


def describe_components(kind: str, pattern: str) -> dict[str, str]:
    """Description by name of the components of a kind that match a wildcard.

    Raises:
        InputError: there is no such kind.
    """
    kinds: dict[str, Callable[[], dict[str, str]]] = {
        "methods": _methods,
        "heads": lambda: _registered("HEADS"),
        "losses": lambda: _registered("LOSSES"),
        "objectives": lambda: _registered("OBJECTIVES"),
        "rebalancing": lambda: _registered("REBALANCING"),
        "datasets": lambda: _registered("DATASETS"),
        "experiments": _experiments,
        "backbones": _backbones,
        "encoders": _encoders,
    }
    if kind not in kinds:
        raise InputError(f"cannot list '{kind}': {suggest(kind, kinds)}")
    entries = kinds[kind]()
    return {name: entries[name] for name in sorted(matching(entries, pattern))}


def _methods() -> dict[str, str]:
    from ltml.recipe.catalog import describe_methods

    return describe_methods()


def _experiments() -> dict[str, str]:
    from ltml.recipe.catalog import describe_experiments

    return describe_experiments()


def _registered(kind: str) -> dict[str, str]:
    from ltml import registry

    components: Any = getattr(registry, kind)
    return {name: components.summary(name) for name in components.names()}


def _backbones() -> dict[str, str]:
    from ltml import list_backbones

    return dict.fromkeys(list_backbones(), "")


def _encoders() -> dict[str, str]:
    from ltml.models.text import ENCODERS

    return ENCODERS
