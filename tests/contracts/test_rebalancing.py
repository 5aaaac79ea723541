"""What every registered stage-2 method keeps, found by the registry; a toy method works from one plugin file."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

import ltml
from ltml.registry import REBALANCING
from ltml.testing import check_rebalancing

TOY = '''"""A stage-2 method of one's own."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.real_resample import RealResampler
from ltml.registry import REBALANCING


class Noisy(RealResampler):
    def __init__(self, features, targets, probabilities, noise):
        super().__init__(features, targets, probabilities)
        self.noise = noise

    def sample(self, n, *, generator):
        features, targets = super().sample(n, generator=generator)
        return features + self.noise * torch.randn(features.shape, generator=generator), targets


@REBALANCING.register("toy_noise")
class NoisyResampling(Rebalancing):
    """Real features with noise."""

    moves = "classifier"
    follows_prior = True

    def __init__(self, *, noise: Annotated[float, Field(ge=0, description="standard deviation")] = 0.1):
        self.noise = noise

    def sampler(self, features, targets, shift, label_names=None):
        return Noisy(features, targets, shift.probabilities, self.noise)
'''
SMALL = ("data.train_size=64", "data.val_size=64", "data.test_size=64", "train.epochs=1")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_toy_method.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_toy_method"
    REBALANCING._components.pop("toy_noise", None)
    sys.modules.pop("my_toy_method", None)


@pytest.mark.parametrize("name", REBALANCING.names())
def test_every_stage_2_method_keeps_the_contract(name: str) -> None:
    check_rebalancing(REBALANCING.get(name))


def test_a_method_in_one_plugin_file_is_checked_compared_and_reported(cli, plugin: str, tmp_path: Path) -> None:
    __import__(plugin)
    check_rebalancing(REBALANCING.get("toy_noise"))
    ours = "{name: ours, method: bce, set: {stage2.method: toy_noise, stage2.toy_noise.noise: 0.5}}"
    (tmp_path / "toys.yaml").write_text(
        "name: toys\ndescription: of a test\npaper: none\ndata:\n  tiny:\n    recipe: digits_tiny\n"
        f"    set: {{plugins: [{plugin}]}}\n    rows: [{ours}, {{name: bce, method: bce}}]\n"
    )
    done = cli("compare", tmp_path / "toys.yaml", *SMALL, "--seeds", "0", "--out", tmp_path / "runs")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "runs" / "_comparisons" / "toys-tiny"
    (row, _) = json.loads((folder / "comparison.json").read_text())["rows"]
    assert 0 <= row["mean"] <= 1
    assert cli("report", folder).exit_code == 0
    assert "ours" in (folder / "report.html").read_text()
    (run,) = [path.parent for path in (tmp_path / "runs").glob("digits_tiny/bce+*/seed0/stage2")]
    assert "toy_noise:\n    noise: 0.5" in (run / "recipe.yaml").read_text()
    inputs = json.loads((run / "stage2" / "inputs.json").read_text())
    assert list(inputs) == ["stage-2 method 'toy_noise'"]
    assert cli("report", run).exit_code == 0


def test_no_method_is_named_outside_its_file() -> None:
    root = Path(ltml.__file__).parent
    files = [file for file in root.rglob("*.py") if file.relative_to(root).parts[0] not in ("rebalancing", "losses")]
    assert len(files) > 100
    names = {*REBALANCING.names()}
    for file in files:
        strings = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        assert not names & {value for value in strings if isinstance(value, str)}, file
        for name in names:
            assert not [value for value in strings if isinstance(value, str) and f"stage2.method={name}" in value], file


def test_the_front_door_lists_methods(cli) -> None:
    assert ltml.list_rebalancing("*norm") == ["tau_norm"]
    shown = cli("list", "rebalancing", "--json")
    assert json.loads(shown.stdout).keys() == {*REBALANCING.names()}
