"""What reports read: the JSON of a run or a comparison, and where the runs of a comparison lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltml.errors import InputError, first_line
from ltml.files import read_json
from ltml.stages.run_directory import RunDirectory


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; none where there is no file.

    Raises:
        InputError: a line is damaged.
    """
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise InputError(f"cannot read {path}: {first_line(error)}; redo the stage with --fresh") from error


def find_run(comparison: Path, cell: Mapping[str, Any]) -> Path | None:
    """Folder of a cell's run: where it was, or beside a comparison that was moved together with its runs."""
    recorded = Path(cell["run"])
    beside = comparison.resolve().parent.parent.joinpath(*recorded.parts[-3:])
    return next((path for path in (beside, recorded) if (path / "recipe.yaml").is_file()), None)


def last_metrics(run: Path, split: str) -> dict[str, Any] | None:
    """The scores of a split after the last stage of a run; None where there are none.

    Raises:
        InputError: they cannot be read.
    """
    places = RunDirectory(run, run)
    files = [path for stage in (2, 1) if (path := places.metrics(stage, split)).is_file()]
    return read_json(files[0]) if files else None


def describe_environment(environment: Mapping[str, Any]) -> str:
    """A line per fact of an ``environment.json``."""
    return "\n".join(f"{name}: {_in_a_line(fact)}" for name, fact in environment.items())


def _in_a_line(fact: Any) -> str:
    if isinstance(fact, Mapping):
        return ", ".join(f"{name} {value}" for name, value in fact.items())
    return (", ".join(fact) or "none") if isinstance(fact, list) else str(fact)
