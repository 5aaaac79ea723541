"""Build views of an image from recipe lists over torchvision.transforms.v2."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ltml.errors import InputError, suggest

if TYPE_CHECKING:  # slow to import, and a run that is refused or finished needs no views
    from torchvision.transforms import v2

View = Callable[[Tensor], Tensor]


def _transforms() -> dict[str, Any]:
    from torchvision.transforms import v2

    return {
        name: item
        for name, item in vars(v2).items()
        if inspect.isclass(item) and issubclass(item, v2.Transform) and not name.startswith("_")
    }


def build_view(steps: Iterable[str | Mapping[str, Mapping[str, Any]]], where: str) -> View | None:
    """Compose a view from a recipe list such as ``[RandomHorizontalFlip, {RandomCrop: {size: 224}}]``.

    Args:
        steps: class names of torchvision.transforms.v2, with arguments where they need some.
        where: the recipe key, for messages.

    Returns:
        A function from uint8 ``(channels, H, W)`` to the same kind of tensor; None for an empty list.

    Raises:
        InputError: an unknown transform, or arguments it does not take.
    """
    if not (listed := list(steps)):
        return None
    from torchvision.transforms import v2

    composed: View = v2.Compose([_build_step(step, f"{where}[{i}]") for i, step in enumerate(listed)])
    return composed


def _build_step(step: str | Mapping[str, Mapping[str, Any]], where: str) -> v2.Transform:
    name, options = (step, {}) if isinstance(step, str) else next(iter(step.items()))
    known = _transforms()
    if name not in known:
        raise InputError(f"{where}: unknown transform '{name}': {suggest(name, sorted(known))}")
    try:
        return known[name](**_plain(name, options))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {name} does not take {dict(options)}: {error}") from error


def _plain(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert recipe values to torchvision's: interpolation modes are written as their names."""
    if "interpolation" not in options:
        return dict(options)
    from torchvision.transforms import InterpolationMode

    modes = {mode.name.lower(): mode for mode in InterpolationMode}
    given = str(options["interpolation"])
    if given not in modes:
        raise ValueError(f"interpolation '{given}' of {name}: {suggest(given, modes)}")
    return {**options, "interpolation": modes[given]}
