"""Register components by name: losses, heads, objectives, stage-2 methods, datasets and measures.

A registry imports all modules of its package at the first look-up, so that adding a component touches one file.
The options of a component in a recipe are the keyword-only parameters of its constructor or function. The code that
builds the component provides the parameters before the ``*``.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, create_model

from ltml.errors import InputError, in_short, suggest
from ltml.hooks import add_missing_hooks, misspelt_hook

T = TypeVar("T", bound=Callable[..., Any])


FilePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
"""Path in a recipe, stored as absolute path, so that a run finds the same files from any folder."""


class Registry(Generic[T]):
    """Components of one kind by name.

    Args:
        kind: name of the kind in messages, e.g. ``"loss"``.
        room: package whose modules register components, e.g. ``"ltml.losses"``.
        base: the class whose public attributes are the hooks of a component, as ``"package.module:Class"``; a class
            that is not derived from it gets the defaults of those that it lacks.
        wrapper: where functions are components too, the class that `create` makes objects of from a function and its
            options, as ``"package.module:Class"``.
    """

    def __init__(self, kind: str, room: str, *, base: str = "", wrapper: str = "") -> None:
        self.kind = kind
        self._room = room
        self._base = base
        self._wrapper = wrapper
        self._components: dict[str, T] = {}
        self._origins: dict[str, str] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers a component as `name`.

        Raises:
            ValueError: the name is taken.
            TypeError: the component is neither a class nor a function that can be wrapped, or misspells a hook.
        """
        origin = str(sys._getframe(1).f_globals.get("__name__", ""))

        def add(component: T) -> T:
            if name in self._components:
                raise ValueError(f"{self.kind} '{name}' is registered already, by {self._components[name]!r}")
            if self._base and not self._is_wrapped(component):
                self._complete(name, component)
            self._components[name] = component
            self._origins[name] = origin
            return component

        return add

    def names(self, pattern: str = "*") -> list[str]:
        """Return the sorted names that match a shell-style wildcard."""
        self._discover()
        return sorted(fnmatch.filter(self._components, pattern))

    def all(self) -> dict[str, T]:
        """Return every component by name, in the order of registration."""
        self._discover()
        return dict(self._components)

    def get(self, name: str) -> T:
        """Return the component called `name`.

        Raises:
            InputError: no component has this name; the message suggests similar ones.
        """
        self._discover()
        if name not in self._components:
            raise InputError(f"unknown {self.kind} '{name}': {suggest(name, self.names())}")
        return self._components[name]

    def origin(self, name: str) -> str:
        """Return the name of the module that registers a component; empty for an unknown component."""
        self._discover()
        return self._origins.get(name, "")

    def summary(self, name: str) -> str:
        """Return the first line of a component's docstring."""
        return (inspect.getdoc(self.get(name)) or "").partition("\n")[0]

    def options(self, name: str) -> type[BaseModel]:
        """Return a model of a component's options, its keyword-only parameters; the model forbids other keys."""
        return options_model(self.get(name))

    def needs(self, name: str) -> list[str]:
        """Return the required parameters of a component that are not options: those before the ``*``.

        The parameters of a wrapped function that stand there are given at each call instead.
        """
        component = self.get(name)
        if self._is_wrapped(component):
            return []
        parameters = inspect.signature(component).parameters.values()
        return [
            parameter.name
            for parameter in parameters
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is parameter.empty
        ]

    def build(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Build a component from keyword arguments; wrap a function if this kind of component may be one."""
        component = self.get(name)
        if self._is_wrapped(component):
            return pkgutil.resolve_name(self._wrapper)(component, **arguments)
        return component(**arguments)

    def _complete(self, name: str, component: Any) -> None:
        """Add the hooks that a class lacks, with their defaults, after a check for misspelt ones."""
        if not inspect.isclass(component):
            raise TypeError(f"{self.kind} '{name}' must be a class, not {type(component).__name__}")
        base = pkgutil.resolve_name(self._base)
        if message := misspelt_hook(component, base):
            raise TypeError(f"{self.kind} '{name}': {message}")
        add_missing_hooks(component, base)

    def _is_wrapped(self, component: T) -> bool:
        return bool(self._wrapper) and inspect.isfunction(component)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._room)
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            importlib.import_module(f"{self._room}.{module.name}")


@cache
def options_model(component: Callable[..., Any]) -> type[BaseModel]:
    """Return a pydantic model of the keyword-only parameters of a component."""
    function = component.__init__ if inspect.isclass(component) else component
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], ... if parameter.default is parameter.empty else parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    name = getattr(component, "__name__", "Component")
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(f"{name}Options", __config__=config, **fields)


LOSSES: Registry[Any] = Registry(
    "loss", "ltml.losses", base="ltml.losses.loss:Loss", wrapper="ltml.losses.function:FunctionLoss"
)
HEADS: Registry[Any] = Registry("head", "ltml.models.heads", base="ltml.models.heads.head:Head")
OBJECTIVES: Registry[Any] = Registry("objective", "ltml.objectives", base="ltml.objectives.objective:ObjectiveTerm")
REBALANCING: Registry[Any] = Registry("stage-2 method", "ltml.rebalancing")
DATASETS: Registry[Any] = Registry("dataset", "ltml.data.datasets")
MEASURES: Registry[Any] = Registry("measure", "ltml.metrics.measures")


def create(registry: Registry[Any], name: str, options: dict[str, Any], facts: Mapping[str, Any] | None = None) -> Any:
    """Build a component from its options and its required parameters.

    Args:
        registry: registry of the component's kind.
        name: name of the component.
        options: options by name; may include required parameters.
        facts: values available to every component of this kind, of which each takes the parameters that it requires.

    Raises:
        InputError: the name, an option or its value is not allowed, or a required parameter is missing.
    """
    needs = registry.needs(name)
    try:
        checked = registry.options(name)(**{key: value for key, value in options.items() if key not in needs})
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(step) for step in problem["loc"])
        if problem["type"] == "extra_forbidden":
            allowed = registry.options(name).model_fields
            raise InputError(f"{registry.kind} '{name}' has no option '{key}': {suggest(key, allowed)}") from None
        raise InputError(f"{registry.kind} '{name}': {key} = {in_short(problem['input'])}: {problem['msg']}") from None
    given = {key: value for key, value in {**(facts or {}), **options}.items() if key in needs}
    if missing := [key for key in needs if key not in given]:
        known = (
            f"; what is known here: {', '.join(facts)}" if facts else f"; see help({registry.get(name).__qualname__})"
        )
        raise InputError(f"{registry.kind} '{name}' needs {' and '.join(missing)}, by name{known}")
    return registry.build(name, {**given, **dict(checked)})
