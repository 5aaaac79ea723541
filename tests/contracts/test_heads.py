"""What every registered head keeps, found by the registry."""

from __future__ import annotations

import pytest

import ltml
from ltml.registry import HEADS
from ltml.testing import check_head


@pytest.mark.parametrize("name", ltml.list_heads())
def test_every_head_keeps_the_contract(name: str) -> None:
    check_head(HEADS.get(name))
