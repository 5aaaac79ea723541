"""Hooks: public attributes of a component that its callers read, with defaults in the base class of its family."""

from __future__ import annotations

from ltml.near_names import near_misses


def misspelt_hook(component: type, base: type) -> str:
    """Return a message about a public attribute that is almost the name of a hook; empty if there is none.

    A hook that the class defines itself was not misspelt, whatever else it defines.

    Args:
        component: a class, derived from `base` or not.
        base: the base class of its family, whose public attributes are the hooks.
    """
    classes = [part for part in component.__mro__ if part not in base.__mro__]
    names = sorted({name for part in classes for name in vars(part) if not name.startswith("_")})
    for hook in _hooks(base):
        is_default = getattr(component, hook, None) in (None, getattr(base, hook))
        if is_default and (near := near_misses(names, hook)):
            return (
                f"{component.__name__}.{near[0]} is never read: did you mean '{hook}'? Rename it, or begin its name "
                "with an underscore if it is something else"
            )
    return ""


def add_missing_hooks(component: type, base: type) -> None:
    """Give a class that is not derived from the base of its family the defaults of the hooks that it lacks."""
    for hook in _hooks(base):
        if not hasattr(component, hook):
            setattr(component, hook, vars(base)[hook])


def _hooks(base: type) -> list[str]:
    return [name for name in vars(base) if not name.startswith("_")]
