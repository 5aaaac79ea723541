"""Contract of stage-2 methods."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltml.models.classifier import PerClassLinear
from ltml.rebalancing.method import HOOKS, Rebalancing
from ltml.rebalancing.shift import LabelShift

ROWS, CLASSES, WIDTH = 60, 4, 3
UNLABELLED = 3
"""Index of the class without a single known label."""
POISON = 1e6
"""Value of the features of unknown entries: no sample with a known label may hold it."""
DRAWS = 4000
"""Number of samples behind a mean."""
ORDER = [2, 0, 3, 1]
"""New order of the classes."""

USE_GENERATOR = "draw from the generator that sample() is given and from nothing else"
STATELESS = "keep no state between draws, so that a run that was cut off resumes with the same samples"
BY_CLASS = "treat all classes alike, whatever their position"


def check_rebalancing(make: Callable[[], Any]) -> None:
    """Assert that a stage-2 method keeps the contract of its room.

    A sampler gives float32 features ``(n, C, D)`` and targets ``(n, C)`` in [0, 1] or NaN, from class-aware and shared
    features; gives no known label to a feature whose label is unknown; draws all classes alike, in any order; follows
    the prior if the method says so; and depends on its generator alone, so that a resumed run draws the same samples.
    A formula changes the classifier in place, the same way each time and for all classes alike. A loss of real images
    ignores unknown entries. The features, targets and the classifier of stage 1 are left alone.

    Args:
        make: the method's class, or a function that makes the method with other options.

    Raises:
        AssertionError: says what is wrong and how to mend it.

    Example:
        >>> from ltml.rebalancing.mixup import Mixup
        >>> check_rebalancing(Mixup)
    """
    method = make()
    if not isinstance(method, Rebalancing):
        raise AssertionError(
            f"{type(method).__name__} is no stage-2 method: derive it from ltml.rebalancing.method.Rebalancing"
        )
    _check_initial_classifier(method)
    checks = {"adjust": _check_adjust, "sampler": _check_sampler, "image_loss": _check_image_loss}
    checks[HOOKS[method.moves]](method)


def _check_sampler(method: Rebalancing) -> None:
    features, targets = _samples()
    for given in (features, features[:, 0].copy()):
        _check_shapes(method, given, targets)
    _check_unknown(method, features, targets)
    _check_seeds(method, features, targets)
    _check_order(method, features, targets)
    if method.follows_prior:
        _check_prior(method, features, targets)


def _samples() -> tuple[np.ndarray, np.ndarray]:
    """Return class-aware features ``(N, C, D)`` around ``10 c`` and targets; read-only, as memory maps are."""
    rng = np.random.default_rng(0)
    targets = (rng.random((ROWS, CLASSES)) < [0.5, 0.3, 0.2, 0.4]).astype(np.float64)
    targets[rng.random((ROWS, CLASSES)) < 0.2] = np.nan
    targets[:, UNLABELLED] = np.nan
    centers = 10.0 * np.arange(CLASSES)[None, :, None] + 3 * np.nan_to_num(targets)[..., None]
    features = (centers + rng.normal(size=(ROWS, CLASSES, WIDTH))).astype(np.float32)
    for array in (features, targets):
        array.setflags(write=False)
    return features, targets


def _make(method: Rebalancing, features: np.ndarray, targets: np.ndarray) -> Any:
    try:
        return method.sampler(features, targets, LabelShift(targets, prior="uniform"))
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise AssertionError(
            "the method writes to its features or targets: work on a copy; features are often a read-only memory map"
        ) from error


def _draw(sampler: Any, n: int, seed: int) -> tuple[Tensor, Tensor]:
    features, targets = sampler.sample(n, generator=torch.Generator().manual_seed(seed))
    return torch.as_tensor(features), torch.as_tensor(targets)


def _seed_globally(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what a method must not draw from
    random.seed(seed)


def _same(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(x.nan_to_num(nan=-1.0), y.nan_to_num(nan=-1.0)) for x, y in zip(a, b, strict=True))


def _check_shapes(method: Rebalancing, features: np.ndarray, targets: np.ndarray) -> None:
    shared, sampler = features.ndim == 2, _make(method, features, targets)
    if sampler.is_shared is not shared:
        raise AssertionError(
            f"is_shared is {sampler.is_shared} for features {features.shape}: it says whether all classes share (N, D)"
        )
    for n in (1, 7):
        drawn, labels = _draw(sampler, n, 0)
        if drawn.shape != (n, CLASSES, WIDTH) or labels.shape != (n, CLASSES):
            raise AssertionError(
                f"sample({n}) of features {features.shape} gives shapes {tuple(drawn.shape)} and "
                f"{tuple(labels.shape)}: expected features ({n}, {CLASSES}, {WIDTH}) and targets ({n}, {CLASSES})"
            )
        if (drawn.dtype, labels.dtype) != (torch.float32, torch.float32):
            raise AssertionError(f"samples are {drawn.dtype} and {labels.dtype}: return both as torch.float32")
    drawn, labels = _draw(sampler, 50, 0)
    known = labels[~labels.isnan()]
    if not bool(drawn.isfinite().all()) or not bool(((known >= 0) & (known <= 1)).all()):
        raise AssertionError(
            "samples hold features that are not finite or targets outside [0, 1]: mark unknown targets by NaN, and "
            "give finite features"
        )


def _check_unknown(method: Rebalancing, features: np.ndarray, targets: np.ndarray) -> None:
    poisoned = np.where(np.isnan(targets)[..., None], np.float32(POISON), features).astype(np.float32)
    drawn, labels = _draw(_make(method, poisoned, targets), DRAWS // 4, 0)
    if not bool(labels[:, UNLABELLED].isnan().all()):
        raise AssertionError("a class without known labels gets labels: its targets must be NaN in every sample")
    if bool((drawn.abs().amax(dim=-1)[~labels.isnan()] > POISON / 1e3).any()):
        raise AssertionError(
            "samples with a known label use features whose label is unknown: leave out entries whose target is NaN"
        )


def _check_seeds(method: Rebalancing, features: np.ndarray, targets: np.ndarray) -> None:
    _seed_globally(0)
    used = _make(method, features, targets)
    _draw(used, 20, 3)
    first = _draw(used, 20, 5)
    _seed_globally(1)
    if not _same(_draw(used, 20, 5), first):
        raise AssertionError(f"the same generator gives other samples the second time: {USE_GENERATOR}; {STATELESS}")
    if not _same(_draw(_make(method, features, targets), 20, 5), first):
        raise AssertionError(f"a new sampler of the same features gives other samples than a used one: {STATELESS}")
    if _same(_draw(used, 20, 6), first):
        raise AssertionError(f"another generator gives the same samples: {USE_GENERATOR}")


def _means(method: Rebalancing, features: np.ndarray, targets: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return per class the mean target ``(C,)`` and the mean feature of known entries ``(C,)``; 0 where unknown."""
    drawn, labels = _draw(_make(method, features, targets), DRAWS, 0)
    known = ~labels.isnan()
    count = known.sum(dim=0).clamp(min=1)
    return labels.nan_to_num().sum(dim=0) / count, (drawn.mean(dim=-1) * known).sum(dim=0) / count


