"""Contract of the terms of a training objective."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ltml.losses.loss import Loss
from ltml.objectives.objective import ObjectiveTerm, Step, TrainingContext
from ltml.registry import LOSSES, create
from ltml.testing.hooks import check_hooks
from ltml.types import Batch, ModelOutput

ROWS, BATCH, CLASSES, WIDTH, POOLED, EPOCHS = 20, 8, 5, 3, 6, 3
POSITIVES, NEGATIVES = (9, 3, 1, 0, 5), (9, 12, 17, 8, 3)
"""Known labels per class in training."""
COMMON = (True, False, True, False, False)
"""Whether both sources label a class."""
ORDER = (3, 0, 4, 2, 1)
"""New order of the classes."""
ORDER_OF_OTHERS = (0, 3, 2, 4, 1)
"""New order of the classes that leaves the common ones in place."""

FROM_LOGITS = "compute the value from the step's outputs by torch's operations, in float32: logits.float()"
MASKED = "read targets only where step.batch.known is True"
BUFFERS = "keep what lasts from step to step in buffers, or in get_extra_state() and set_extra_state()"

MakeTerm = Callable[[Loss, TrainingContext], Any]


def check_objective(make: MakeTerm) -> None:
    """Assert that a term of a training objective keeps the contract of terms.

    Its value is a finite scalar in float32 at least, for half precision too, with a gradient; targets of unknown
    entries have no influence; the order of classes does not matter; it works without the strong view unless
    ``needs_strong`` is True; it draws no random numbers in a step and leaves the batch alone; a saved state continues
    with the same values; ``own_parameters()`` are parameters of the term and ``report()`` gives finite numbers.

    Args:
        make: the term's class, or a function of the loss and the `TrainingContext` that returns the term.

    Raises:
        AssertionError: says what is wrong and how to mend it.

    Example:
        >>> from ltml.objectives.consistency import Consistency
        >>> check_objective(Consistency)
    """
    term = make_term(make)
    check_hooks(term, ObjectiveTerm)
    _check_values(make)
    _check_steps(make)
    _check_unknown_targets(make)
    _check_order(make, ORDER_OF_OTHERS if term.own_parameters() else ORDER)  # own ones start at random, class by class
    _check_saved_state(make)
    _check_hooks(make)


def make_term(make: MakeTerm, order: tuple[int, ...] = tuple(range(CLASSES))) -> Any:
    """Return a term made for two sources and classes in some order, always from the same seed."""
    classes = list(order)
    positives, negatives, common = (torch.tensor(values)[classes] for values in (POSITIVES, NEGATIVES, COMMON))
    sources = torch.arange(ROWS) % 2
    torch.manual_seed(0)
    context = TrainingContext(
        ROWS, EPOCHS + 1, positives, negatives, common, ("a", "b"), sources, (CLASSES, WIDTH), POOLED
    )
    return make(create(LOSSES, "bce", {}), context)


def make_steps(order: tuple[int, ...] = tuple(range(CLASSES)), *, dtype: torch.dtype = torch.float32) -> list[Step]:
    """Return one step per epoch, whose batches overlap; logits are leaves that require a gradient."""
    steps, classes = [], list(order)
    for epoch in range(EPOCHS):
        rng = torch.Generator().manual_seed(epoch)
        weak, strong = (3 * torch.randn(BATCH, CLASSES, generator=rng) for _ in range(2))
        known = torch.rand(BATCH, CLASSES, generator=rng) < 0.6
        targets = (torch.rand(BATCH, CLASSES, generator=rng) < 0.5).float() * known
        features = torch.randn(BATCH, CLASSES, WIDTH, generator=rng)[:, classes].to(dtype).requires_grad_()
        pooled = torch.randn(BATCH, POOLED, generator=rng).to(dtype)
        rows = torch.arange(BATCH) + 4 * epoch
        batch = Batch(torch.zeros(BATCH, 1, 2, 2), targets[:, classes], known[:, classes], rows)
        first, second = (logits[:, classes].to(dtype).requires_grad_() for logits in (weak, strong))
        output, other = ModelOutput(features, first, pooled), ModelOutput(features, second, pooled)
        steps.append(Step(batch, output, epoch, other))
    return steps


def _seen(term: Any, step: Step) -> Step:
    """Return the step as training gives it to a term: with a strong view only if the term needs it."""
    return step if term.needs_strong else step._replace(strong=None)


def _values(term: Any, steps: list[Step]) -> list[float]:
    return [float(term(_seen(term, step)).detach()) for step in steps]


def _assert_close(actual: list[float], expected: list[float], what: str, remedy: str, *, rel: float = 1e-5) -> None:
    for one, other in zip(actual, expected, strict=True):
        if not math.isclose(one, other, rel_tol=rel, abs_tol=rel / 10):
            raise AssertionError(f"{what} ({one:.7g}, not {other:.7g}): {remedy}")


def _check_values(make: MakeTerm) -> None:
    term, has_gradient = make_term(make), False
    for step in make_steps():
        try:
            value = term(_seen(term, step))
        except (AssertionError, AttributeError) as error:
            if term.needs_strong:
                raise
            raise AssertionError(
                "the term fails without the strong view: set needs_strong = True on the class if it compares two views"
            ) from error
        if value.shape != () or not bool(value.isfinite()):
            raise AssertionError(
                f"the value is {value.tolist()}, not a finite scalar: average over entries, but never over none"
            )
        has_gradient = has_gradient or value.requires_grad
    if not has_gradient:
        raise AssertionError(f"no gradient reaches the outputs: {FROM_LOGITS}")
    half = make_term(make)
    for step in make_steps(dtype=torch.bfloat16):
        value = half(_seen(half, step))
        if value.dtype not in (torch.float32, torch.float64) or not bool(value.isfinite()):
            raise AssertionError(f"for outputs in bfloat16 the value is {value.item()} in {value.dtype}: {FROM_LOGITS}")


def _check_steps(make: MakeTerm) -> None:
    term = make_term(make)
    for step in make_steps():
        targets, known, generator = step.batch.targets.clone(), step.batch.known.clone(), torch.get_rng_state()
        term(_seen(term, step))
        if not torch.equal(torch.get_rng_state(), generator):
            raise AssertionError(
                "the term draws random numbers in a step: draw none, since several processes must get the same value"
            )
        if not (torch.equal(step.batch.targets, targets) and torch.equal(step.batch.known, known)):
            raise AssertionError("the term changes the batch in place: work on a clone of targets and known")


def _check_unknown_targets(make: MakeTerm) -> None:
    changed = []
    for step in make_steps():
        targets = torch.where(step.batch.known, step.batch.targets, 1 - step.batch.targets)
        changed.append(step._replace(batch=step.batch._replace(targets=targets)))
    what = "targets of unknown entries have an influence"
    _assert_close(_values(make_term(make), changed), _values(make_term(make), make_steps()), what, MASKED)


def _check_order(make: MakeTerm, order: tuple[int, ...]) -> None:
    remedy = "treat all classes alike, and take what differs between them from the context"
    moved, plain = make_term(make, order), make_term(make)
    steps, moved_steps = make_steps(), make_steps(order)
    what = "the value depends on the order of classes"
    _assert_close(_values(moved, moved_steps), _values(plain, steps), what, remedy)
    moved, plain = make_term(make, order), make_term(make)
    for moved_step, step in zip(moved_steps, steps, strict=True):
        ours, theirs = _gradient(plain, step), _gradient(moved, moved_step)
        if not torch.allclose(theirs, ours[:, list(order)], rtol=1e-4, atol=1e-6):
            raise AssertionError(f"gradients depend on the order of classes: {remedy}")


def _gradient(term: Any, step: Step) -> Tensor:
    """Return the gradient of a value to the logits of both views, ``(B, C, 2)``."""
    value = term(_seen(term, step))
    views = [step.output.logits, step.strong.logits if step.strong is not None else step.output.logits]
    if not value.requires_grad:
        return torch.zeros(*views[0].shape, 2)
    found = torch.autograd.grad(value, views, allow_unused=True)
    return torch.stack([torch.zeros_like(views[0]) if one is None else one for one in found], dim=-1)


def _check_saved_state(make: MakeTerm) -> None:
    whole, first, second = (make_term(make) for _ in range(3))
    expected = _values(whole, make_steps())[-1:]
    _values(first, make_steps()[:-1])
    second.load_state_dict(first.state_dict())
    what = "a term with a saved state continues with another value"
    _assert_close(_values(second, make_steps()[-1:]), expected, what, BUFFERS)


def _check_hooks(make: MakeTerm) -> None:
    term = make_term(make)
    known = {id(parameter) for parameter in term.parameters()}
    if any(id(parameter) not in known for parameter in term.own_parameters()):
        raise AssertionError(
            "own_parameters() gives parameters that are not the term's: keep them in the term, so that they are saved"
        )
    _values(term, make_steps())
    for name, value in term.report().items():
        if not isinstance(value, float | int) or not math.isfinite(value):
            raise AssertionError(f"report() gives {value!r} for '{name}': give a finite number, or leave the name out")
