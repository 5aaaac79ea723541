"""What reports read: the JSON of a run or a comparison, and where the runs of a comparison lie."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ltml.errors import InputError, first_line
from ltml.files import read_json
from ltml.stages.evaluate import read_metrics
from ltml.stages.run_directory import RunDirectory


def read_log(folder: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    """The lines of a stage's ``log.jsonl``; none where there is no file.

    Args:
        folder: of the stage.
        keys: that each line has.

    Raises:
        InputError: a line is damaged.
    """
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    remedy = "remove it, and the report leaves out what it shows; or redo the stage with --fresh"
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}; {remedy}") from error
    if not lines or not all(isinstance(line, dict) and line.keys() >= set(keys) for line in lines):
        raise InputError(f"{path} is not the log of this stage; {remedy}")
    return lines


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
    return read_metrics(files[0]) if files else None


def describe_environment(folder: Path) -> str:
    """A line per fact of a folder's ``environment.json``.

    Raises:
        InputError: the file is missing or damaged.
    """
    remedy = "only reports show it: write {} into it, or redo the run with --fresh"
    environment = read_json(folder / "environment.json", remedy)
    return "\n".join(f"{name}: {_in_a_line(fact)}" for name, fact in environment.items())


def _in_a_line(fact: Any) -> str:
    if isinstance(fact, Mapping):
        return ", ".join(f"{name} {value}" for name, value in fact.items())
    return (", ".join(map(str, fact)) or "none") if isinstance(fact, list) else str(fact)
