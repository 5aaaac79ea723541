"""Files that come from a stranger never run code, show no secrets and do nothing to the terminal."""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import pickle
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fixtures.copies import copy_to_edit

from ltml.comparison.plan import plan_comparison, recipe_of
from ltml.errors import InputError, LtmlError
from ltml.models.backbones import Backbone
from ltml.models.text import TextConfig, embed_prompts
from ltml.models.weights import read_state_dict
from ltml.recipe.load import load_recipe, trusting_plugins
from ltml.registry import LOSSES
from ltml.report.page import Column, Table, TableCell
from ltml.report.tables.relations import write_relations
from ltml.report.writers.text import to_csv
from ltml.stages.provenance import progress_of
from ltml.stages.run_directory import read_run

PLUGIN = """
from pathlib import Path
from torch import nn
from ltml.registry import LOSSES
from ltml.report.page import Column, Table, TableCell
from ltml.report.tables.relations import write_relations
from ltml.report.writers.text import to_csv

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
    copy_to_edit(tiny_run.parents[2], out)
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


def test_an_experiment_brings_nothing_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_SECRET", "hunter2")
    file = tmp_path / "mine.yaml"
    for place in ("data: {d: {recipe: digits, set: {description: SECRET}}}", "data: {d: {recipe: digits}}"):
        row = "{name: a, method: bce}" if "set" in place else "{name: a, method: bce, set: {description: SECRET}}"
        file.write_text(f"{place}\nrows: [{row}]\n".replace("SECRET", "'${oc.env:THEIR_SECRET}'"))
        plan = plan_comparison([str(file)], seeds="0")
        with pytest.raises(InputError, match="nothing of the environment") as caught:
            recipe_of(plan.rows[0], 0)
        assert "hunter2" not in str(caught.value)


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


class Payload:
    """An object whose loading would run code, as in a hostile pickle."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def _wrapped(payload: Payload, kind: str) -> Any:
    weights = {"conv1.weight": torch.zeros(1)}
    return {"bare": payload, "beside": weights | {"x": payload}, "nested": {"state_dict": weights, "args": payload}}[
        kind
    ]


@pytest.mark.parametrize("kind", ["bare", "beside", "nested"])
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_of_a_backbone_run_no_code(kind: str, legacy: bool, tmp_path: Path) -> None:
    for name in ("w.pth", "w.pt", "w.bin", "weights"):
        file = tmp_path / name
        torch.save(_wrapped(Payload(tmp_path / "PWNED"), kind), file, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(InputError, match=rf"backbone.weights .*{name} cannot be read .*run code"):
            Backbone("resnet18", image_size=32, weights=file)
    assert not (tmp_path / "PWNED").exists()


def test_plain_pickles_and_scripts_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Payload(tmp_path / "PWNED")))
    with pytest.raises(InputError, match="cannot be read"):
        read_state_dict(tmp_path / "w.pth")
    torch.save({"a": 1}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="no state dict"):
        read_state_dict(tmp_path / "w.pth")
    assert not (tmp_path / "PWNED").exists()


def test_checkpoints_of_training_scripts_are_read(tmp_path: Path) -> None:
    weight = torch.arange(3.0)
    for content in (
        {"a": weight},
        {"state_dict": {"module.a": weight}, "args": argparse.Namespace(lr=0.1), "epoch": 3},
        {"model": {"a": weight * 0}, "model_ema": {"_orig_mod.module.a": weight}, "optimizer": {"state": {}}},
    ):
        torch.save(content, tmp_path / "w.pth")
        state = read_state_dict(tmp_path / "w.pth")
        assert list(state) == ["a"]
        torch.testing.assert_close(state["a"], weight)


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"])
def test_backbone_options_name_no_weights(option: str) -> None:
    with pytest.raises(InputError, match=rf"backbone.options cannot hold {option}: .*backbone.weights=FILE"):
        load_recipe("digits", [f"backbone.options={{{option}: evil.pth}}"])


