"""What commands print: JSON objects, lists, tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ltml.stages.evaluate import RunResult


STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that move the cursor, colour or turn text round: all controls but tab and new line."""


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text on stdout or stderr, whatever names are in it; what would steer the terminal is shown as its code."""
    typer.echo(show_controls(text), err=err, nl=nl)


def show_controls(text: str) -> str:
    """Return the text with ``\\u001b`` for what would steer a terminal; JSON stays the same JSON."""
    return STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    say(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_entries(entries: Mapping[str, str]) -> None:
    """Names with their descriptions, aligned."""
    width = max((len(name) for name in entries), default=0)
    for name, text in entries.items():
        say(f"{name:<{width}}  {text}".rstrip())


def print_result(result: RunResult) -> None:
    """What changed between the stages on every test split, or on val where there is none, and where the run lies."""
    from ltml.report.tables.predictions import intervals_table
    from ltml.report.terminal_tables import comparison_table

    tests = [split for split in sorted(result.splits) if split.startswith("test")]
    for split in tests or sorted(result.splits):
        say(comparison_table(result.splits[split]))
        for stage, metrics in result.splits[split].items():
            if "ci" in metrics:
                say(intervals_table(metrics, f"{split}, stage {stage.removeprefix('stage')}"))
    say(f"run: {result.run_dir}")


def print_scores(metrics: Mapping[str, Any]) -> None:
    """One table of scores, and one of intervals where there are any."""
    from ltml.report.tables.predictions import intervals_table
    from ltml.report.terminal_tables import score_table

    say(score_table(metrics))
    if "ci" in metrics:
        say(intervals_table(metrics, metrics["split"]))


def print_gaussians(described: Mapping[str, Any]) -> None:
    """One table of Gaussians."""
    from ltml.report.terminal_tables import gaussians_table

    say(gaussians_table(described))


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
