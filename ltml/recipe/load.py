"""Load a recipe by name or path, apply ``KEY=VALUE`` overrides, and validate it.

Order: schema defaults < method preset < recipe < overrides. ``method=…`` among the overrides replaces the
recipe's preset.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from ltml.errors import InputError, LtmlError, brief, first_few, first_line, in_short, shown, suggest
from ltml.files import hash_json
from ltml.recipe.catalog import find_method, find_recipe, method_names, yaml_fault
from ltml.recipe.schema import MACHINE_FIELDS, VARIANT_PATTERN, Component, DataSection, Recipe, Stage2Section
from ltml.recipe.stage2 import check_stage2, translate_saved
from ltml.registry import DATASETS, HEADS, LOSSES, OBJECTIVES, REBALANCING, Registry

log = logging.getLogger(__name__)

RUN_FIELDS = ("variant", "stage1", "data_fingerprint")
"""Keys that a run adds to its ``recipe.yaml``."""

PRESET_FIELDS = ("description", "head", "loss", "objectives", "stage2", "data.train_on", "data.separate")
"""Keys of a method preset; everything else belongs to the recipe, the same for all methods that are compared."""

RESOLVER = re.compile(r"\$\{([^{}:]*):")
"""Pattern of values that OmegaConf would pass to a function: ``${oc.env:HOME}``."""

C = TypeVar("C", bound=Component)

Plugins = Literal["import", "refuse", "leave"]
"""Treatment of a recipe's plugins: import them; or do not, and refuse their components or leave those as written."""

_trusts_plugins: ContextVar[bool] = ContextVar("_trusts_plugins", default=False)


MAX_PROBLEMS = 5
"""Number of problems of one file that a message lists."""


def load_recipe(name_or_path: str, overrides: Sequence[str] = (), *, trust_plugins: bool = True) -> Recipe:
    """Load, merge and validate a recipe.

    Args:
        name_or_path: a shipped recipe (``ltml recipes ls``), or the path of a YAML file, a run's ``recipe.yaml`` too.
        overrides: ``"train.epochs=3"`` and the like; values are YAML, and a mapping replaces what was there.
        trust_plugins: import the modules that the file names as plugins, which runs their code. Those that the
            overrides name are always imported.

    Raises:
        InputError: unknown recipe, method, key, component or value; the message names it and what is allowed.
    """
    raw = _parse(find_recipe(name_or_path), name_or_path)
    if saved := raw.keys() & set(RUN_FIELDS):
        raw = OmegaConf.create(translate_saved(cast("dict[str, Any]", OmegaConf.to_container(raw))))
    origin, *_ = [raw.pop(key, "") for key in RUN_FIELDS]
    if origin and not re.fullmatch(VARIANT_PATTERN, str(origin)):
        raise InputError(f"{name_or_path}: variant = {origin!r} is not allowed: a run writes eight hex digits there")
    changes = _parse_overrides(overrides)
    plugins: Plugins = "import" if trust_plugins or "plugins" in changes else "refuse"
    preset = _take_preset(raw, changes, is_saved=bool(saved))
    recipe = _resolve(raw, preset, changes, name_or_path, plugins)
    variant = _variant(recipe, raw, preset, changes, name_or_path, plugins)
    if origin:  # a run's own recipe keeps its place, and a change to it gets one of its own
        variant = hash_json([origin, variant])[:8] if variant else str(origin)
    return recipe.model_copy(update={"variant": variant})


