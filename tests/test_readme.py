"""What the README shows runs as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
SLOW = {"ltml run digits"}  # the shipped job itself, two minutes


def test_every_block_runs_as_written_in_one_empty_folder(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands, programs = [], []
    for language, text in BLOCKS:
        if language == "python" and ".register(" in text:
            (tmp_path / ("my_loss.py" if "LOSSES" in text else "my_dataset.py")).write_text(text)
        elif language == "yaml":
            name = text.splitlines()[0].removeprefix("name: ")
            (tmp_path / f"{name}.yaml").write_text(text)
        elif language == "python":
            programs.append(text)
            exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})
        elif language == "sh":
            commands += [part for line in text.splitlines() for part in line.split(" && ") if part.startswith("ltml ")]
            for command in [part for part in text.splitlines() if part.startswith("ltml ")]:
                result = cli(*shlex.split(command)[1:])
                assert result.exit_code == 0, f"{command}\n{result.output}"
    assert len(programs) == 4
    assert len(commands) >= 6
    assert set(commands) >= SLOW


def test_the_shipped_commands_of_the_install_are_those_of_the_project() -> None:
    assert "pip install -e . && ltml run digits" in README
    assert "pip install -e '.[test]' && pytest" in README
