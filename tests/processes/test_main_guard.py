"""Scripts without a main guard: a message, not a hang, wherever processes start by spawn or forkserver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process, get_context
from pathlib import Path

import pytest
from fixtures.training import FAST, train

import ltml
from ltml.comparison.plan import plan_comparison
from ltml.comparison.search import search
from ltml.errors import InputError
from ltml.files import lock_folder
from ltml.processes.main_guard import check_main_guard
from ltml.recipe.load import load_recipe

START = "import multiprocessing\nmultiprocessing.set_start_method('{method}', force=True)\nimport ltml\n"
RECIPE = "ltml.load_recipe('csv_small', ['data.file=labels.csv', 'train.epochs=1', 'method=bce', 'data.workers=2'])"

THREAD = """
import threading

def work():
    try:
        ltml.run(RECIPE)
    except ltml.errors.LtmlError as error:
        print(error)

if hasattr(multiprocessing.current_process(), "_inheriting"):
    ltml.run(RECIPE)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def _run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text)
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.process
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_script_that_trains_without_a_main_guard_ends_with_the_remedy(
    method: str, image_table: Callable[..., Path], tmp_path: Path
) -> None:
    image_table()
    ended = _run(tmp_path, START.format(method=method) + f"print(ltml.run({RECIPE}).stage1)\n")
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("ltml.errors.InputError: ")
    assert "script.py would begin again in every helper process" in last
    assert 'if __name__ == "__main__"' in last
    assert ended.stderr.count("Traceback") == 1  # of the script itself


@pytest.mark.process
def test_what_escapes_the_first_look_is_one_line_for_each_process(
    image_table: Callable[..., Path], tmp_path: Path
) -> None:
    """Work that is begun in a thread of the script, whose lines cannot be looked at."""
    image_table()
    ended = _run(tmp_path, START.format(method="spawn") + THREAD.replace("RECIPE", RECIPE))
    assert ended.returncode == 0, ended.stderr
    assert "a loader process was killed" in ended.stdout
    assert "Traceback" not in ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: this script would begin again")]
    assert 1 <= len(lines) <= 2


@pytest.mark.process
def test_a_guarded_script_trains(image_table: Callable[..., Path], tmp_path: Path) -> None:
    image_table()
    text = (
        START.format(method="forkserver")
        + f"if __name__ == '__main__':\n    print(ltml.run({RECIPE}).stage1['split'])\n"
    )
    ended = _run(tmp_path, text)
    assert ended.stdout == "test\n", ended.stderr


@pytest.mark.process
def test_processes_of_ones_own_may_train(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        folders = list(pool.map(train, (0, 1), (tmp_path, tmp_path)))
    assert [Path(folder).name for folder in folders] == ["seed0", "seed1"]


def test_a_process_that_imports_the_script_takes_no_lock_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(current_process(), "_inheriting", True, raising=False)
    recipe, plan = load_recipe("digits_tiny", FAST), plan_comparison(["digits_tiny"], methods=["bce", "asl"])

    def hold() -> None:
        with lock_folder(tmp_path / "a"):
            pass

    for begin in (
        hold,
        lambda: ltml.run(recipe, tmp_path),
        lambda: ltml.stage1(recipe, tmp_path),
        lambda: ltml.stage2(recipe, tmp_path),
        lambda: ltml.stage2(recipe, tmp_path, features={}),
        lambda: ltml.compare(plan, tmp_path),
        lambda: search("digits_tiny", ["stage2.alpha=0.1..1.0"], trials=2, out=tmp_path),
    ):
        with pytest.raises(InputError, match=r'if __name__ == "__main__": ltml.run'):
            begin()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("work()", True),
        ("def main():\n    work()\nmain()", True),
        ("for _ in range(1):\n    work()", True),
        ("if True:\n    work()", True),
        ("if __name__ == '__main__':\n    print()\nwork()", True),
        ("if __name__ == '__main__':\n    work()", False),
        ("try:\n    if '__main__' == __name__:\n        work()\nfinally:\n    pass", False),
        ("__name__ == '__main__' and work()", False),
        ("work() if __name__ == '__main__' else None", False),
    ],
)
def test_a_main_guard_is_seen(text: str, is_refused: bool, tmp_path: Path) -> None:
    head = (
        "from ltml.processes.main_guard import check_main_guard\n"
        "def work():\n    check_main_guard('fork')\n    check_main_guard('spawn')\n"
    )
    (tmp_path / "script.py").write_text(head + text + "\n")
    ended = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False)
    assert (ended.returncode, "main guard" in ended.stderr) == ((1, True) if is_refused else (0, False)), ended.stderr


def test_tests_and_packages_need_no_guard() -> None:
    check_main_guard("spawn")