def recipe_from_dict(values: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
    """Validate plain values as a recipe, for example those of a run's ``recipe.yaml``.

    The plugins that it names are not imported (see `trusting_plugins`), and components of theirs stay as written.
    """
    return _validate(translate_saved(values), where, "import" if _trusts_plugins.get() else "leave")


@contextmanager
def trusting_plugins(trust: bool = True) -> Iterator[None]:
    """Import the plugins of runs that are read inside the block; importing runs their code."""
    token = _trusts_plugins.set(trust)
    try:
        yield
    finally:
        _trusts_plugins.reset(token)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{"train": {"epochs": 3}}`` as ``{"train.epochs": 3}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def identity(recipe: Recipe) -> dict[str, Any]:
    """Return the flat fields that identify a run: all but machine fields, the description and the list of plugins.

    A plugin counts by the components that the recipe uses from it, which are among the fields; see `component_code`.
    """
    flat = flatten(recipe.to_dict())
    left_out = (*MACHINE_FIELDS, "description", "plugins")
    return {key: value for key, value in flat.items() if not f"{key}.".startswith(tuple(f"{n}." for n in left_out))}


def identity_by_content(recipe: Recipe) -> dict[str, Any]:
    """Return `identity` without the paths of data, whose content is in the fingerprint of the data."""
    others = {key: value for key, value in identity(recipe).items() if not key.startswith("data.")}
    machine = [field.partition(".")[2] for field in MACHINE_FIELDS if field.startswith("data.")]
    data = {key: value for key, value in dict(recipe.data).items() if key not in machine}
    return others | flatten({"data": _without_paths(data)})


def _without_paths(value: Any) -> Any:
    if isinstance(value, BaseModel | Mapping):
        return {key: _without_paths(item) for key, item in dict(value).items() if not isinstance(item, Path | None)}
    return [_without_paths(item) for item in value] if isinstance(value, list | tuple) else value


def _take_preset(raw: DictConfig, changes: dict[str, Any], *, is_saved: bool) -> DictConfig:
    """Return the method preset, and write its name in place of its path; empty without a method.

    A run's saved recipe holds what its preset has set, so a preset that was a file is not needed any more.
    """
    chosen = changes if "method" in changes else raw
    method = None if chosen is raw and OmegaConf.is_missing(raw, "method") else chosen.get("method")
    if method is None or (is_saved and chosen is raw and method not in method_names()):
        return OmegaConf.create()
    name, text = find_method(str(method))
    preset = _parse(text, f"methods/{name}" if name == method else str(method), "method")
    chosen["method"] = name
    data = preset.pop("data", {})
    below = [f"data.{key}" for key in data] if isinstance(data, Mapping | DictConfig) else ["data"]
    if other := [str(key) for key in (*preset, *below) if key not in PRESET_FIELDS]:
        raise InputError(
            f"{method} sets '{other[0]}', which a method preset does not: {suggest(other[0], PRESET_FIELDS)}. What all "
            "methods share belongs into the recipe"
        )
    preset.pop("description", None)
    if data:
        preset["data"] = data
    return preset


def _variant(
    recipe: Recipe, raw: DictConfig, preset: DictConfig, changes: Mapping[str, Any], where: str, plugins: Plugins
) -> str:
    """Return eight hex digits that identify the overrides; empty if they change no result.

    The name, the method and the training seed are left out, since they are other parts of a run's path. The sampling
    seed counts if it differs from the training seed.
    """
    kept = {"name": recipe.name, "method": recipe.method, "seeds.train": recipe.seeds.train}
    if recipe.seeds.sample == recipe.seeds.train:
        kept["seeds.sample"] = recipe.seeds.sample
    opened = set(OmegaConf.missing_keys(raw))  # fields that the recipe leaves open make no variant
    kept |= {key: value for key, value in changes.items() if key in opened}
    ours, plain = identity(recipe), identity(_resolve(raw, preset, kept, where, plugins))
    changed = {key: ours.get(key) for key in ours.keys() | plain.keys() if ours.get(key) != plain.get(key)}
    return hash_json(changed)[:8] if changed else ""


def _resolve(raw: DictConfig, preset: DictConfig, changes: Mapping[str, Any], where: str, plugins: Plugins) -> Recipe:
    try:
        merged: Any = OmegaConf.merge(preset, raw)
        for key, value in changes.items():
            OmegaConf.update(merged, key, value, merge=False, force_add=True)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise InputError(f"{where} needs a value for {', '.join(missing)}: add {missing[0]}=VALUE")
        values = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: {first_line(error)}") from error
    assert isinstance(values, dict)
    return _validate({str(key): value for key, value in values.items()}, where, plugins)


def _parse(text: str, where: str, kind: str = "recipe") -> DictConfig:
    try:
        holds_keys = isinstance(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)), dict | None)
        content = OmegaConf.create(text) if holds_keys else None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, AssertionError) as error:
        raise InputError(f"{where} is not a valid {kind} file: {yaml_fault(error)}") from error
    if not isinstance(content, DictConfig):
        example = "`ltml recipes show digits`" if kind == "recipe" else "head, loss, objectives, stage2"
        raise InputError(f"{where} is not a {kind}: it must hold keys and values (see {example})")
    _refuse_resolvers(OmegaConf.to_container(content, resolve=False), where)
    return content


