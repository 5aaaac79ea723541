"""What a comparison consists of: rows, seeds, what they are measured by and what is claimed of them.

A plan is made from recipes and methods, or from an experiment file (``recipes/experiments/``), which follows a table of
a paper: its rows in its order, on every data that it can be run on (``data``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from ltml.errors import InputError, brief, first_few, in_short, suggest
from ltml.recipe.catalog import (
    NAME_PATTERN,
    experiment_names,
    find_experiment,
    find_method,
    find_recipe,
    recipe_names,
    yaml_fault,
)
from ltml.recipe.load import load_recipe
from ltml.recipe.schema import Recipe, Section
from ltml.registry import MEASURES

NOVEL = "novel"
"""Name of the measure of held-out labels: the AUC of `data.novel`."""

SMALLEST_EXPERIMENT = (
    "data: {digits: {recipe: digits}} and rows: [{name: BCE, method: bce}, {name: LDRNet, method: ldrnet}]"
)
"""Example of a minimal experiment file, for messages."""


class RowSection(Section):
    """A row of the table: a method and what else is particular to it."""

    name: str = Field(description="what the table calls it")
    method: str | None = Field(None, description="preset; null: the recipe's own")
    set: dict[str, Any] = Field({}, description="recipe fields by dotted key")
    asks: dict[str, str] = Field(
        {}, description="recipe fields that the user gives to this row alone, by dotted key, and what they are"
    )
    adds: str | None = Field(None, description="the label that this row adds to the class of interest")


class ExperimentData(Section):
    """Data to run an experiment on."""

    recipe: str = Field(description="name or path of the recipe")
    set: dict[str, Any] = Field({}, description="recipe fields by dotted key, for every row")
    rows: tuple[RowSection, ...] = Field((), description="rows of this data alone, in place of the experiment's")
    means: dict[str, tuple[str, ...]] = Field({}, description="further columns: means over named labels")
    interest: str | None = Field(None, description="the class that the rows' `adds` are added to")


class ClaimSection(Section):
    """A paper's claim about two rows, tested on the data at hand."""

    text: str = Field(description="the claim")
    better: str = Field(description="the row that is claimed to be better, or on par")
    than: str = Field(description="the row that it is compared with")
    mean: str | None = Field(None, description="column of `means`; null: labels that both rows have")
    margin: Annotated[float, Field(gt=0)] | None = Field(
        None, description="on par: the difference is claimed to lie within so much; null: better"
    )


