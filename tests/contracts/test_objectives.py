"""Every registered term of a training objective keeps the contract; those of the project also teach from one side."""

from __future__ import annotations

import pytest
import torch

from ltml.registry import OBJECTIVES
from ltml.testing import check_objective
from ltml.testing.objectives import make_steps, make_term


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_the_contract_holds(name: str) -> None:
    check_objective(OBJECTIVES.get(name))


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_half_precision_gives_nearly_the_same_value(name: str) -> None:

    full, half = (make_term(OBJECTIVES.get(name)) for _ in range(2))
    for given, short in zip(make_steps(), make_steps(dtype=torch.bfloat16), strict=True):
        assert half(short).item() == pytest.approx(full(given).item(), rel=0.1, abs=0.02)


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_a_term_teaches_from_known_or_from_unknown_labels_and_never_from_both(name: str) -> None:
    term = make_term(OBJECTIVES.get(name))
    for given in make_steps():
        term(given).backward()
        for output in (given.output, given.strong):
            gradient = output.logits.grad if output is not None else None
            if gradient is None:
                continue
            known = given.batch.known
            assert (gradient[known] == 0).all() or (gradient[~known] == 0).all()
