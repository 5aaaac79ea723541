"""The next command to type, which stands on stderr of a terminal and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

import ltml_cli.main
import pytest
from ltml_cli.output import suggest_next


@pytest.mark.parametrize(("is_terminal", "rank", "shown"), [(True, 0, True), (False, 0, False), (True, 1, False)])
def test_it_is_for_people_at_a_terminal(
    is_terminal: bool, rank: int, shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    for name, value in {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    suggest_next("report", Path("runs/my run"))
    out, err = capsys.readouterr()
    assert (out, err) == ("", "next: ltml report 'runs/my run'\n" if shown else "")


def test_commands_name_what_follows(cli, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[list[str]] = []
    monkeypatch.setattr(ltml_cli.main, "suggest_next", lambda *given: words.append([str(word) for word in given]))
    out = tiny_run.parents[2]
    for command in ("run", "stage1", "stage2"):  # all finished before
        assert cli(command, "digits_tiny", "--out", out).exit_code == 0
    predictions = tiny_run / "stage2" / "predictions_test.csv"
    assert cli("evaluate", tiny_run).exit_code == 0
    assert cli("evaluate", predictions).exit_code == 0
    report = ["report", str(tiny_run)]
    assert words == [report] * 4 + [["compare", "--predictions", str(predictions), "OTHER.csv"]]
    assert cli("evaluate", tiny_run, "--json").exit_code == 0
    assert len(words) == 5
