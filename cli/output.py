"""Print results: JSON objects, lists, tables, and the next command to type."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from ltml.processes.world import World

if TYPE_CHECKING:
    from ltml.report.page import Prose, Table
    from ltml.stages.evaluate import RunResult


STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that move the cursor, colour text or reverse its direction: all controls but tab and new line."""


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text on stdout or stderr; characters that would control the terminal are shown as their codes."""
    typer.echo(show_controls(text), err=err, nl=nl)


def show_controls(text: str) -> str:
    """Return text with codes such as ``\\u001b`` for characters that control a terminal; JSON keeps its meaning."""
    return STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def suggest_next(*words: object) -> None:
    """Print the next command to type on stderr, if that is a terminal and this process is rank 0."""
    if sys.stderr.isatty() and World.from_environment().is_first:
        say(f"next: {shlex.join(['ltml', *map(str, words)])}", err=True)


def print_json(value: Any) -> None:
    """Print a JSON object on stdout."""
    say(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_blocks(blocks: Iterable[Table | Prose], *, err: bool = False) -> None:
    """Print tables and paragraphs: as wide as a terminal, without wrapping into a file or pipe."""
    from ltml.report.writers.terminal import to_terminal

    is_terminal = (sys.stderr if err else sys.stdout).isatty()
    say(to_terminal(blocks, shutil.get_terminal_size().columns if is_terminal else None), err=err)


def print_entries(entries: Mapping[str, str]) -> None:
    """Print names with their descriptions, aligned."""
    width = max((len(name) for name in entries), default=0)
    for name, text in entries.items():
        say(f"{name:<{width}}  {text}".rstrip())


def print_result(result: RunResult) -> None:
    """Print the scores of every test split (of val if there is none) with their changes, and the run's folder."""
    tests = [split for split in sorted(result.splits) if split.startswith("test")]
    splits = tests or sorted(result.splits)
    print_blocks(table for split in splits for table in _score_tables(split, result.splits[split]))
    say(f"run: {result.run_dir}")


def print_scores(metrics: Mapping[str, Any]) -> None:
    """Print the scores of one ``metrics.json``, with intervals if it has them."""
    print_blocks(_score_tables(metrics["split"], {"stage1": metrics}))


def _score_tables(split: str, stages: Mapping[str, Mapping[str, Any]]) -> Iterable[Table]:
    from ltml.report.run.scores import StageScores
    from ltml.report.run.tables import score_tables
    from ltml.report.tables.predictions import intervals_table

    yield from score_tables(StageScores(split, stages))
    for stage, metrics in stages.items():
        if "ci" in metrics:
            yield intervals_table(metrics, split if len(stages) == 1 else f"{split}, stage {stage[-1]}")


def print_gaussians(described: Mapping[str, Any]) -> None:
    """Print the table of Gaussians."""
    from ltml.report.tables.gaussians import gaussians_table

    print_blocks([gaussians_table(described)])


def print_novel(found: Mapping[str, Any], *, as_json: bool) -> None:
    """The AUC of a held-out label, a line per split and stage."""
    if as_json:
        print_json(found)
        return
    for split, stages in found["splits"].items():
        for stage, entry in stages.items():
            value = "undefined" if entry["auroc"] is None else f"{entry['auroc']:.3f}"
            counts = f"{entry['n_novel']} novel, {entry['n_seen']} seen"
            say(f"{found['label']}, {split}, {stage}: AUC {value} ({counts})")
