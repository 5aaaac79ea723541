"""What the READMEs show runs as written, and what is generated in them is up to date."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from ltml_cli.listing import KINDS, describe_components
from ltml_cli.main import app
from renew_readmes import LIST, ROOT, readmes, renewed
from results_tables import EXPERIMENTS, results_page
from typer.main import get_command

from ltml.registry import DATASETS, LOSSES, MEASURES

BLOCK = re.compile(r"```(\w+)\n(.*?)```", flags=re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)?(?:#([^)]+))?\)")
STARTED_ELSEWHERE = {
    "pip install -e .",  # .ci/run makes a fresh environment by these two
    "pip install -e '.[test]'",
    "python -m venv .venv",
    "source .venv/bin/activate",
    "pre-commit install",
    "pytest",
    ".ci/run",
    "torchrun --nproc-per-node 8 -m ltml_cli run nih data.root=/data/nih",  # tests/distributed has two processes
    "python tests/renew_readmes.py",  # see test_lists_are_those_of_the_registries
}
STAND_INS = {"ltml run digits": "ltml run digits_tiny"}  # two minutes, and seconds
MAIN = ROOT / "README.md"
OTHERS = [path for path in readmes() if path != MAIN and "```" in path.read_text(encoding="utf-8")]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_blocks_of_the_main_readme_run(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_blocks(MAIN, cli, tmp_path, monkeypatch)


@pytest.mark.process
@pytest.mark.parametrize("path", OTHERS, ids=relative)
def test_the_blocks_of_a_readme_run(path: Path, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_blocks(path, cli, tmp_path, monkeypatch)


def run_blocks(path: Path, cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every block as written, in one empty folder; a `text` block is part of what the command before prints."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    for components in (LOSSES, DATASETS, MEASURES):  # what a README registers is forgotten after its test
        monkeypatch.setattr(components, "_components", {name: components.get(name) for name in components.names()})
    output = ""
    for language, text in BLOCK.findall(path.read_text(encoding="utf-8")):
        if text.startswith("# "):  # the name of a file
            (folder / text.splitlines()[0].removeprefix("# ")).write_text(text)
        elif language == "python":
            exec(compile(text, relative(path), "exec"), {"__name__": "__main__"})
        elif language == "sh":
            for command in commands(text):
                output = run_command(command, cli, folder)
        elif language == "text":
            assert shape(text) <= shape(output), f"the command before this block prints:\n{output}"
        else:
            raise AssertionError(f"a block of {language} is not run by this test")


def commands(text: str) -> list[str]:
    """Return the commands of a block, those of one line that are joined by && one by one."""
    lines = text.replace("\\\n", "").splitlines()
    return [part.partition(" #")[0].strip() for line in lines for part in line.split(" && ") if part]


def run_command(command: str, cli, folder: Path) -> str:
    if command in STARTED_ELSEWHERE:
        return ""
    program, *arguments = shlex.split(STAND_INS.get(command, command))
    assert program == "ltml", f"this test runs `ltml` alone: {command}"
    matches = [sorted(str(path.relative_to(folder)) for path in folder.glob(part)) for part in arguments if "*" in part]
    arguments = [matches.pop(0)[0] if "*" in part and "/" in part else part for part in arguments]
    result = cli(*arguments)
    assert result.exit_code == 0, f"{command}\n{result.output}"
    return str(result.stdout)


VARYING = re.compile(r"(< )?[-+−]?\d+(\.\d+)?|─+|[*†‡]|\b(better|worse|no difference found)\b")


def shape(text: str) -> set[str]:
    """Return the lines with figures and verdicts masked: another processor changes those, not tables."""
    return {" ".join(VARYING.sub("0", line).split()) for line in text.splitlines()}


@pytest.mark.parametrize("path", readmes(), ids=relative)
def test_commands_within_sentences_exist(path: Path) -> None:
    """Commands with placeholders do not run; their names and options are those of the command line."""
    for code in re.findall(r"`((?:ltml|python) [^`]+)`", BLOCK.sub("", path.read_text(encoding="utf-8"))):
        program, *words = code.replace("\\|", "|").split()
        if program == "python":
            assert (ROOT / words[0]).is_file(), code
            continue
        command = get_command(app)
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands or words[0].startswith("-"), code
            command = command.commands.get(words.pop(0), command)
        options = {name for parameter in command.params for name in parameter.opts} | {"--help", "--debug"}
        assert {word for word in words if word.startswith("--")} <= options, code


@pytest.mark.parametrize("path", readmes(), ids=relative)
def test_lists_are_those_of_the_registries(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == renewed(text), f"{relative(path)} is out of date: run `python tests/renew_readmes.py`"


def test_results_are_those_of_the_saved_tables() -> None:
    written = (EXPERIMENTS / "RESULTS.md").read_text(encoding="utf-8")
    assert written == results_page(), "RESULTS.md is out of date: run `python tests/renew_readmes.py`"


def test_every_kind_of_component_has_a_list() -> None:
    listed = [kind for path in readmes() for kind, _ in LIST.findall(path.read_text(encoding="utf-8"))]
    assert sorted(listed) == sorted(KINDS.keys() - {"backbones"})  # timm's, more than a thousand


def test_counts_in_the_main_readme_are_those_of_the_registries() -> None:
    counts = re.findall(r"\[(\d+) (\w+)\]", MAIN.read_text(encoding="utf-8"))
    assert [kind for _, kind in counts] == ["methods", "losses", "recipes", "experiments"]
    for count, kind in counts:
        assert int(count) == len(describe_components(kind, "*")), kind


def test_the_main_readme_names_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    install = MAIN.read_text(encoding="utf-8").partition("## Install")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`\s\(", install)) == set(extras)


def test_the_main_readme_stays_short() -> None:
    text = MAIN.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert len(text.split()) <= 2_500


@pytest.mark.parametrize("path", readmes(), ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    for target, heading in LINK.findall(path.read_text(encoding="utf-8")):
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings]
            assert heading in anchors, f"{target}#{heading}"
