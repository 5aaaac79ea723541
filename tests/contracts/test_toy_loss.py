"""A loss defined as one function in one plugin file works in comparisons and reports with no other change."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path

import pytest
import torch

import ltml
from ltml.registry import LOSSES

TOY = '''"""A loss of one's own."""

from typing import Annotated

from pydantic import Field

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


@LOSSES.register("toy_brier")
def toy_brier_loss(
    logits,
    targets,
    known=None,
    *,
    power: Annotated[float, Field(gt=0, description="exponent of the error")] = 2.0,
    reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
):
    """Power of the absolute error of probabilities."""
    logits, targets, mask = prepare(logits, targets, known, any_shape=reduction == "none")
    return reduce((logits.sigmoid() - targets).abs() ** power, mask, reduction)
'''
SMALL = ("data.train_size=64", "data.val_size=64", "data.test_size=64", "train.epochs=1", "stage2.method=none")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_toy_loss.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_toy_loss"
    LOSSES._components.pop("toy_brier", None)
    sys.modules.pop("my_toy_loss", None)


def test_one_function_in_one_plugin_file_is_compared_and_reported(cli, plugin: str, tmp_path: Path) -> None:
    ours = "{name: ours, method: bce, set: {loss.type: toy_brier, loss.toy_brier.power: 1.5}}"
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


def test_a_function_is_created_as_a_module_with_its_options(plugin: str) -> None:
    __import__(plugin)
    loss = ltml.create_loss("toy_brier", power=1, reduction="sum")
    logits, targets = torch.zeros(2, 3), torch.ones(2, 3)
    assert loss(logits, targets).item() == pytest.approx(3.0)
    assert "toy_brier_loss, power=1.0, reduction=sum" in repr(loss)
    with pytest.raises(ltml.errors.InputError, match="did you mean 'power'"):
        ltml.create_loss("toy_brier", powr=1)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_a_function_loss_is_copied_with_its_options(copied) -> None:
    loss, logits = ltml.create_loss("asl", gamma_neg=2, reduction="sum"), torch.randn(4, 3)
    targets = (logits > 0).float()
    assert copied(loss)(logits, targets) == loss(logits, targets)
