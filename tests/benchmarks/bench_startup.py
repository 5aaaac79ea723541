"""Measure what starting costs: help and listings against typer, the library against torch.

Run: python tests/benchmarks/bench_startup.py.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

RUNS = 15
"""Number of pairs of measurements behind each ratio."""


def python(code: str) -> list[str]:
    """Return the command that runs a line of Python."""
    return [sys.executable, "-c", code]


def ltml(*arguments: str) -> list[str]:
    """Return the command that runs the command line."""
    return [sys.executable, "-m", "ltml_cli", *arguments]


def wall(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def cpu(command: list[str]) -> float:
    """Return the CPU seconds that a command takes, those of its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


COMPARISONS: list[tuple[str, Callable[[list[str]], float], list[str], str, list[str], float]] = [
    ("ltml --help", wall, ltml("--help"), "import typer", python("import typer"), 4),
    ("ltml recipes ls", wall, ltml("recipes", "ls"), "import typer", python("import typer"), 4),
    (
        "import ltml.stages.pipeline",
        cpu,
        python("import ltml.stages.pipeline"),
        "import torch",
        python("import torch"),
        1.5,
    ),
]


def main() -> None:
    """Print the median ratio of each command to its base, measured in turn."""
    for name, measure, command, base_name, base, limit in COMPARISONS:
        measure(base), measure(command)
        ratios = [measure(command) / measure(base) for _ in range(RUNS)]
        seconds = "CPU" if measure is cpu else "wall"
        print(
            f"{name}: {statistics.median(ratios):.2f} × `{base_name}` in {seconds} seconds "
            f"(at most {limit}; {min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
