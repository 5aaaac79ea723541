"""The library's front door: light to import, complete, and helpful when a name is wrong."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import ltml
from ltml.errors import InputError


def _modules_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_ltml_does_not_import_torch() -> None:
    assert "torch" not in _modules_after("import ltml; ltml.list_recipes(); ltml.list_methods()")


@pytest.mark.parametrize("arguments", [["--help"], ["recipes", "ls"], ["run", "--help"]])
def test_help_and_listings_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        f"from typer.testing import CliRunner\nfrom ltml_cli.main import app\nr = CliRunner().invoke(app, {arguments})"
    )
    modules = _modules_after(code + "\nassert r.exit_code == 0, r.output")
    assert "ltml_cli.main" in modules
    assert not {"torch", "pandas", "omegaconf"} & modules


def test_lists_match_wildcards() -> None:
    assert ltml.list_losses("b*") == ["bce"]
    assert {"prompt_query", "label_adapter", "linear"} <= set(ltml.list_heads())
    assert {"supervised", "pseudo_label", "consistency"} <= set(ltml.list_objectives())
    assert {"digits", "csv", "nih", "odir5k", "union"} <= set(ltml.list_datasets())
    assert "resnet50" in ltml.list_backbones("resnet5*")
    assert {"open_clip", "transformers", "word_vectors", "none"} == set(ltml.list_encoders())
    assert {"ldrnet", "bce"} <= set(ltml.list_methods())
    assert "digits" in ltml.list_recipes("dig*")


def test_create_loss_builds_a_working_loss() -> None:
    loss = ltml.create_loss("gce", q=1.0, reduction="sum")
    assert loss(torch.zeros(2, 3), torch.ones(2, 3)).item() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bec", {}, "did you mean 'bce'"),
        ("gce", {"Q": 0.5}, "has no option 'Q': did you mean 'q'"),
        ("gce", {"q": 2.0}, "q = 2.0"),
        ("bce", {"reduction": "avg"}, "reduction = 'avg'"),
    ],
)
def test_create_loss_explains_what_is_wrong(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        ltml.create_loss(name, **options)


def test_score_takes_nan_targets() -> None:
    table = ltml.score(np.array([[0.9, 0.2], [0.1, 0.7]]), np.array([[1, 0], [0, np.nan]]))
    assert table.macro["auroc"] == 1.0
    assert table.n_classes["auroc"] == 1


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ltml.nothing  # noqa: B018
