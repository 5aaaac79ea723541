from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from ltml.errors import InputError, suggest
from ltml.registry import DATASETS, HEADS, LOSSES, OBJECTIVES, Registry, options_model


def test_registering_a_name_twice_is_an_error() -> None:
    registry: Registry[type] = Registry("thing", "ltml.losses")
    registry.register("a")(int)
    with pytest.raises(ValueError, match="registered already"):
        registry.register("a")(float)


def test_a_miss_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown head 'promt_query': did you mean 'prompt_query'"):
        HEADS.get("promt_query")


def test_every_component_has_a_summary_and_options() -> None:
    for registry in (LOSSES, HEADS, OBJECTIVES, DATASETS):
        assert registry.names()
        for name in registry.names():
            assert len(registry.summary(name)) > 10
            assert registry.options(name).model_config["extra"] == "forbid"


def test_options_are_the_keyword_only_parameters() -> None:
    def component(first: int, *, second: Annotated[int, Field(gt=0)], third: str = "x") -> None:
        del first, second, third

    model = options_model(component)
    assert set(model.model_fields) == {"second", "third"}
    with pytest.raises(ValidationError):
        model(second=0)
    with pytest.raises(ValidationError):
        model(second=1, first=2)


def test_suggest_says_what_is_allowed() -> None:
    assert suggest("Alfa", ["alpha", "beta"]) == "did you mean 'alpha'? Allowed: alpha, beta"
    assert suggest("zzz", ["a"]) == "Allowed: a"
    assert suggest("n2O", [f"n{i}" for i in range(30)]).endswith("30 names are allowed")
