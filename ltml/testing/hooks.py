"""Contract of hooks, for every family of components."""

from __future__ import annotations

from ltml.hooks import add_missing_hooks, misspelt_hook


def check_hooks(component: object, base: type) -> None:
    """Assert that a component's class misspells no hook; add the defaults of those it lacks, as registering does.

    Raises:
        AssertionError: names the attribute and the hook.
    """
    if message := misspelt_hook(type(component), base):
        raise AssertionError(message)
    add_missing_hooks(type(component), base)