def _refuse_resolvers(value: Any, where: str) -> None:
    """Raise on ``${oc.env:NAME}`` and similar, which read the environment or run code; ``${other.key}`` is allowed."""
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_resolvers(item, where)
    elif isinstance(value, list):
        for item in value:
            _refuse_resolvers(item, where)
    elif isinstance(value, str) and (found := RESOLVER.search(_without_references(value))):
        raise InputError(
            f"{where}: ${{{found[1].strip()}:…}} is not allowed: of what stands in ${{…}}, a recipe takes other keys "
            "only, such as ${data.image_size}, and nothing of the environment. Write the value itself"
        )


def _without_references(text: str) -> str:
    """Replace ``${other.key}`` by its key, the innermost first."""
    while (shorter := re.sub(r"\$\{([^{}:]*)\}", r"\1", text)) != text:
        text = shorter
    return text


def _parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return values by dotted key; the last one of a key counts."""
    changes: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not re.fullmatch(r"[\w-]+(\[\d+\])*(\.[\w-]+(\[\d+\])*)*", key):
            raise InputError(f"cannot read the override {shown(override, 120)}: write KEY=VALUE, e.g. train.epochs=3")
        try:
            parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
            raise InputError(f"cannot read the override {shown(override, 120)}: {yaml_fault(error)}") from error
        assert isinstance(parsed, dict)
        changes[key] = parsed["value"]
        _refuse_resolvers(changes[key], key)
    return changes


def _validate(values: dict[str, Any], where: str, plugins: Plugins) -> Recipe:
    _refuse_nul(values, where)
    names = values.get("plugins")
    named = [str(name) for name in names] if isinstance(names, list) else []
    if plugins == "import":
        _import_plugins(named, where)
    try:
        return _validated(values, where, keeps_unknown=plugins == "leave" and bool(named))
    except InputError as error:
        if plugins == "refuse" and named:
            known_alone = str(error).partition(" Allowed: ")[0].rstrip(":")  # the list lacks what the plugin would add
            raise InputError(f"{known_alone}. {_untrusted(named, where)}") from error
        raise


def _refuse_nul(value: Any, where: str, path: str = "") -> None:
    """Raise on a NUL byte, which no file name can have and no other text needs."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_nul(inner, where, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_nul(inner, where, path)
    elif isinstance(value, str | Path) and "\0" in str(value):
        raise InputError(f"{where}: {path} = {shown(value, 80)} has a NUL byte in it, which no name can have")


