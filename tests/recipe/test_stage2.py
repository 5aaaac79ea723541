"""Options of stage-2 methods stand under their method; keys of version 0.1 are refused, saved runs are translated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ltml.errors import InputError
from ltml.recipe.load import identity, load_recipe, recipe_from_dict
from ltml.recipe.show import annotated_yaml
from ltml.registry import REBALANCING

FORMER = {"covariance": "full", "borrow": None, "tau": 1.0, "neighbors": 5, "mixup_alpha": 0.2}
"""The options of all methods as version 0.1 saved them in every run."""


def _former(recipe: Any, **options: Any) -> dict[str, Any]:
    """The ``recipe.yaml`` that version 0.1 wrote."""
    values = recipe.to_dict()
    for name in REBALANCING.names():
        values["stage2"].pop(name, None)
    values["stage2"] |= FORMER | options
    return values


@pytest.mark.parametrize("method", ["none", *REBALANCING.names()])
def test_a_saved_recipe_of_the_form_before_is_the_same_recipe(method: str) -> None:
    recipe = load_recipe("digits_tiny", [f"stage2.method={method}"])
    assert identity(recipe_from_dict(_former(recipe))) == identity(recipe)
    assert recipe_from_dict(recipe.to_dict()).to_dict() == recipe.to_dict()


@pytest.mark.parametrize(
    ("method", "former", "override"),
    [
        ("gaussian", {"covariance": 0.3}, "stage2.gaussian.covariance=0.3"),
        ("gaussian", {"borrow": "head"}, "stage2.gaussian.borrow=head"),
        ("tau_norm", {"tau": 0.5}, "stage2.tau_norm.tau=0.5"),
        ("logit_adjust", {"tau": 2.0}, "stage2.logit_adjust.tau=2"),
        ("smote", {"neighbors": 7}, "stage2.smote.neighbors=7"),
        ("mixup", {"mixup_alpha": 1.0}, "stage2.mixup.alpha=1"),
    ],
)
def test_a_saved_option_moves_to_its_method(method: str, former: dict[str, Any], override: str, tmp_path: Path) -> None:
    plain, recipe = (load_recipe("digits_tiny", [f"stage2.method={method}", *more]) for more in ((), (override,)))
    saved = _former(plain, **former) | {"variant": recipe.variant}
    assert identity(recipe_from_dict(saved)) == identity(recipe)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(saved | {"stage1": "..", "data_fingerprint": "0"}))
    read = load_recipe(str(tmp_path / "recipe.yaml"))
    assert read.to_dict() == recipe.to_dict()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage2.tau=0.5"], r"stage2.tau is now stage2.logit_adjust.tau or stage2.tau_norm.tau$"),
        (["stage2.method=tau_norm", "stage2.tau=0.5"], r"stage2.tau is now stage2.tau_norm.tau$"),
        (["stage2.neighbors=3"], r"stage2.neighbors is now stage2.smote.neighbors$"),
        (["stage2.mixup_alpha=1"], r"stage2.mixup_alpha is now stage2.mixup.alpha$"),
        (["stage2.covariance=oas", "method=bce"], r"stage2.covariance is now stage2.gaussian.covariance$"),
        (["stage2.borrow=head"], r"stage2.borrow is now stage2.gaussian.borrow$"),
        (["stage2.method=smoote"], "stage2.method = 'smoote' is not allowed: did you mean 'smote'"),
        (["stage2.smote.neighbours=3"], "unknown key 'stage2.smote.neighbours'.*did you mean 'neighbors'"),
        (["stage2.smote.neighbors=0"], "stage2.smote.neighbors = 0 is not allowed"),
        (["stage2.roundz=3"], "unknown key 'stage2.roundz': did you mean 'rounds'"),
        (["stage2.smote=3"], "stage2.smote must hold options of 'smote'"),
    ],
)
def test_what_stage_2_does_not_read_is_refused_with_the_right_spelling(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe("digits_tiny", overrides)


def test_options_of_other_methods_may_stand_beside_and_are_left_out() -> None:
    recipe = load_recipe("digits_tiny", ["stage2.smote.neighbors=3"])
    assert recipe.to_dict() == load_recipe("digits_tiny").to_dict()
    assert "smote" not in load_recipe("digits_tiny", ["method=bce", "stage2.smote.neighbors=3"]).to_dict()["stage2"]


def test_a_shown_recipe_says_what_the_options_of_its_method_mean() -> None:
    shown = annotated_yaml(load_recipe("digits_tiny", ["method=smote"]))
    assert "  smote:\n    neighbors: 5  # nearest positives of the class that one is moved to" in shown
    assert yaml.safe_load(shown)["stage2"]["smote"] == {"neighbors": 5}
