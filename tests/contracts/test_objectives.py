"""What every registered term of a training objective keeps, found by the registry."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import ltml
from ltml.objectives.objective import Step, TrainingContext
from ltml.registry import OBJECTIVES
from ltml.types import Batch, ModelOutput

ROWS, CLASSES = 20, 5


def make(name: str, order: Tensor) -> torch.nn.Module:
    """A term for two sources, the classes in some order."""
    positives, negatives = torch.tensor([9, 3, 1, 0, 5])[order], torch.tensor([9, 12, 17, 8, 3])[order]
    common = torch.tensor([True, False, True, False, False])[order]
    context = TrainingContext(
        ROWS, 4, positives, negatives, common, ("a", "b"), torch.arange(ROWS) % 2, (CLASSES, 3), 6
    )
    torch.manual_seed(0)
    term: torch.nn.Module = OBJECTIVES.get(name)(ltml.create_loss("bce"), context)
    return term


def steps(order: Tensor, *, dtype: torch.dtype = torch.float32) -> list[Step]:
    """Three epochs of batches that overlap, every entry a leaf that gathers a gradient."""
    made = []
    for epoch in range(3):
        rng = torch.Generator().manual_seed(epoch)
        weak, strong = (3 * torch.randn(8, CLASSES, generator=rng) for _ in range(2))
        known = torch.rand(8, CLASSES, generator=rng) < 0.6
        targets = (torch.rand(8, CLASSES, generator=rng) < 0.5).float() * known
        features, pooled = torch.randn(8, CLASSES, 3, generator=rng), torch.randn(8, 6, generator=rng)
        batch = Batch(torch.zeros(8, 1, 2, 2), targets[:, order], known[:, order], torch.arange(8) + 4 * epoch)
        leaves = [value[:, order].to(dtype).requires_grad_() for value in (weak, strong)]
        output = ModelOutput(features[:, order].to(dtype).requires_grad_(), leaves[0], pooled.to(dtype))
        made.append(Step(batch, output, epoch, ModelOutput(output.features, leaves[1], output.pooled)))
    return made


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_values_are_finite_scalars_in_float32_at_least_also_for_half_precision(name: str) -> None:
    order = torch.arange(CLASSES)
    full, half = make(name, order), make(name, order)
    for given, short in zip(steps(order), steps(order, dtype=torch.bfloat16), strict=True):
        value, near = full(given), half(short)
        assert value.shape == ()
        assert near.dtype == torch.float32
        assert math.isfinite(value.item())
        assert near.item() == pytest.approx(value.item(), rel=0.1, abs=0.02)


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_the_order_of_classes_does_not_matter(name: str) -> None:
    straight, order = torch.arange(CLASSES), torch.tensor([3, 0, 4, 2, 1])
    if name == "adversarial":
        order = torch.tensor([0, 3, 2, 4, 1])  # its discriminators start at random, in the order of the classes
    one, other = make(name, straight), make(name, order)
    for plain, moved in zip(steps(straight), steps(order), strict=True):
        first, second = one(plain), other(moved)
        assert second.item() == pytest.approx(first.item(), rel=1e-5, abs=1e-7)
        first.backward()
        second.backward()
        for kind in ("output", "strong"):
            ours, theirs = getattr(plain, kind).logits.grad, getattr(moved, kind).logits.grad
            assert (ours is None) == (theirs is None)
            if ours is not None:
                torch.testing.assert_close(theirs, ours[:, order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_a_term_teaches_from_known_or_from_unknown_labels_and_never_from_both(name: str) -> None:
    order = torch.arange(CLASSES)
    term = make(name, order)
    for given in steps(order):
        term(given).backward()
        for output in (given.output, given.strong):
            gradient = output.logits.grad if output is not None else None
            if gradient is None:
                continue
            known = given.batch.known
            assert (gradient[known] == 0).all() or (gradient[~known] == 0).all()


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_targets_of_unknown_entries_have_no_influence(name: str) -> None:
    order = torch.arange(CLASSES)
    one, other = make(name, order), make(name, order)
    for given in steps(order):
        batch = given.batch
        changed = torch.where(batch.known, batch.targets, 1 - batch.targets)
        assert other(given._replace(batch=batch._replace(targets=changed))).item() == one(given).item()