def _validated(values: dict[str, Any], where: str, *, keeps_unknown: bool) -> Recipe:
    recipe: Recipe = _check(Recipe, values, "", where)

    def resolve(part: C, registry: Registry[Any], path: str) -> C:
        if keeps_unknown and part.chosen not in registry.names():
            return part
        return _resolve_component(part, registry, path, where)

    stage2 = _resolve_stage2(recipe.stage2, where, keeps_unknown=keeps_unknown)
    m_step = stage2.m_step.model_copy(update={"loss": resolve(stage2.m_step.loss, LOSSES, "stage2.m_step.loss")})
    is_unknown_data = keeps_unknown and recipe.data.type not in DATASETS.names()
    return recipe.model_copy(
        update={
            "stage2": stage2.model_copy(update={"m_step": m_step}),
            "data": recipe.data if is_unknown_data else _resolve_data(recipe.data, where),
            "head": resolve(recipe.head, HEADS, "head"),
            "loss": resolve(recipe.loss, LOSSES, "loss"),
            "objectives": tuple(
                resolve(term, OBJECTIVES, f"objectives[{i}]") for i, term in enumerate(recipe.objectives)
            ),
        }
    )


def _import_plugins(names: Sequence[str], where: str) -> None:
    if names:
        _look_in(Path.cwd())  # a plugin beside the user's data is the usual case
    for name in names:
        is_new = name not in sys.modules
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a user's module may raise anything
            raise InputError(f"plugins: cannot import '{name}': {type(error).__name__}: {error}") from error
        file = Path(str(module.__file__))
        beside = Path.cwd() / f"{name}.py"
        if beside.is_file() and not (file.exists() and file.samefile(beside)):
            raise InputError(
                f"plugins: '{name}' is {file}, which comes before {beside}: give the file here another name"
            )
        if is_new:
            log.info("%s names the plugin '%s': imported from %s", where, name, file)


_own_folders: list[str] = []
"""Folders that were added to Python's search path for modules, the latest first."""


def _look_in(folder: Path) -> None:
    """Append a folder to Python's search path, so that nothing in it hides a package."""
    ours = [str(folder), *(entry for entry in _own_folders if entry != str(folder))]
    others = [entry for entry in sys.path if entry not in _own_folders]
    if str(folder) not in others:
        _own_folders[:] = ours
        sys.path[:] = [*others, *ours]


def _untrusted(names: Sequence[str], where: str) -> str:
    """Return which plugins were not imported, where they are, and how to allow them."""
    found = {name: PathFinder.find_spec(name, [*sys.path, str(Path.cwd())]) for name in names if "." not in name}
    files = [f"'{name}' ({spec.origin})" if (spec := found.get(name)) else f"'{name}'" for name in names]
    return (
        f"{where} names the plugin {first_few(files, most=3)}, which is not imported, since that runs its code: if you "
        "trust it, add --trust-plugins (in Python trust_plugins=True)"
    )


def _resolve_data(data: DataSection, where: str) -> DataSection:
    _known(DATASETS, data.type, "data.type")
    if data.type != "union" and data.options.get("separate"):
        raise InputError(f"{where}: data.separate is for data.type=union only (method=multi_task sets it)")
    options = _check(DATASETS.options(data.type), data.options, "data", where, also=DataSection)
    own = {name: getattr(data, name) for name in DataSection.model_fields}
    return DataSection.model_construct(**own, **dict(options))


def _resolve_stage2(settings: Stage2Section, where: str, *, keeps_unknown: bool) -> Stage2Section:
    """Return stage 2 with the options of its method filled in, if it has one."""
    if keeps_unknown and settings.enabled and settings.method not in REBALANCING.names():
        return settings
    check_stage2(settings, where)
    if settings.enabled:
        return _resolve_component(settings, REBALANCING, "stage2", where)
    _check_blocks(settings, REBALANCING, "stage2", where)
    return Stage2Section.model_construct(**{name: getattr(settings, name) for name in Stage2Section.model_fields})


def _resolve_component(part: C, registry: Registry[Any], path: str, where: str) -> C:
    """Return a component with its options filled in; check the blocks of other components and leave them out."""
    _known(registry, part.chosen, f"{path}.{part.chosen_by}")
    _check_blocks(part, registry, path, where)
    options = _check(registry.options(part.chosen), part.options, f"{path}.{part.chosen}", where)
    own = {name: getattr(part, name) for name in type(part).model_fields}
    return cast("C", type(part).model_construct(**own, **{part.chosen: options.model_dump(mode="json")}))


