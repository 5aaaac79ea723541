"""How long help and listings take, against importing typer alone. Run: python tests/benchmarks/bench_startup.py."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 15
BASE = [sys.executable, "-c", "import typer"]
COMMANDS = {
    "ltml --help": [sys.executable, "-m", "ltml_cli", "--help"],
    "ltml recipes ls": [sys.executable, "-m", "ltml_cli", "recipes", "ls"],
}


def wall(command: list[str]) -> float:
    """Seconds of one run of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the median ratio of each command to the base, measured in turn."""
    for name, command in COMMANDS.items():
        wall(BASE), wall(command)
        ratios = [wall(command) / wall(BASE) for _ in range(RUNS)]
        print(
            f"{name}: {statistics.median(ratios):.2f} × `import typer` "
            f"(at most 4; {min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