class Experiment(Section):
    """A table to be run: one of a paper, or one's own."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)] = Field(description="folder of its comparison [the file's name]")
    description: str = Field("", description="what it shows")
    paper: str = Field("", description="which table of which paper; empty for one's own")
    measure: str = Field("auroc", description="measure to compare rows by; novel: AUC of data.novel")
    split: str = Field("test", description="split that is scored")
    seeds: str = Field("0..4", description="training seeds: 0..4 or 0,1,2")
    reference: str | None = Field(None, description="the row that differences are taken from; null: the first")
    data: dict[str, ExperimentData] = Field(min_length=1, description="data by name; the first is the default")
    rows: tuple[RowSection, ...] = Field((), description="rows on every data")
    claims: tuple[ClaimSection, ...] = Field(
        (), description="what the paper claims of them; left out on data that have no such rows"
    )


@dataclass(frozen=True)
class Row:
    """A row of a comparison: a recipe with overrides, run once per seed.

    Attributes:
        data: what it is run on: the recipe's name, or the experiment's name for it. Only rows of the same data are
            compared.
        name: unique within the data.
        recipe: name or path.
        overrides: ``key=value``, without seeds.
        adds: the label that it adds to the class of interest.
        asks: what is still to be given before it can be run: field by dotted key, and what it is.
    """

    data: str
    name: str
    recipe: str
    overrides: tuple[str, ...]
    adds: str | None = None
    asks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Plan:
    """A comparison before anything is run.

    Attributes:
        name: folder of its tables.
        rows: in the order of the table.
        seeds: training and sampling seeds; the split seed is the recipe's, the same for all.
        measure: what rows are compared by.
        split: that is scored.
        reference: name of the row that differences are taken from.
        paper: which table of which paper it follows; empty for one's own.
        means: further columns by name: labels.
        interest: the class that rows add labels to.
        claims: to be tested.
        chooses: the best row on `split` is chosen, and its score on test is reported.
    """

    name: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    measure: str
    split: str
    reference: str
    paper: str = ""
    means: Mapping[str, tuple[str, ...]] | None = None
    interest: str | None = None
    claims: tuple[ClaimSection, ...] = ()
    chooses: bool = False


def plan_comparison(
    names: Sequence[str],
    *,
    methods: Sequence[str] = (),
    seeds: str | None = None,
    overrides: Sequence[str] = (),
    on: str | None = None,
    name: str | None = None,
    measure: str | None = None,
    split: str | None = None,
) -> Plan:
    """Plan a comparison by a shipped experiment (or its file), or of recipes with methods.

    Args:
        names: one experiment, or recipes.
        methods: presets, the first of which is what the others are compared with; for recipes only.
        seeds: ``"0..4"`` or ``"0,1,2"``.
        overrides: ``key=value`` for every row.
        on: experiments: on which of its data.
        name: folder of the tables, instead of the experiment's or the recipes' name.
        measure: instead of the experiment's, or AUC.
        split: instead of the experiment's, or ``test``.

    Raises:
        InputError: names, methods, seeds or options that do not exist or do not go together.
    """
    check_name(name)
    refuse_seeds(overrides)
    if len(names) == 1 and _is_experiment(names[0]):
        if methods:
            raise InputError(f"{names[0]} is an experiment with rows of its own: leave --methods out")
        experiment = load_experiment(names[0])
        plan = _plan_experiment(experiment, on, parse_seeds(seeds or experiment.seeds), overrides)
    else:
        if on is not None:
            raise InputError("--on is for experiments (`ltml list experiments`)")
        if mixed := [entry for entry in names if entry in experiment_names()]:
            raise InputError(f"{first_few(mixed)} is an experiment: compare one at a time")
        plan = _plan_methods(names, methods, parse_seeds(seeds or "0..4"), overrides)
    plan = replace(plan, name=name or plan.name, measure=measure or plan.measure, split=split or plan.split)
    check_measure(plan.measure, plan.rows)
    return plan


def load_experiment(name_or_path: str) -> Experiment:
    """Load a shipped experiment by name, or a file by path.

    Raises:
        InputError: it does not exist, or is not a valid experiment.
    """
    try:
        content = yaml.safe_load(find_experiment(name_or_path))
        if not isinstance(content, dict):
            raise InputError(f"{name_or_path} is not an experiment, which is at least {SMALLEST_EXPERIMENT}")
        content = {"name": Path(name_or_path).stem} | content
        experiment = Experiment.model_validate_json(json.dumps(content, default=str), strict=True)
    except yaml.YAMLError as error:
        raise InputError(f"{name_or_path} is not a valid experiment file: {yaml_fault(error)}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = brief(".".join(str(step) for step in problem["loc"]), 120)
        if problem["type"] == "missing":
            raise InputError(
                f"{name_or_path}: the key '{key}' is missing; an experiment is at least {SMALLEST_EXPERIMENT}"
            ) from None
        raise InputError(f"{name_or_path}: {key}: {problem['msg']} (value {in_short(problem['input'])})") from None
    _check_rows(experiment, name_or_path)
    return experiment


def recipe_of(row: Row, seed: int) -> Recipe:
    """Return the resolved recipe of a row's run.

    Raises:
        InputError: it is wrong; the message names the row.
    """
    try:
        return load_recipe(row.recipe, [*row.overrides, f"seeds.train={seed}", f"seeds.sample={seed}"])
    except InputError as error:
        raise InputError(f"row '{row.name}' on {row.data}: {error}") from error


def _is_experiment(name: str) -> bool:
    """Return whether a name is a shipped experiment, or a file with rows, with claims, or with recipes to run on."""
    if name in experiment_names():
        return True
    if not Path(name).is_file():
        return False
    text = Path(name).read_text(encoding="utf-8", errors="replace")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return bool(re.search(r"^(paper|rows|claims)\s*:", text, re.MULTILINE))
    if not isinstance(content, dict):
        return False
    places = content["data"].values() if isinstance(content.get("data"), dict) else ()
    return bool({"paper", "rows", "claims"} & content.keys()) or any(
        isinstance(place, dict) and "recipe" in place for place in places
    )


def _check_rows(experiment: Experiment, where: str) -> None:
    for place_name, place in experiment.data.items():
        names = [row.name for row in _rows_of(experiment, place)]
        if not names:
            raise InputError(
                f"{where}: no rows for data.{place_name}: name what is compared; an experiment is at least "
                f"{SMALLEST_EXPERIMENT}"
            )
        if len(set(names)) < len(names):
            raise InputError(f"{where}: data.{place_name} has two rows of the same name")
        if experiment.reference is not None and experiment.reference not in names:
            hint = suggest(experiment.reference, names)
            raise InputError(f"{where}: reference names the row '{experiment.reference}': {hint}")
        for claim in experiment.claims:
            if claim.mean is not None and claim.mean not in place.means:
                raise InputError(f"{where}: a claim names the mean '{claim.mean}': {suggest(claim.mean, place.means)}")

    everywhere = {row.name for place in experiment.data.values() for row in _rows_of(experiment, place)}
    for claim in experiment.claims:
        for row in (claim.better, claim.than):
            if row not in everywhere:
                raise InputError(f"{where}: a claim ({claim.text}) names the row '{row}': {suggest(row, everywhere)}")


def _rows_of(experiment: Experiment, place: ExperimentData) -> tuple[RowSection, ...]:
    return place.rows or experiment.rows


def _plan_experiment(experiment: Experiment, on: str | None, seeds: tuple[int, ...], overrides: Sequence[str]) -> Plan:
    chosen = on or next(iter(experiment.data))
    if chosen not in experiment.data:
        raise InputError(f"--on {chosen}: {suggest(chosen, experiment.data)}")
    place = experiment.data[chosen]
    sections = _rows_of(experiment, place)
    asked = {key for row in sections for key in row.asks}
    for_all = [override for override in overrides if _key_of(override) not in asked]
    _refuse_overridden(for_all, sections)
    given = {_key_of(override): override for override in overrides if override not in for_all}
    rows = tuple(_plan_row(row, chosen, place, for_all, given) for row in sections)
    return Plan(
        name=f"{experiment.name}-{chosen}",
        rows=rows,
        seeds=seeds,
        measure=experiment.measure,
        split=experiment.split,
        reference=experiment.reference or rows[0].name,
        paper=experiment.paper,
        means=place.means,
        interest=place.interest,
        claims=tuple(claim for claim in experiment.claims if {claim.better, claim.than} <= {row.name for row in rows}),
    )


def _plan_row(
    row: RowSection, data: str, place: ExperimentData, overrides: Sequence[str], given: Mapping[str, str]
) -> Row:
    """Plan a row with what it sets and what holds for all rows; what it asks for is null until it is given."""
    return Row(
        data=data,
        name=row.name,
        recipe=place.recipe,
        overrides=(
            *([] if row.method is None else [f"method={row.method}"]),
            *_as_overrides({**place.set, **row.set, **dict.fromkeys(row.asks)}),
            *overrides,
            *(given[key] for key in row.asks if key in given),
        ),
        adds=row.adds,
        asks=tuple((key, what) for key, what in row.asks.items() if key not in given),
    )


def _refuse_overridden(overrides: Sequence[str], rows: Sequence[RowSection]) -> None:
    """Refuse overrides of what the rows of an experiment differ in."""
    own = {key for row in rows for key in row.set}
    for key in map(_key_of, overrides):
        if taken := [name for name in own if f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.")]:
            raise InputError(
                f"'{key}' is what the rows of this experiment set ({first_few(sorted(taken))}): leave it out"
            )


def _key_of(override: str) -> str:
    """Return the dotted key, without what follows a list's index."""
    return re.split(r"[=\[]", override)[0]


