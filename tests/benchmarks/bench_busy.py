"""Measure how long a run takes with threads that wait and with threads that spin, alone and beside other processes.

Run: python tests/benchmarks/bench_busy.py [RECIPE]. On a machine that others use, say their load with the figures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBRARY_ALONE = "from ltml_cli.main import app; app()"
"""The same command without what its entry point sets in the environment."""
START = {"waits": ["-m", "ltml_cli"], "spins": ["-c", LIBRARY_ALONE]}
OTHERS = 2 * (os.cpu_count() or 1)
"""Processes that keep the machine busy."""
SET = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@contextmanager
def others(count: int) -> Iterator[None]:
    """Keep so many processes busy inside the block."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measure(start: list[str], recipe: str) -> tuple[float, dict[str, bytes]]:
    """Return the seconds of a whole run, and its predictions and scores."""
    environment = {key: value for key, value in os.environ.items() if key not in SET}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, *start, "run", recipe, "--out", folder]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        seconds = time.perf_counter() - began
        files = [path for path in Path(folder).rglob("*") if path.name.startswith(("predictions_", "metrics"))]
        return seconds, {str(path.relative_to(folder)): path.read_bytes() for path in files}


def main() -> None:
    """Print seconds and their ratio, alone and beside others, and whether the results are the same bytes."""
    recipe = sys.argv[1] if len(sys.argv) > 1 else "digits_tiny"
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for count in (0, OTHERS):
        with others(count):
            found = {name: measure(start, recipe) for name, start in START.items()}
        (waits, ours), (spins, theirs) = found["waits"], found["spins"]
        same = "same bytes" if ours == theirs else "OTHER BYTES"
        ratio = f"{spins / waits:.2f} times"
        print(f"beside {count} processes: waiting {waits:.1f} s, spinning {spins:.1f} s, {ratio}; {same}", flush=True)


if __name__ == "__main__":
    main()
