"""What every registered loss keeps, found by the registry."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

import ltml
from ltml.registry import LOSSES, create
from ltml.testing import check_loss

EXCEPTIONS: dict[str, dict[str, Any]] = {"two_way": {"couples_batch": True}, "mlsl": {"couples_batch": True}}


@pytest.mark.parametrize("name", ltml.list_losses())
def test_every_loss_keeps_the_contract(name: str) -> None:
    def make(class_counts: Tensor, num_samples: Tensor) -> Any:
        return create(LOSSES, name, {}, {"class_counts": class_counts, "num_samples": num_samples})

    check_loss(make, **EXCEPTIONS.get(name, {}))
