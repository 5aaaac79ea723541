"""Contract of losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck

from ltml.errors import InputError
from ltml.losses.loss import Loss
from ltml.testing.hooks import check_hooks

CLASSES = 5
COUNTS = (40, 25, 10, 4, 1)
"""Known positives per class."""
ENTRIES = (100, 100, 90, 80, 100)
"""Known entries per class."""
ORDER = (3, 0, 4, 1, 2)

MASK = (
    "set the loss of every entry to 0 where `known` is False, e.g. torch.where(known, entries, 0), before it is summed"
)
RAISE = (
    "raise half precision first (logits.float()), and compute inside torch.autocast(logits.device.type, enabled=False)"
)

LossFunction = Callable[..., Tensor]
MakeLoss = Callable[[Tensor, Tensor], LossFunction]


def check_loss(loss: nn.Module | MakeLoss, *, couples_batch: bool = False, tolerance: float = 1e-4) -> None:
    """Assert that a loss ``(logits, targets, known=None)`` with ``reduction="mean"`` keeps the contract of losses.

    A scalar in float32 at least, float64 for float64; unknown entries have exactly no gradient and no influence; the
    order of classes and of samples does not matter; doubling the batch leaves the mean as it is; the gradient is the
    derivative of the value; finite for logits of ±50, for labels that are all negative, all positive or all unknown
    (then 0), for soft targets unless they are refused by an InputError, and for a class without known positives; NaN
    targets are refused; half precision and autocast give what float64 gives for the same logits; inputs and autograd's
    mode are left alone.

    Args:
        loss: a module that treats its 5 classes alike, or a function from ``class_counts`` and ``num_samples``, int64
            ``(5,)``, to a loss made for them.
        couples_batch: the loss compares samples of a batch with each other, so that doubling the batch changes it;
            it is then asserted that it does.
        tolerance: relative, and a tenth of it absolute, between half precision and float64.

    Raises:
        AssertionError: says what is wrong.

    Example:
        >>> import ltml
        >>> check_loss(ltml.create_loss("bce"))
    """
    make: MakeLoss = (lambda _counts, _entries: loss) if isinstance(loss, nn.Module) else loss
    made = make(torch.tensor(COUNTS), torch.tensor(ENTRIES))
    if isinstance(made, nn.Module):
        check_hooks(made, Loss)
    _check_inputs_are_left_alone(made)
    _check_value(made)
    _check_unknown_entries(made)
    _check_order_of_classes(make)
    _check_order_of_samples(made)
    _check_doubled_batch(made, couples_batch=couples_batch)
    _check_derivative(made)
    _check_extreme_labels(made)
    _check_soft_and_missing_targets(made)
    _check_precision(made, tolerance)
    _check_class_without_positives(make)


class _Labelled(NamedTuple):
    logits: Tensor
    targets: Tensor
    known: Tensor

    def choose(self, samples: Tensor | None = None, classes: Tensor | None = None) -> _Labelled:
        """The same entries, samples and classes in another order."""
        rows = torch.arange(len(self.logits)) if samples is None else samples
        columns = torch.arange(CLASSES) if classes is None else classes
        return _Labelled(*(part[rows][:, columns] for part in self))


def _batch(rows: int = 12) -> _Labelled:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, CLASSES, generator=generator, dtype=torch.float64) * 2
    targets = torch.randint(0, 2, (rows, CLASSES), generator=generator).double()
    return _Labelled(logits, targets, torch.rand(rows, CLASSES, generator=generator) < 0.7)


def _value_and_gradient(loss: LossFunction, given: _Labelled) -> tuple[Tensor, Tensor]:
    logits = given.logits.clone().requires_grad_()
    value = loss(logits, given.targets, given.known)
    if not value.requires_grad:
        raise AssertionError(
            "no gradient reaches the logits: compute the loss from them by torch's operations alone, without .item(), "
            ".detach(), numpy or torch.no_grad()"
        )
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def _assert_close(actual: Tensor, expected: Tensor, what: str, remedy: str, *, tolerance: float = 1e-7) -> None:
    if not torch.allclose(actual, expected, rtol=tolerance, atol=tolerance / 10):
        raise AssertionError(f"{what} (by {float((actual - expected).abs().max()):.2g}): {remedy}")


def _assert_finite(loss: LossFunction, given: _Labelled, what: str) -> None:
    value, gradient = _value_and_gradient(loss, given)
    wrong = int((~torch.isfinite(gradient)).sum())
    if wrong or not math.isfinite(value.item()):
        raise AssertionError(
            f"{what}: the loss is {value.item()}, and its gradient not finite for {wrong} logits: use logsigmoid or "
            "softplus of the logits, not the logarithm of a sigmoid, and divide by no sum or count that may be 0"
        )


def _check_inputs_are_left_alone(loss: LossFunction) -> None:
    given = _batch()
    before = [part.clone() for part in given]
    with torch.enable_grad():
        loss(*given)
        if not torch.is_grad_enabled():
            torch.set_grad_enabled(True)
            raise AssertionError("the loss leaves autograd switched off: use `with torch.no_grad():`, which ends")
    with torch.no_grad():
        loss(*given)
        if torch.is_grad_enabled():
            raise AssertionError("the loss leaves autograd switched on: use `with torch.enable_grad():`, which ends")
    for name, part, was in zip(given._fields, given, before, strict=True):
        if not torch.equal(part, was):
            raise AssertionError(
                f"the loss changes its {name} in place: work on a clone, without methods that end in an underscore"
            )


def _check_value(loss: LossFunction) -> None:
    value = loss(*_batch())
    if value.shape != ():
        raise AssertionError(f"the loss has shape {tuple(value.shape)}, not that of a scalar: use reduction='mean'")
    if value.dtype != torch.float64:
        raise AssertionError(
            f"the loss of float64 logits is {value.dtype}: make targets, weights and constants of the logits' dtype"
        )
    logits, targets, known = _batch()
    everything = loss(logits, targets, torch.ones_like(known))
    remedy = "take known=None as a mask of ones"
    _assert_close(loss(logits, targets), everything, "without a mask everything is known, and it differs", remedy)


def _check_unknown_entries(loss: LossFunction) -> None:
    given = _batch()
    value, gradient = _value_and_gradient(loss, given)
    if wrong := int((gradient[~given.known] != 0).sum()):
        raise AssertionError(
            f"unknown entries have a gradient ({wrong} of {int((~given.known).sum())}): {MASK}, and divide by the "
            "number of known ones"
        )
    if not bool((gradient[given.known] != 0).any()):
        raise AssertionError("known entries have no gradient: let the mask keep what is known (True) and drop the rest")
    other = given._replace(targets=torch.where(given.known, given.targets, 1 - given.targets))
    _assert_close(loss(*other), value, "targets of unknown entries have an influence", MASK)
    moved = given._replace(logits=torch.where(given.known, given.logits, given.logits + 3))
    _assert_close(loss(*moved), value, "logits of unknown entries have an influence", MASK)


def _check_order_of_classes(make: MakeLoss) -> None:
    order, counts, entries = torch.tensor(ORDER), torch.tensor(COUNTS), torch.tensor(ENTRIES)
    value, gradient = _value_and_gradient(make(counts, entries), _batch())
    moved = _value_and_gradient(make(counts[order], entries[order]), _batch().choose(classes=order))
    remedy = "treat all classes alike, and take what differs between them from class_counts and num_samples"
    _assert_close(moved[0], value, "the loss depends on the order of classes", remedy)
    _assert_close(moved[1], gradient[:, order], "gradients depend on the order of classes", remedy)


def _check_order_of_samples(loss: LossFunction) -> None:
    order = torch.arange(12).roll(5)
    value, gradient = _value_and_gradient(loss, _batch())
    moved = _value_and_gradient(loss, _batch().choose(samples=order))
    remedy = "treat all samples of a batch alike, whatever their place"
    _assert_close(moved[0], value, "the loss depends on the order of samples", remedy)
    _assert_close(moved[1], gradient[order], "gradients depend on the order of samples", remedy)


def _check_doubled_batch(loss: LossFunction, *, couples_batch: bool) -> None:
    once, twice = loss(*_batch()), loss(*_batch().choose(samples=torch.arange(12).repeat(2)))
    if not couples_batch:
        remedy = "with reduction='mean' divide by the number of known entries (couples_batch=True if it has to)"
        _assert_close(twice, once, "doubling the batch changes the mean", remedy)
    elif torch.allclose(twice, once):
        raise AssertionError("doubling the batch does not change the loss: couples_batch=True is not true of it")


def _check_derivative(loss: LossFunction) -> None:
    logits, targets, known = _batch(4)
    try:
        gradcheck(lambda x: loss(x, targets, known), logits.clone().requires_grad_())
    except GradcheckError as error:
        raise AssertionError(
            "the gradient is not the derivative of the loss: let it through all that depends on the logits (no "
            ".detach(), no .data, no rounding), or mend the backward of an autograd.Function of your own"
        ) from error


def _check_extreme_labels(loss: LossFunction) -> None:
    given = _batch()
    for label in (0.0, 1.0):
        alike = given._replace(targets=torch.full_like(given.targets, label))
        _assert_finite(loss, alike, f"all known targets {label:g}")
        everything = given._replace(targets=alike.targets, known=torch.ones_like(given.known))
        _assert_finite(loss, everything, f"all targets {label:g}")
    value, gradient = _value_and_gradient(loss, given._replace(known=torch.zeros_like(given.known)))
    if value.item() != 0 or bool((gradient != 0).any()):
        raise AssertionError(
            f"nothing known: the loss is {value.item()}, not 0, or has a gradient: divide the sum by the number of "
            "known entries, but by 1 where there is none"
        )


def _check_soft_and_missing_targets(loss: LossFunction) -> None:
    given = _batch()
    with suppress(InputError):
        _assert_finite(loss, given._replace(targets=given.targets * 0.8 + 0.1), "soft targets")
    try:
        loss(given.logits, torch.where(given.known, given.targets, torch.nan), torch.ones_like(given.known))
    except InputError:
        return
    raise AssertionError(
        "NaN targets are not refused by an InputError: begin with logits, targets, known = "
        "ltml.losses.masking.prepare(logits, targets, known), as the project's own do"
    )


def _check_precision(loss: LossFunction, tolerance: float) -> None:
    line = torch.tensor([-50.0, -5.0, 0.0, 5.0, 50.0], dtype=torch.float64)
    logits = torch.stack([line.roll(step) for step in range(CLASSES)])
    for targets in (torch.zeros_like(logits), torch.ones_like(logits), torch.eye(CLASSES, dtype=torch.float64)):
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            given = _Labelled(logits.to(dtype), targets.to(dtype), torch.ones_like(logits, dtype=torch.bool))
            _assert_finite(loss, given, f"logits of ±50 in {dtype}")
    for dtype in (torch.float16, torch.bfloat16):
        rounded = _batch()._replace(logits=_batch().logits.to(dtype))
        exact = loss(*rounded._replace(logits=rounded.logits.double()))
        for autocast in (False, True):
            with torch.autocast("cpu", dtype=dtype, enabled=autocast):
                value = loss(*rounded)
            what = f"logits in {dtype}{' under autocast' if autocast else ''}"
            if torch.finfo(value.dtype).bits < 32:
                raise AssertionError(f"{what}: the loss is {value.dtype}, not float32 at least: {RAISE}")
            wrong = f"{what}: the loss differs from that in float64"
            _assert_close(value.double(), exact, wrong, RAISE, tolerance=tolerance)


def _check_class_without_positives(make: MakeLoss) -> None:
    counts = torch.tensor([0, *COUNTS[1:]])
    _assert_finite(make(counts, torch.tensor(ENTRIES)), _batch(), "a class without known positives in training")
    given = _batch()
    never = given._replace(targets=given.targets.index_fill(1, torch.tensor([0]), 0.0))
    _assert_finite(make(counts, torch.tensor(ENTRIES)), never, "a class without known positives")
    nothing = torch.zeros(CLASSES, dtype=torch.int64)
    _assert_finite(make(nothing, nothing), _batch(), "no known labels in training")
