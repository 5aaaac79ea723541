"""Files that come from a stranger never run code, show no secrets and do nothing to the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from ltml.errors import InputError
from ltml.recipe.load import load_recipe, trusting_plugins
from ltml.registry import LOSSES
from ltml.stages.run_directory import progress_of, read_run

PLUGIN = """
from pathlib import Path
from torch import nn
from ltml.registry import LOSSES

Path("PWNED").touch()

@LOSSES.register("{name}_loss")
class TheirLoss(nn.Module):
    '''A loss from outside.'''
    def __init__(self, *, scale: float = 1.0):
        super().__init__()
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """Name of a module in the current folder that leaves a file PWNED there when it is imported."""
    name = f"their_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(PLUGIN.format(name=name))
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield name
    sys.path[:] = before
    sys.modules.pop(name, None)
    LOSSES._components.pop(f"{name}_loss", None)


def _change_recipe(run: Path, **fields: object) -> Path:
    path = run / "recipe.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | fields))
    return path


@pytest.fixture
def their_run(tiny_run: Path, tmp_path: Path, plugin: str) -> Path:
    """A run whose recipe names the plugin and a loss of it."""
    out = tmp_path / "runs"
    shutil.copytree(tiny_run.parents[2], out)
    run = out / tiny_run.relative_to(tiny_run.parents[2])
    _change_recipe(run, plugins=[plugin], loss={"type": f"{plugin}_loss", f"{plugin}_loss": {"scale": 2.0}})
    return run


def test_reading_a_run_imports_nothing(their_run: Path, cli: Callable, tmp_path: Path) -> None:
    for command in (
        ("evaluate", their_run),
        ("evaluate", their_run, "--ci", "--resamples", "100"),
        ("report", their_run),
        ("report", their_run, "--format", "csv"),
        ("gaussians", their_run),
        ("calibrate", their_run),
        ("relations", their_run),
    ):
        result = cli(*command)
        assert result.exit_code == 0, result.output
    assert "their_test" in (their_run / "report.html").read_text()
    own = load_recipe("digits_tiny")
    assert progress_of(own, tmp_path / "runs") == "to do"
    fast = ["method=bce", "train.epochs=1", "data.train_size=64", "data.val_size=64", "data.test_size=32"]
    assert cli("run", "digits_tiny", *fast, "--out", tmp_path / "runs").exit_code == 0
    shared = read_run(their_run)[0]
    started = cli("stage1", "digits_tiny", "train.epochs=1", f"init_from={their_run}", "--out", tmp_path / "own")
    assert started.exit_code == 0, started.output
    assert shared.checkpoint1.is_file()
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("command", ["validate", "show"])
def test_looking_at_a_recipe_says_what_would_be_imported(
    their_run: Path, cli: Callable, tmp_path: Path, command: str
) -> None:
    result = cli("recipes", command, their_run / "recipe.yaml")
    assert result.exit_code == 2
    for part in ("unknown loss", str(tmp_path / "their_"), "--trust-plugins"):
        assert part in result.stderr
    assert not (tmp_path / "PWNED").exists()
    trusted = cli("recipes", command, their_run / "recipe.yaml", "--trust-plugins")
    assert trusted.exit_code == 0, trusted.output
    assert (tmp_path / "PWNED").exists()
    assert f"imported from {tmp_path / 'their_'}" in trusted.stderr


def test_a_plugin_that_nothing_comes_from_is_not_imported_to_look_at_a_recipe(
    plugin: str, cli: Callable, tmp_path: Path
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"name: x\nplugins: [{plugin}]\ndata: {{type: digits, image_size: 16}}\n")
    assert cli("recipes", "validate", file).exit_code == 0
    assert not (tmp_path / "PWNED").exists()
    assert cli("recipes", "validate", "digits", f"plugins=[{plugin}]").exit_code == 0  # typed, so wanted
    assert (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("command", [("evaluate",), ("report",), ("gaussians",), ("calibrate",), ("relations",)])
def test_plugins_of_a_run_are_imported_where_they_are_trusted(
    their_run: Path, cli: Callable, tmp_path: Path, command: tuple[str, ...]
) -> None:
    result = cli(*command, their_run, "--trust-plugins")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "PWNED").exists()


def test_trust_ends_with_its_block(their_run: Path, tmp_path: Path) -> None:
    with trusting_plugins():
        pass
    read_run(their_run)
    assert not (tmp_path / "PWNED").exists()


def test_the_current_folder_hides_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: str) -> None:
    (tmp_path / "colorsys.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "csv.py").write_text("")
    load_recipe("digits", [f"plugins=[{plugin}]"])
    assert sys.path.index(str(tmp_path)) > max(i for i, p in enumerate(sys.path) if p.endswith("site-packages"))
    sys.modules.pop("colorsys", None)
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)
    with pytest.raises(
        InputError, match=r"'csv' is .*lib.*csv.py, which comes before .*give the file here another name"
    ):
        load_recipe("digits", ["plugins=[csv]"])


def test_the_latest_folder_comes_first_among_those_of_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: str
) -> None:
    load_recipe("digits", [f"plugins=[{plugin}]"])
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "their_twin.py").write_text(f"NUMBER = {number}\n")
        monkeypatch.chdir(folder)
        sys.modules.pop("their_twin", None)
        load_recipe("digits", ["plugins=[their_twin]"])
        assert number == sys.modules["their_twin"].NUMBER
    del sys.modules["their_twin"]


SECRETS = (
    "${oc.env:THEIR_SECRET}",
    "x${oc.env:THEIR_SECRET,none}",
    "${ oc.env :THEIR_SECRET}",
    "${oc.decode:${oc.env:THEIR_SECRET}}",
    "${oc.create:{a: 1}}",
    "${${description}:THEIR_SECRET}",
    "${oc.select:name}",
    "${anything:1}",
)


@pytest.mark.parametrize("text", SECRETS)
def test_nothing_of_the_environment_comes_into_a_recipe(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_SECRET", "hunter2")
    file = tmp_path / "recipe.yaml"
    for content in (
        {"name": "x", "description": text, "data": {"type": "digits", "image_size": 16}},
        {"name": "x", "method": text, "data": {"type": "digits", "image_size": 16}},
        {"name": "x", "variant": text, "data": {"type": "digits", "image_size": 16}},
        {"name": "x", "data": {"type": "digits", "image_size": 16, "views": {"train": [{"Pad": {"padding": text}}]}}},
    ):
        file.write_text(yaml.safe_dump(content))
        with pytest.raises(InputError, match="nothing of the environment") as caught:
            load_recipe(str(file))
        assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError, match="nothing of the environment"):
        load_recipe("digits", [f"description='{text}'"])


def test_other_keys_may_be_referred_to(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "name: x\ndescription: ${name} of ${data.type}\n"
        "data: {type: digits, image_size: 16, resize: '${.image_size}'}\n"
    )
    recipe = load_recipe(str(file), ["train.early_stop=${train.epochs}", "train.epochs=7"])
    assert recipe.description == "x of digits"
    assert recipe.data.resize == 16
    assert recipe.train.early_stop == 7


@pytest.mark.parametrize("variant", ["../../../escaped", "/tmp/escaped", "abc", "0123456g"])
def test_a_saved_variant_leads_nowhere_else(variant: str, tmp_path: Path, tiny_run: Path) -> None:
    shutil.copy(tiny_run / "recipe.yaml", tmp_path)
    file = _change_recipe(tmp_path, variant=variant)
    with pytest.raises(InputError, match="variant"):
        load_recipe(str(file))
    with pytest.raises(InputError, match="variant"):
        read_run(tmp_path)