def _check_order(method: Rebalancing, features: np.ndarray, targets: np.ndarray) -> None:
    usual = _means(method, features, targets)
    reordered = _means(method, features[:, ORDER], targets[:, ORDER])
    for what, before, after, tolerance in zip(("targets", "features"), usual, reordered, (0.08, 1.0), strict=True):
        worst = float((before[ORDER] - after).abs().max())
        if worst > tolerance:
            raise AssertionError(f"in another order of the classes the mean {what} differ by {worst:.2g}: {BY_CLASS}")


def _check_prior(method: Rebalancing, features: np.ndarray, targets: np.ndarray) -> None:
    expected = LabelShift(targets, prior="uniform").probabilities
    found = _means(method, features, targets)[0].numpy()
    worst = float(np.nanmax(np.abs(expected - found)))
    if worst > 0.08:
        raise AssertionError(
            f"P(label 1) differs from the prior by {worst:.2g}: draw labels by shift.probabilities, or set "
            "follows_prior = False"
        )


def _classifier() -> PerClassLinear:
    source = torch.Generator().manual_seed(0)
    return PerClassLinear(torch.randn(CLASSES, WIDTH, generator=source), torch.randn(CLASSES, generator=source))


def _check_adjust(method: Rebalancing) -> None:
    _, targets = _samples()
    before, after, again, reordered = (_classifier() for _ in range(4))
    shift = LabelShift(targets, prior="uniform")
    _seed_globally(0)
    method.adjust(after, shift)
    _seed_globally(1)
    method.adjust(again, shift)
    if not all(bool(value.isfinite().all()) for value in after.parameters()):
        raise AssertionError(
            "adjust() leaves weights that are not finite: a class without known labels keeps a finite weight and bias"
        )
    if _distance(before, after) == 0:
        raise AssertionError("adjust() changes nothing: change the classifier in place, under torch.no_grad()")
    if _distance(after, again) > 0:
        raise AssertionError("adjust() gives another result the second time: use a formula without chance or state")
    with torch.no_grad():
        for value in reordered.parameters():
            value.copy_(value[ORDER])
    method.adjust(reordered, LabelShift(targets[:, ORDER], prior="uniform"))
    with torch.no_grad():
        for value in after.parameters():
            value.copy_(value[ORDER])
    if (worst := _distance(after, reordered)) > 1e-5:
        raise AssertionError(f"in another order of the classes adjust() differs by {worst:.2g}: {BY_CLASS}")