def _plan_methods(
    recipes: Sequence[str], methods: Sequence[str], seeds: tuple[int, ...], overrides: Sequence[str]
) -> Plan:
    for name in recipes:
        if name not in recipe_names() and not Path(name).is_file():
            known = [*recipe_names(), *experiment_names()]
            raise InputError(f"there is no recipe, experiment or file '{name}': {suggest(name, known)}")
        find_recipe(name)
    if not methods:
        raise InputError("--methods is missing: name presets, e.g. --methods bce,ldrnet (`ltml list methods`)")
    method_titles = [find_method(method)[0] for method in methods]
    if len(set(method_titles)) < len(methods):
        raise InputError(f"--methods names one more than once: {first_few(methods, most=20)}")
    titles = [Path(recipe).stem if recipe.endswith((".yaml", ".yml")) else recipe for recipe in recipes]
    if len(set(titles)) < len(titles):
        raise InputError(f"two recipes have the same name: {first_few(titles, most=20)}")
    rows = tuple(
        Row(title, name, recipe, (f"method={method}", *overrides))
        for recipe, title in zip(recipes, titles, strict=True)
        for name, method in zip(method_titles, methods, strict=True)
    )
    return Plan("+".join(titles), rows, seeds, "auroc", "test", method_titles[0])


def _as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Write values as on the command line; JSON is YAML."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def check_measure(measure: str, rows: Iterable[Row]) -> None:
    """Raise if the measure does not exist; the plugins of the rows' recipes may define it.

    Raises:
        InputError: the measure is not in the table, or a recipe is wrong.
    """
    if measure == NOVEL or measure in MEASURES.names():
        return
    for row in rows:
        if any(override.startswith("plugins") for override in row.overrides) or Path(row.recipe).is_file():
            recipe_of(row, 0)
    if measure not in MEASURES.names():
        raise InputError(f"--measure {measure}: {suggest(measure, [*MEASURES.all(), NOVEL])}")


def check_name(name: str | None) -> None:
    """Raise if a name cannot be the name of a folder of tables.

    Raises:
        InputError: there is another character in it than a name may have.
    """
    if name is not None and not re.fullmatch(NAME_PATTERN, name):
        raise InputError(f"--name '{name}': letters, digits, '.', '_' and '-' only")


def refuse_seeds(overrides: Sequence[str]) -> None:
    """Refuse overrides of what a comparison itself goes over.

    Raises:
        InputError: there is one.
    """
    for override in overrides:
        if override.startswith(("seeds.train=", "seeds.sample=", "method=", "name=")):
            raise InputError(f"'{override}' is what a comparison goes over: use --seeds, --methods or --name")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse seeds written as ``0..4`` or ``0,2,5``."""
    span = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if span:
        seeds = tuple(range(int(span[1]), int(span[2]) + 1))
    elif re.fullmatch(r"\d+(,\d+)*", text):
        seeds = tuple(int(seed) for seed in text.split(","))
    else:
        seeds = ()
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {text}: write a range such as 0..4, or distinct numbers such as 0,1,5")
    return seeds