@pytest.mark.parametrize("where", ["file", "folder"])
def test_weights_of_a_text_encoder_run_no_code(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library does: here one that trusts every file."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    file = folder / "pytorch_model.bin"
    torch.save({"x": Payload(tmp_path / "PWNED")}, file)
    if where == "file":
        monkeypatch.setattr(
            "open_clip.create_model", lambda *_, pretrained, **__: torch.load(pretrained, weights_only=False)
        )
        config = TextConfig("open_clip", "RN50", str(file), "cls", "per_class", "{LN}", {})
    else:
        trusting = staticmethod(lambda name, **_: torch.load(Path(name) / file.name, weights_only=False))
        monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", trusting)
        monkeypatch.setattr("transformers.AutoModel.from_pretrained", trusting)
        config = TextConfig("transformers", str(folder), None, "cls", "per_class", "{LN}", {})
    with pytest.raises(InputError, match=r"text\.(weights|name): .*pytorch_model.bin cannot be read .*run code"):
        embed_prompts(config, ["a", "b"])
    assert not (tmp_path / "PWNED").exists()


def test_code_that_a_language_model_brings_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"model_type": "x", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}'
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'PWNED')!r}, 'w')")
    config = TextConfig("transformers", str(folder), None, "cls", "per_class", "{LN}", {})
    with pytest.raises(LtmlError, match="cannot load the text encoder"):
        embed_prompts(config, ["a", "b"])
    assert not (tmp_path / "PWNED").exists()


STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r\u202egnp.exe"
SHOWN = r"\u001b]0;owned\u0007\u001b[2J\u009b31m\u007f\u000d\u202egnp.exe"


def _steers(text: str) -> bool:
    return any((unicodedata.category(letter) == "Cc" and letter not in "\n\t") or letter == "\u202e" for letter in text)


def test_names_do_not_steer_the_terminal(cli: Callable, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    rows = "".join(f"{i},0.{i + 1},{i % 2}\n" for i in range(8))
    file.write_text(f'id,"prob:{STEERING}","target:{STEERING}"\n{rows}', newline="")
    table = cli("evaluate", file)
    assert table.exit_code == 0, table.output
    assert r"\u001b" in table.stdout
    found = cli("evaluate", file, "--json")
    assert json.loads(found.stdout)["per_class"][0]["label"] == STEERING
    errors = [
        cli("evaluate", tmp_path / f"no{STEERING}"),
        cli("run", f"recipe{STEERING}"),
        cli("run", "digits_tiny", f"text.label_text={{'{STEERING}': x}}", "head.type=prompt_query"),
    ]
    file.write_text(f'id,"prob:{STEERING}","target:{STEERING}"\n{STEERING!r},2,1\n', newline="")
    errors.append(cli("evaluate", file))
    for result in errors:
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("error: ")
    for result in (table, found, *errors):
        assert not _steers(result.output), repr(result.output)


def test_log_lines_do_not_steer_the_terminal(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: object, **__: object) -> None:
        logging.getLogger("ltml.data").warning("the class %s has no positives", STEERING)

    monkeypatch.setattr("ltml.recipe.load.load_recipe", warn)
    assert f"warning: the class {SHOWN} has no positives\n" in cli("recipes", "show", "digits").stderr


def test_names_are_no_formulas_in_files_for_people(tmp_path: Path) -> None:
    evil = ["=cmd|' /C calc'!A0", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1"]
    plain = ["−1.0", "-1.0", "+0.4", "-0.4 ± 0.2", "a=b", "–", "Mass"]
    table = Table(
        "=1+1",
        [Column(name) for name in ("row", *evil)],
        [[TableCell(text) for text in (name, *plain[:6])] for name in evil],
    )
    rows = list(csv.reader(io.StringIO(to_csv([table]), newline="")))[1:]
    assert {row[0] for row in rows} == {"'=1+1"}
    assert [row[2] for row in rows[:6]] == [f"'{name.strip()}" for name in evil]
    assert [row[6] for row in rows[:6]] == plain[:6]
    found = {
        "labels": [{"label": name} for name in (evil[0], "Mass")],
        "queries": {"similarity": [[1.0, -0.5], [-0.5, 1.0]]},
        "features": None,
    }
    write_relations(found, tmp_path / "r.csv")
    lines = list(csv.reader(io.StringIO((tmp_path / "r.csv").read_text())))[1:]
    assert [row[1:] for row in lines[:2]] == [[f"'{evil[0]}", f"'{evil[0]}", "1.0"], [f"'{evil[0]}", "Mass", "-0.5"]]
