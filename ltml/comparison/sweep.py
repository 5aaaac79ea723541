"""A comparison over values of hyper-parameters: the same grid, and the value that is best on validation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from ltml.comparison.plan import Plan, Row, parse_seeds, refuse_measure, refuse_seeds
from ltml.errors import InputError

MOST = 1000
"""Values of one range; more are a slip of the pen."""


def plan_sweep(
    recipe: str,
    settings: Sequence[str],
    *,
    seeds: str = "0",
    name: str | None = None,
    measure: str = "auroc",
    oracle: bool = False,
) -> Plan:
    """The plan of a sweep: a row for every combination of values, compared with the first.

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
    refuse_measure(measure)
    if measure == "novel" and not oracle:
        raise InputError(
            "--measure novel: val shows nothing novel, so nothing can be chosen on it; sweep by another measure"
        )
    refuse_seeds(settings)
    keys = [setting.partition("=")[0] for setting in settings]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise InputError(f"{twice[0]} is there more than once: give it all its values at once")
    values = {key: swept_values(text, key) for key, _, text in (setting.partition("=") for setting in settings)}
    for key, found in values.items():
        if len(set(found)) < len(found):
            raise InputError(f"{key} has a value more than once: {', '.join(found)}")
        if len(found) > 1 and key.startswith(("seeds.", "data.split")):
            raise InputError(f"{key} changes which images are scored, so its values cannot be compared")
    swept = {key: found for key, found in values.items() if len(found) > 1}
    if not swept:
        raise InputError(
            "nothing to go over: give a key several values, e.g. stage2.alpha=0.1..1.0 or train.lr=1e-4,1e-3"
        )
    fixed = [f"{key}={found[0]}" for key, found in values.items() if len(found) == 1]
    title = Path(recipe).stem if recipe.endswith((".yaml", ".yml")) else recipe
    rows = []
    for combination in product(*swept.values()):
        chosen = [f"{key}={value}" for key, value in zip(swept, combination, strict=True)]
        rows.append(Row(title, " ".join(chosen), recipe, (*fixed, *chosen)))
    folder = name or f"{title}-{'-'.join(key.rpartition('.')[2] for key in swept)}"
    split = "test" if oracle else "val"
    return Plan(folder, tuple(rows), parse_seeds(seeds), measure, split, rows[0].name, chooses=True)


def swept_values(text: str, key: str) -> list[str]:
    """The values that a setting goes over, as they are written; one for a plain value.

    Raises:
        InputError: a range that ends before it begins, or is too long.
    """
    span = re.fullmatch(r"(-?\d+(?:\.(\d+))?)\.\.(-?\d+(?:\.(\d+))?)", text)
    if span is None:
        return [text] if re.search(r"[\[\]{}]", text) else [value for value in text.split(",") if value] or [text]
    digits = max(len(span[2] or ""), len(span[4] or ""))
    first, last = (round(float(end) * 10**digits) for end in (span[1], span[3]))
    if not first <= last < first + MOST:
        raise InputError(
            f"{key}={text}: a range goes up from its first number, in at most {MOST} steps of the last digit"
        )
    return [f"{value / 10**digits:.{digits}f}" for value in range(first, last + 1)]
