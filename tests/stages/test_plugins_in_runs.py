"""A plugin counts in a run's identity by the components that the recipe takes from it, and by their code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ltml
from ltml.errors import InputError
from ltml.recipe.load import load_recipe
from ltml.recipe.schema import Recipe
from ltml.registry import DATASETS, HEADS, LOSSES, OBJECTIVES
from ltml.stages.provenance import progress_of
from ltml.stages.run_directory import run_folder

FAST = ["train.epochs=1", "data.train_size=48", "data.val_size=48", "data.test_size=32", "stage2.rounds=0"]
LOSS = """
from torch import nn
from ltml.losses.bce import bce_loss
from ltml.registry import LOSSES
{imports}

@LOSSES.register("{name}")
class Mine(nn.Module):
    \"\"\"BCE with a factor.\"\"\"

    def forward(self, logits, targets, known=None):
        return {factor} * bce_loss(logits, targets, known)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Write a module into the current folder; what it registers, and the module, are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    registries = (LOSSES, HEADS, OBJECTIVES, DATASETS)
    for registry in registries:
        registry.names()
    before = [(dict(registry._components), dict(registry._origins)) for registry in registries]
    modules, path = set(sys.modules), list(sys.path)

    def forget() -> None:
        for registry, (components, origins) in zip(registries, before, strict=True):
            registry._components, registry._origins = dict(components), dict(origins)
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]

    def write(name: str, text: str = "", *, folder: str = "") -> Path:
        forget()  # as another process would import it
        file = tmp_path / folder / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    yield write
    forget()
    sys.path[:] = path


def loss(name: str = "mine", factor: object = 1.0, imports: str = "") -> str:
    return LOSS.format(name=name, factor=factor, imports=imports)


def recipe(*more: str) -> Recipe:
    return load_recipe("digits_tiny", [*FAST, *more])


def refused(run: Recipe, out: Path) -> str:
    with pytest.raises(InputError) as caught:
        ltml.run(run, out)
    return str(caught.value)


def test_an_unused_plugin_is_no_part_of_a_run(plugin: Callable[..., Path], tmp_path: Path) -> None:
    plugin("spare", loss("spare"))
    out = tmp_path / "runs"
    ltml.run(recipe("method=bce"), out)
    for plugins in ("plugins=[spare]", "plugins=[]"):
        assert run_folder(recipe("method=bce", plugins), out) == run_folder(recipe("method=bce"), out)
        assert progress_of(recipe("method=bce", plugins), out) == "done"
    plugin("spare", loss("spare", 2.0))
    assert ltml.run(recipe("method=bce", "plugins=[spare]"), out).stage1 is not None
    (tmp_path / "spare.py").unlink()
    plugin("another")
    assert ltml.run(recipe("method=bce"), out).stage1 is not None


def test_an_edited_plugin_whose_loss_is_used_is_named(plugin: Callable[..., Path], tmp_path: Path) -> None:
    plugin("used", loss())
    plugin("spare")
    options = ("method=bce", "loss={type: mine}", "plugins=[used, spare]")
    ltml.run(recipe(*options), tmp_path / "runs")
    plugin("spare", "X = 1")
    assert progress_of(recipe(*options), tmp_path / "runs") == "done"
    ltml.run(recipe(*options), tmp_path / "runs")
    ltml.run(recipe("method=bce", "loss={type: mine}", "plugins=[spare, used]"), tmp_path / "runs")
    file = plugin("used", loss(factor=2.0))
    assert f"{file} has changed since stage 1" in refused(recipe(*options), tmp_path / "runs")
    assert ltml.run(recipe(*options), tmp_path / "runs", fresh=True).stage1 is not None
    assert ltml.run(recipe(*options), tmp_path / "runs").stage1 is not None


@pytest.mark.parametrize("imports", ["from helper import FACTOR", "import helper\nFACTOR = helper.FACTOR"])
def test_code_beside_a_plugin_that_it_imports_counts(plugin: Callable[..., Path], tmp_path: Path, imports: str) -> None:
    plugin("helper", "FACTOR = 1.0")
    plugin("used", loss(factor="FACTOR", imports=imports))
    options = ("method=bce", "loss={type: mine}", "plugins=[used]")
    ltml.run(recipe(*options), tmp_path / "runs")
    plugin("unrelated", "X = 1")
    ltml.run(recipe(*options), tmp_path / "runs")
    file = plugin("helper", "FACTOR = 2.0")
    assert f"{file} has changed since stage 1" in refused(recipe(*options), tmp_path / "runs")


def test_a_loss_in_a_package_counts_by_its_own_module(plugin: Callable[..., Path], tmp_path: Path) -> None:
    plugin("__init__", "from . import losses, others", folder="pack")
    plugin("others", "X = 1", folder="pack")
    plugin("scale", "FACTOR = 1.0", folder="pack")
    plugin("losses", loss(factor="FACTOR", imports="from .scale import FACTOR"), folder="pack")
    options = ("method=bce", "loss={type: mine}", "plugins=[pack]")
    ltml.run(recipe(*options), tmp_path / "runs")
    plugin("others", "X = 2", folder="pack")
    ltml.run(recipe(*options), tmp_path / "runs")
    file = plugin("scale", "FACTOR = 2.0", folder="pack")
    assert f"{file} has changed since stage 1" in refused(recipe(*options), tmp_path / "runs")


def test_another_plugin_with_a_loss_of_the_same_name_is_another(plugin: Callable[..., Path], tmp_path: Path) -> None:
    plugin("one", loss())
    ltml.run(recipe("method=bce", "loss={type: mine}", "plugins=[one]"), tmp_path / "runs")
    file = plugin("two", loss(factor=3.0))
    message = refused(recipe("method=bce", "loss={type: mine}", "plugins=[two]"), tmp_path / "runs")
    assert f"{file} has changed since stage 1" in message


def test_a_loss_of_stage_2_alone_leaves_stage_1_as_it_is(plugin: Callable[..., Path], tmp_path: Path) -> None:
    plugin("used", loss())
    plain, mine = recipe(), recipe("stage2.m_step.loss={type: mine}", "plugins=[used]")
    ltml.run(plain, tmp_path / "runs")
    ltml.run(mine, tmp_path / "runs")
    assert len(list((tmp_path / "runs" / "digits_tiny" / "_stage1").glob("[!.]*"))) == 1
    file = plugin("used", loss(factor=2.0))
    mine = recipe("stage2.m_step.loss={type: mine}", "plugins=[used]")
    assert f"{file} has changed since stage 2" in refused(mine, tmp_path / "runs")
    ltml.run(plain, tmp_path / "runs")
    ltml.stage2(mine, tmp_path / "runs", fresh=True)
    ltml.run(mine, tmp_path / "runs")
