"""A comparison over values of hyper-parameters: the same grid, and the value that is best on validation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from ltml.comparison.plan import NOVEL, Plan, Row, check_measure, check_name, parse_seeds, refuse_seeds
from ltml.errors import InputError

MAX_RANGE_VALUES = 1000
"""Maximum number of values of a range. Longer ranges are assumed to be typos."""

NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, as they are written."""

    low: str
    high: str

    @property
    def kind(self) -> Literal["int", "float", "log"]:
        """Kind of the range: whole numbers, decimals, or numbers written with exponents."""
        text = self.low + self.high
        return "log" if "e" in text.lower() else "float" if "." in text else "int"


Space = Range | tuple[str, ...]
"""Values that a setting takes: a range, or a list."""


@dataclass(frozen=True)
class Sweep:
    """A recipe and the settings that are gone over.

    Attributes:
        recipe: name or path.
        title: its name.
        spaces: by key.
        fixed: ``key=value`` for all rows.
        name: folder of the tables.
        seeds: training and sampling seeds.
        measure: what the best is chosen by.
        split: on which.
    """

    recipe: str
    title: str
    spaces: Mapping[str, Space]
    fixed: tuple[str, ...]
    name: str
    seeds: tuple[int, ...]
    measure: str
    split: str

    def row(self, values: Iterable[str]) -> Row:
        """Return the row of a value per key, in the order of the keys."""
        chosen = [f"{key}={value}" for key, value in zip(self.spaces, values, strict=True)]
        return Row(self.title, " ".join(chosen), self.recipe, (*self.fixed, *chosen))

    def plan(self, rows: Sequence[Row]) -> Plan:
        """Return the plan of some rows, compared with the first."""
        return Plan(self.name, tuple(rows), self.seeds, self.measure, self.split, rows[0].name, chooses=True)


def plan_sweep(
    recipe: str,
    settings: Sequence[str],
    *,
    seeds: str = "0",
    name: str | None = None,
    measure: str = "auroc",
    oracle: bool = False,
) -> Plan:
    """Plan a sweep: a row for every combination of values, compared with the first.

    Args:
        recipe: name or path.
        settings: ``key=0.1..1.0`` (in steps of the last digit) or ``key=0.1,0.3`` are gone over; ``key=value`` holds
            for all rows.
        seeds: ``"0..4"`` or ``"0,1,2"``.
        name: folder of the tables.
        measure: what the best is chosen by.
        oracle: choose on the split ``test``; the result says so wherever it is shown. Otherwise on ``val``.

    Raises:
        InputError: nothing to go over, a range that cannot be read, or a measure that nothing can be chosen by.
    """
    sweep = read_sweep(recipe, settings, seeds=seeds, name=name, measure=measure, oracle=oracle)
    values = [values_of(space, key) for key, space in sweep.spaces.items()]
    return sweep.plan([sweep.row(combination) for combination in product(*values)])


def read_sweep(
    recipe: str, settings: Sequence[str], *, seeds: str, name: str | None, measure: str, oracle: bool, suffix: str = ""
) -> Sweep:
    """Read the arguments of `plan_sweep`; `suffix` ends the folder's name where none is given.

    Raises:
        InputError: as `plan_sweep`.
    """
    check_name(name)
    if measure == NOVEL and not oracle:
        raise InputError(
            "--measure novel: val shows nothing novel, so nothing can be chosen on it; sweep by another measure"
        )
    refuse_seeds(settings)
    keys = [setting.partition("=")[0] for setting in settings]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise InputError(f"{twice[0]} is there more than once: give it all its values at once")
    read = {key: space_of(text, key) for key, _, text in (setting.partition("=") for setting in settings)}
    spaces = {key: space for key, space in read.items() if isinstance(space, Range) or len(space) > 1}
    if not spaces:
        raise InputError(
            "nothing to go over: give a key several values, e.g. stage2.alpha=0.1..1.0 or train.lr=1e-4,1e-3"
        )
    for key in spaces:
        if key.startswith(("seeds.", "data.split")):
            raise InputError(f"{key} changes which images are scored, so its values cannot be compared")
    fixed = tuple(f"{key}={space[0]}" for key, space in read.items() if isinstance(space, tuple) and len(space) == 1)
    title = Path(recipe).stem if recipe.endswith((".yaml", ".yml")) else recipe
    folder = name or f"{title}-{'-'.join(key.rpartition('.')[2] for key in spaces)}{suffix}"
    check_measure(measure, [Row(title, "", recipe, fixed)])
    return Sweep(recipe, title, spaces, fixed, folder, parse_seeds(seeds), measure, "test" if oracle else "val")


def space_of(text: str, key: str) -> Space:
    """Parse the values of a setting: a range, several values, or one.

    Raises:
        InputError: a range that ends before it begins, or a value that is there twice.
    """
    if span := re.fullmatch(rf"({NUMBER})\.\.({NUMBER})", text):
        low, high = span.groups()
        if float(low) > float(high):
            raise InputError(f"{key}={text}: a range goes up from its first number")
        return Range(low, high) if float(low) < float(high) else (low,)
    if re.search(r"[\[\]{}]", text):
        return (text,)
    values = tuple(value for value in text.split(",") if value) or (text,)
    if len(set(values)) < len(values):
        raise InputError(f"{key} has a value more than once: {', '.join(values)}")
    return values


def values_of(space: Space, key: str) -> list[str]:
    """Return all values of a space; a range goes in steps of its last digit.

    Raises:
        InputError: a range that has no steps, or too many.
    """
    if not isinstance(space, Range):
        return list(space)
    text = f"{key}={space.low}..{space.high}"
    if space.kind == "log":
        raise InputError(f"{text}: a range with exponents has no steps: name its values, or add --trials to search it")
    digits = max(len(end.partition(".")[2]) for end in (space.low, space.high))
    first, last = (round(float(end) * 10**digits) for end in (space.low, space.high))
    if last >= first + MAX_RANGE_VALUES:
        raise InputError(
            f"{text}: a range has at most {MAX_RANGE_VALUES} steps of the last digit: name its values, or add --trials "
            "to search it"
        )
    return [f"{value / 10**digits:.{digits}f}" for value in range(first, last + 1)]
