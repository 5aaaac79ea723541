"""Misspelt hooks of a plugin's component are errors; hooks that a plain module lacks have the defaults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import Tensor, nn

from ltml.errors import InputError
from ltml.hooks import misspelt_hook
from ltml.losses.loss import Loss
from ltml.models.heads.head import Head
from ltml.models.heads.linear import LinearHead
from ltml.objectives.objective import ObjectiveTerm
from ltml.recipe.load import load_recipe
from ltml.registry import HEADS, LOSSES, OBJECTIVES, Registry
from ltml.testing import check_head, check_loss


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    for registry in (LOSSES, HEADS, OBJECTIVES):
        registry._components.pop("mine", None)


@pytest.mark.parametrize(
    ("registry", "name", "hook"),
    [
        (LOSSES, "set_epochs", "set_epoch"),
        (LOSSES, "setEpoch", "set_epoch"),
        (HEADS, "classdims", "class_dims"),
        (HEADS, "text_mode", "text_modes"),
        (HEADS, "read_pairs", "reads_pairs"),
        (HEADS, "feature", "features"),
        (OBJECTIVES, "need_strong", "needs_strong"),
        (OBJECTIVES, "own_parameter", "own_parameters"),
        (OBJECTIVES, "reports", "report"),
    ],
)
def test_a_misspelt_hook_is_an_error_that_names_the_right_one(registry: Registry, name: str, hook: str) -> None:
    base = {LOSSES: Loss, HEADS: Head, OBJECTIVES: ObjectiveTerm}[registry]
    for parent in (nn.Module, base):
        mine = type("Mine", (parent,), {name: lambda self: None})
        with pytest.raises(TypeError, match=rf"'mine': Mine.{name} is never read: did you mean '{hook}'\?"):
            registry.register("mine")(mine)
        assert "mine" not in registry.names()


def test_what_only_resembles_a_hook_is_allowed_beside_it() -> None:
    class Mine(Loss):
        epochs = 3
        set_epochs = 3

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    assert misspelt_hook(Mine, Loss) == ""
    assert misspelt_hook(type("Private", (Loss,), {"_set_epochs": 1}), Loss) == ""


def test_a_plain_module_gets_the_defaults_of_the_hooks_that_it_lacks() -> None:
    class Mine(nn.Module):
        text_modes = ("per_class",)

        def features(self, feature_map: Tensor) -> Tensor:
            return feature_map

    HEADS.register("mine")(Mine)
    assert (Mine.text_modes, Mine.reads_pairs, dict(Mine().class_dims)) == (("per_class",), False, {})
    assert Mine().features(Tensor([1])) == 1


def test_a_head_is_a_class() -> None:
    with pytest.raises(TypeError, match="head 'mine' must be a class, not function"):
        HEADS.register("mine")(lambda context: None)


def test_a_plugin_with_a_misspelt_hook_is_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "misspelt_plugin.py").write_text(
        "from ltml.models.heads.linear import LinearHead\nfrom ltml.registry import HEADS\n\n"
        "@HEADS.register('mine')\nclass Mine(LinearHead):\n    textmodes = ('per_class',)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="Mine.textmodes is never read: did you mean 'text_modes'"):
        load_recipe("digits_tiny", ["plugins=[misspelt_plugin]", "head.type=mine"])


def test_contract_checks_find_misspelt_hooks() -> None:
    class MyLoss(Loss):
        setepoch = None

        def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
            return logits.sum()

    class MyHead(LinearHead):
        class_dim = LinearHead.class_dims
        class_dims = Head.class_dims

    with pytest.raises(AssertionError, match=r"MyLoss.setepoch is never read: did you mean 'set_epoch'\?"):
        check_loss(MyLoss())
    with pytest.raises(AssertionError, match=r"MyHead.class_dim is never read: did you mean 'class_dims'\?"):
        check_head(MyHead)


@pytest.mark.parametrize("registry", [LOSSES, HEADS, OBJECTIVES])
def test_classes_of_the_project_are_derived_from_the_base_of_their_family(registry: Registry) -> None:
    base = {LOSSES: Loss, HEADS: Head, OBJECTIVES: ObjectiveTerm}[registry]
    for name in registry.names():
        component = registry.get(name)
        if isinstance(component, type):
            assert issubclass(component, base)
