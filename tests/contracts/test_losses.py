"""What every registered loss keeps, found by the registry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ltml


def _batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(12, 5, generator=generator, dtype=torch.float64) * 2
    targets = torch.randint(0, 2, (12, 5), generator=generator).double()
    return logits, targets, torch.rand(12, 5, generator=generator) < 0.7


@pytest.fixture(params=ltml.list_losses())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_unknown_entries_have_no_influence_and_no_gradient(name: str) -> None:
    logits, targets, known = _batch()
    loss = ltml.create_loss(name)
    first = logits.clone().requires_grad_()
    value = loss(first, targets, known)
    value.backward()
    assert first.grad is not None
    assert torch.all(first.grad[~known] == 0)
    assert torch.any(first.grad[known] != 0)
    other = torch.where(known, targets, 1 - targets)
    moved = torch.where(known, logits, logits + 3)
    torch.testing.assert_close(loss(moved, other, known), value)


def test_permuting_classes_permutes_gradients(name: str) -> None:
    logits, targets, known = _batch()
    loss = ltml.create_loss(name)
    order = torch.tensor([3, 0, 4, 1, 2])
    plain, permuted = logits.clone().requires_grad_(), logits[:, order].clone().requires_grad_()
    loss(plain, targets, known).backward()
    loss(permuted, targets[:, order], known[:, order]).backward()
    assert plain.grad is not None
    torch.testing.assert_close(permuted.grad, plain.grad[:, order])


def test_doubling_the_batch_leaves_the_mean_unchanged(name: str) -> None:
    twice = [torch.cat([tensor, tensor]) for tensor in _batch()]
    loss = ltml.create_loss(name)
    torch.testing.assert_close(loss(*twice), loss(*_batch()))


def test_gradient_is_the_derivative(name: str) -> None:
    logits, targets, known = (tensor[:4] for tensor in _batch())
    loss = ltml.create_loss(name)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets, known), logits.clone().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_at_large_logits_and_in_half_precision(name: str, dtype: torch.dtype) -> None:
    loss = ltml.create_loss(name)
    for target in (0.0, 1.0):
        logits = torch.tensor([[-50.0, -5.0, 0.0, 5.0, 50.0]], dtype=dtype, requires_grad=True)
        value = loss(logits, torch.full((1, 5), target))
        value.backward()
        assert value.dtype == torch.float32
        assert logits.grad is not None
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()
        exact = loss(logits.detach().double(), torch.full((1, 5), target))
        torch.testing.assert_close(value.detach().double(), exact, rtol=1e-4, atol=1e-5)


def test_degenerate_batches_are_finite(name: str) -> None:
    loss = ltml.create_loss(name)
    logits, _, known = _batch()
    nothing = torch.zeros_like(known)
    for targets in (torch.zeros_like(logits), torch.ones_like(logits)):
        assert torch.isfinite(loss(logits, targets, known))
    empty = logits.clone().requires_grad_()
    value = loss(empty, torch.zeros_like(logits), nothing)
    value.backward()
    assert value.item() == 0
    assert empty.grad is not None
    assert torch.all(empty.grad == 0)


def test_inputs_and_grad_mode_are_left_alone(name: str) -> None:
    logits, targets, known = _batch()
    before = [tensor.clone() for tensor in (logits, targets, known)]
    ltml.create_loss(name)(logits, targets, known)
    assert all(torch.equal(a, b) for a, b in zip(before, (logits, targets, known), strict=True))
    assert torch.is_grad_enabled()
