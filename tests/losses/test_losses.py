from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ltml.errors import InputError
from ltml.losses.asl import asl_loss
from ltml.losses.bce import bce_loss
from ltml.losses.gce import gce_loss

ORACLE = np.load(Path(__file__).parents[1] / "data" / "losses.npz")


def _slow_gce(logit: float, target: float, q: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return target * (1 - p**q) / q + (1 - target) * (1 - (1 - p) ** q) / q


@pytest.mark.parametrize("q", [0.1, 0.5, 0.8, 1.0])
def test_gce_equals_the_formula_entry_by_entry(q: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, dtype=torch.float64) * 3
    targets = torch.rand(4, 3, dtype=torch.float64)
    known = torch.rand(4, 3) < 0.6
    slow = [_slow_gce(logits[i, c].item(), targets[i, c].item(), q) for i in range(4) for c in range(3) if known[i, c]]
    assert gce_loss(logits, targets, known, q=q).item() == pytest.approx(sum(slow) / len(slow), rel=1e-12)
    assert gce_loss(logits, targets, known, q=q, reduction="sum").item() == pytest.approx(sum(slow), rel=1e-12)


def test_gce_is_bce_as_q_vanishes_and_the_absolute_error_at_one() -> None:
    torch.manual_seed(1)
    logits = torch.randn(20, 5, dtype=torch.float64) * 4
    targets = torch.randint(0, 2, (20, 5)).double()
    torch.testing.assert_close(gce_loss(logits, targets, q=1e-7), bce_loss(logits, targets), rtol=1e-5, atol=0)
    torch.testing.assert_close(gce_loss(logits, targets, q=1.0), (logits.sigmoid() - targets).abs().mean())


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_asl_is_the_formula_for_soft_targets_and_finite_at_large_logits(
    target: float, gamma: float, clip: float
) -> None:
    logits = torch.tensor([[-50.0, -3.0, 0.2, 4.0, 50.0]], dtype=torch.float64, requires_grad=True)
    targets = torch.full_like(logits, target)
    entries = asl_loss(logits, targets, gamma_pos=gamma, gamma_neg=gamma, clip=clip, reduction="none")
    entries.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    for value, entry in zip(logits[0, 1:4].tolist(), entries[0, 1:4].tolist(), strict=True):
        p = 1 / (1 + math.exp(-value))
        m = max(p - clip, 0)
        slow = -target * (1 - p) ** gamma * math.log(p) - (1 - target) * m**gamma * math.log(1 - m)
        assert entry == pytest.approx(slow, rel=1e-12)
    assert torch.isfinite(entries).all()


def test_asl_without_focus_and_clip_is_bce() -> None:
    logits, targets = torch.from_numpy(ORACLE["logits"]), torch.from_numpy(ORACLE["targets"])
    plain = asl_loss(logits, targets, gamma_pos=0.0, gamma_neg=0.0, clip=0.0)
    torch.testing.assert_close(plain, bce_loss(logits, targets))


def test_shapes_masks_and_nan_are_checked() -> None:
    logits = torch.zeros(2, 3)
    with pytest.raises(InputError, match=r"targets of shape \(2, 3\) but got \(2, 2\)"):
        bce_loss(logits, torch.zeros(2, 2))
    with pytest.raises(InputError, match="boolean mask"):
        bce_loss(logits, torch.zeros(2, 3), torch.ones(2, 3))
    with pytest.raises(InputError, match="without NaN"):
        bce_loss(logits, torch.full((2, 3), torch.nan))