@torch.no_grad()
def _distance(a: nn.Module, b: nn.Module) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def _check_initial_classifier(method: Rebalancing) -> None:
    given = _classifier()
    kept = copy.deepcopy(given)
    made = []
    for number, seed in enumerate((0, 0, 1)):
        _seed_globally(number)
        made.append(copy.deepcopy(method.initial_classifier(given, seed)))
    if _distance(given, kept) > 0:
        raise AssertionError("initial_classifier() changes the classifier of stage 1: return another module")
    shapes = [[tuple(value.shape) for value in classifier.parameters()] for classifier in (given, made[0])]
    if shapes[0] != shapes[1]:
        raise AssertionError(f"initial_classifier() returns shapes {shapes[1]}: expected those of stage 1, {shapes[0]}")
    if _distance(made[0], made[1]) > 0:
        raise AssertionError(
            "initial_classifier() gives other weights for the same seed: draw them from its seed alone"
        )
    if _distance(made[0], given) > 0 and _distance(made[0], made[2]) == 0:
        raise AssertionError(
            "initial_classifier() gives the same fresh weights for another seed: draw them from its seed"
        )


def _check_image_loss(method: Rebalancing) -> None:
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(5, CLASSES, generator=source)
    targets = (torch.rand(5, CLASSES, generator=source) < 0.4).float()
    known = torch.rand(5, CLASSES, generator=source) < 0.7
    leaf = logits.clone().requires_grad_()
    loss = method.image_loss(leaf, targets, known)
    if loss.shape != () or not bool(loss.isfinite()) or not loss.requires_grad:
        raise AssertionError("image_loss() gives no finite scalar with a gradient: return a loss such as bce_loss(...)")
    loss.backward()  # type: ignore[no-untyped-call]
    other = method.image_loss(torch.where(known, logits, logits + 3), torch.where(known, targets, 1 - targets), known)
    assert leaf.grad is not None
    if bool(leaf.grad[~known].any()) or not torch.isclose(loss, other):
        raise AssertionError("image_loss() depends on unknown entries: leave out those where known is False")
    reordered = method.image_loss(logits[:, ORDER], targets[:, ORDER], known[:, ORDER])
    if not torch.isclose(loss, reordered):
        raise AssertionError(f"in another order of the classes image_loss() differs: {BY_CLASS}")
