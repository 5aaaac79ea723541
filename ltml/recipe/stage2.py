"""Check the stage-2 section of a recipe against its method, and translate keys of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltml.errors import InputError, suggest
from ltml.recipe.schema import Stage2Section
from ltml.registry import REBALANCING


def check_stage2(settings: Stage2Section, where: str) -> None:
    """Raise if the chosen method does not exist, or does not allow another setting.

    Args:
        settings: section of the recipe, blocks of options as written.
        where: file or name of the recipe, for messages.

    Raises:
        InputError: names the setting and what is allowed.
    """
    moved = _moved_keys()
    if former := next((key for key in settings.model_extra or {} if key in moved), None):
        own = [key for key in moved[former] if key.startswith(f"stage2.{settings.method}.")]
        raise InputError(f"{where}: stage2.{former} is now {' or '.join(own or moved[former])}")
    if not settings.enabled:
        return
    names = REBALANCING.names()
    if settings.method not in names:
        allowed = suggest(settings.method, ["none", *names])
        raise InputError(f"{where}: stage2.method = '{settings.method}' is not allowed: {allowed}")
    method = REBALANCING.get(settings.method)
    if settings.solver == "expected" and not method.has_limit:
        able = ", ".join(name for name in names if REBALANCING.get(name).has_limit)
        raise InputError(f"{where}: stage2.solver=expected is for stage2.method={able}, not {settings.method}")
    if settings.restore_prior and not method.follows_prior:
        raise InputError(f"{where}: stage2.restore_prior has nothing to restore with stage2.method={settings.method}")


def translate_saved(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved run's recipe with the stage-2 options of earlier versions under the method that reads them.

    Before version 0.2 the options of all methods stood directly under ``stage2``, all of them in every saved recipe.
    Those of the chosen method move to its block; the others had no effect and are dropped.
    """
    stage2 = values.get("stage2")
    former = _moved_keys().keys() & stage2.keys() if isinstance(stage2, Mapping) else set()
    if not isinstance(stage2, Mapping) or not former:
        return dict(values)
    kept = {key: value for key, value in stage2.items() if key not in former}
    method = stage2.get("method", "none")
    if method in REBALANCING.names():
        own = REBALANCING.get(method).former_keys
        kept[method] = {own[key]: stage2[key] for key in own if key in former} | dict(stage2.get(method, {}))
    return {**values, "stage2": kept}


def _moved_keys() -> dict[str, list[str]]:
    """Return the new keys by the key under ``stage2`` that they had before version 0.2."""
    moved: dict[str, list[str]] = {}
    for name in REBALANCING.names():
        for key, option in REBALANCING.get(name).former_keys.items():
            moved.setdefault(key, []).append(f"stage2.{name}.{option}")
    return moved