def _check_blocks(part: Component, registry: Registry[Any], path: str, where: str) -> None:
    """Raise if a component carries anything but blocks of options that registered components allow."""
    for name, block in (part.model_extra or {}).items():
        if name not in registry.names():
            allowed = [*type(part).model_fields, *registry.names()]
            raise InputError(f"{where}: unknown key '{path}.{name}': {suggest(name, allowed)}")
        if not isinstance(block, dict):
            raise InputError(f"{where}: {path}.{name} must hold options of '{name}', not {in_short(block)}")
        _check(registry.options(name), block, f"{path}.{name}", where)


def _known(registry: Registry[Any], name: str, key: str) -> None:
    try:
        registry.get(name)
    except LtmlError as error:
        raise InputError(f"{key}: {error}") from None


def _check(
    model: type[Any], values: Mapping[str, Any], path: str, where: str, *, also: type[BaseModel] | None = None
) -> Any:
    """Validate strictly (no text for numbers, no booleans for integers) and explain all faults."""
    try:
        return model.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        lines = [_explain(problem, model, path, also) for problem in _distinct(error.errors())]
        more = [f"and {len(lines) - MAX_PROBLEMS} more"] if len(lines) > MAX_PROBLEMS else []
        raise InputError(f"{where}: " + "\n".join([*lines[:MAX_PROBLEMS], *more])) from None


def _location(problem: Any) -> tuple[str, ...]:
    """Return the keys that lead to a problem, without the names that pydantic gives to the members of a union."""
    steps = (str(step) for step in problem["loc"])
    return tuple(step for step in steps if not step.startswith(("tuple[", "literal[", "dict[", "constrained-")))


def _distinct(problems: Sequence[Any]) -> list[Any]:
    """Return one problem per place, the innermost, since a wrong item also makes its list too short."""
    by_place: dict[tuple[str, ...], Any] = {}
    for problem in problems:  # each member of a union has its own at the same place
        first = by_place.setdefault(_location(problem), dict(problem))
        if problem["msg"] not in first["msg"]:
            first["msg"] += f", or {problem['msg'][0].lower()}{problem['msg'][1:]}"
    return [
        problem
        for place, problem in by_place.items()
        if not any(other != place and other[: len(place)] == place for other in by_place)
    ]


def _explain(problem: Any, model: type[BaseModel], path: str, also: type[BaseModel] | None) -> str:
    location = _location(problem)
    key = brief(".".join([path, *location] if path else location), 120)
    if problem["type"] == "extra_forbidden":
        allowed = [*_fields_at(model, location[:-1]), *(also.model_fields if also and len(location) == 1 else ())]
        return f"unknown key '{key}' (value {in_short(problem['input'])}): {suggest(location[-1], allowed)}"
    if problem["type"] == "missing":
        return f"missing key '{key}'"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    hint = f" ({suggest(problem['input'], near)})" if (near := _expected(problem)) else ""
    return f"{key} = {in_short(problem['input'])} is not allowed: {problem['msg'][0].lower()}{problem['msg'][1:]}{hint}"


def _expected(problem: Any) -> list[str]:
    if problem["type"] != "literal_error" or not isinstance(problem["input"], str):
        return []
    words = str(problem["ctx"]["expected"]).replace(" or ", ", ").split(", ")
    return [word.strip("'") for word in words]


def _fields_at(model: type[BaseModel], steps: Sequence[str]) -> list[str]:
    """Return the names of the fields at a place, through sections and lists of sections."""
    for step in steps:
        if step.isdigit():
            continue
        annotation = model.model_fields[step].annotation if step in model.model_fields else None
        inner = [item for item in (annotation, *get_args(annotation)) if _is_model(item)]
        if not inner:
            return []
        model = inner[0]
    return [name for name in model.model_fields if name != "variant"]


def _is_model(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, BaseModel)
