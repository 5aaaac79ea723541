"""Losses against slow versions written from their papers, entry by entry in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import ltml
from ltml.registry import LOSSES

ROWS, CLASSES = 6, 4
COUNTS, ENTRIES = [50, 20, 3, 1], [100, 90, 80, 100]
Known = list[list[bool]]
Numbers = list[list[float]]


def _batch(*, soft: bool) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(ROWS, CLASSES, generator=rng, dtype=torch.float64)
    targets = torch.rand(ROWS, CLASSES, generator=rng, dtype=torch.float64)
    known = torch.rand(ROWS, CLASSES, generator=rng) < 0.7
    return logits, targets if soft else targets.round(), known


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _bce(x: float, y: float) -> float:
    return -y * math.log(_sigmoid(x)) - (1 - y) * math.log(1 - _sigmoid(x))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _weighted_bce(x: float, y: float, c: int) -> float:
    beta = (ENTRIES[c] - COUNTS[c]) / COUNTS[c]
    return beta * y * _bce(x, 1) + (1 - y) * _bce(x, 0)


def _focal(x: float, y: float, c: int) -> float:
    p = _sigmoid(x)
    return 0.3 * y * (1 - p) ** 1.5 * _bce(x, 1) + 0.7 * (1 - y) * p**1.5 * _bce(x, 0)


def _focal_without_alpha(x: float, y: float, c: int) -> float:
    p = _sigmoid(x)
    return y * (1 - p) ** 1.5 * _bce(x, 1) + (1 - y) * p**1.5 * _bce(x, 0)


def _ral(x: float, y: float, c: int) -> float:
    p = _sigmoid(x)
    q = min(1 - p + 0.1, 1)
    positive = math.log(p) + (1 - p) - 1.25 * (1 - p) ** 2
    negative = math.log(q) * (1.2 - p) * p**2 * (1.2 - q)
    return -y * positive * (1 - p) ** 1 - (1 - y) * negative * (1 - q) ** 3


def _class_balanced_weights(beta: float) -> list[float]:
    weights = [(1 - beta) / (1 - beta**n) for n in COUNTS]
    return [weight * CLASSES / sum(weights) for weight in weights]


def _cb(x: float, y: float, c: int) -> float:
    return _class_balanced_weights(0.99)[c] * _bce(x, y)


def _ldam(x: float, y: float, c: int) -> float:
    margin = 0.4 * (COUNTS[c] / min(COUNTS)) ** (-1 / 4)
    return y * _bce(3 * (x - margin), 1) + (1 - y) * _bce(3 * x, 0)


def _logit_adjust(x: float, y: float, c: int) -> float:
    return _bce(x + 0.5 * _logit(COUNTS[c] / ENTRIES[c]), y)


A, B, ALPHA = [0.7, 0.6, 0.9, 0.8], [0.2, 0.1, 0.3, 0.4], [0.5, 0.0, 1.2, 0.3]


def _auc_margin(x: float, y: float, c: int) -> float:
    h, p = _sigmoid(x), COUNTS[c] / ENTRIES[c]
    squares = (1 - p) * (h - A[c]) ** 2 * y + p * (h - B[c]) ** 2 * (1 - y)
    distance = p * (1 - p) * 0.8 + p * h * (1 - y) - (1 - p) * h * y
    return squares - p * (1 - p) * ALPHA[c] ** 2 + 2 * ALPHA[c] * distance


def _set_variables(loss: Any) -> None:
    with torch.no_grad():
        for name, values in (("a", A), ("b", B), ("alpha", ALPHA)):
            getattr(loss, name).copy_(torch.tensor(values))


SINGLE: list[tuple[str, dict[str, Any], Callable[[float, float, int], float]]] = [
    ("weighted_bce", {}, _weighted_bce),
    ("focal", {"gamma": 1.5, "alpha": 0.3}, _focal),
    ("focal", {"gamma": 1.5, "alpha": None}, _focal_without_alpha),
    ("ral", {"gamma_pos": 1.0, "gamma_neg": 3.0, "clip": 0.1, "hill": 1.2}, _ral),
    ("cb", {"beta": 0.99}, _cb),
    ("ldam", {"max_margin": 0.4, "scale": 3.0}, _ldam),
    ("logit_adjust", {"tau": 0.5}, _logit_adjust),
    ("auc_margin", {"margin": 0.8}, _auc_margin),
]


def _make(name: str, options: dict[str, Any]) -> Any:
    counts = {"class_counts": COUNTS, "num_samples": ENTRIES}
    loss = ltml.create_loss(name, **options, **{key: counts[key] for key in LOSSES.needs(name)})
    if name == "auc_margin":
        _set_variables(loss)
    return loss


@pytest.mark.parametrize(("name", "options", "slow"), SINGLE)
def test_losses_of_single_entries_for_soft_and_unknown_labels(
    name: str, options: dict[str, Any], slow: Callable[[float, float, int], float]
) -> None:
    logits, targets, known = _batch(soft=True)
    values = [
        slow(logits[i, c].item(), targets[i, c].item(), c) if known[i, c] else 0.0
        for i in range(ROWS)
        for c in range(CLASSES)
    ]
    entries = _make(name, {**options, "reduction": "none"})(logits, targets, known)
    assert entries.flatten().tolist() == pytest.approx(values, rel=1e-6, abs=1e-9)
    total = _make(name, {**options, "reduction": "sum"})(logits, targets, known)
    assert total.item() == pytest.approx(sum(values), rel=1e-6)
    mean = _make(name, options)(logits, targets, known)
    assert mean.item() == pytest.approx(sum(values) / int(known.sum()), rel=1e-6)


def test_ldam_weighs_classes_from_the_epoch_it_is_told() -> None:
    logits, targets, known = _batch(soft=False)
    loss = _make("ldam", {"drw_epoch": 3, "beta": 0.99, "reduction": "none"})
    plain = loss(logits, targets, known)
    for epoch, weights in (
        (2, [1.0] * CLASSES),
        (3, _class_balanced_weights(0.99)),
        (7, _class_balanced_weights(0.99)),
    ):
        loss.set_epoch(epoch)
        torch.testing.assert_close(
            loss(logits, targets, known), plain * torch.tensor(weights).double(), rtol=1e-6, atol=0
        )


def _slow_mlsl(x: Numbers, y: Numbers, known: Known) -> list[float]:
    """One value per known positive: both softmaxes."""
    values = []
    for i in range(ROWS):
        for c in range(CLASSES):
            if not known[i][c] or y[i][c] == 0:
                continue
            mine = math.exp(x[i][c])
            row = sum(math.exp(x[i][j]) for j in range(CLASSES) if known[i][j] and y[i][j] == 0)
            column = sum(math.exp(x[k][c]) for k in range(ROWS) if known[k][c] and y[k][c] == 0)
            values.append(-math.log(mine / (mine + row)) - math.log(mine / (mine + column)))
    return values


def test_mlsl_is_two_softmaxes_per_positive() -> None:
    logits, targets, known = _batch(soft=False)
    values = _slow_mlsl(logits.tolist(), targets.tolist(), known.tolist())
    assert ltml.create_loss("mlsl")(logits, targets, known).item() == pytest.approx(sum(values) / len(values))
    total = ltml.create_loss("mlsl", reduction="sum")(logits, targets, known)
    assert total.item() == pytest.approx(sum(values))


def _slow_two_way(lines: list[list[tuple[float, float]]], t_pos: float, t_neg: float) -> list[float]:
    """One value per sample or class with a positive; a line is its known ``(logit, target)``."""
    values = []
    for line in lines:
        positives = sum(math.exp(-x / t_pos) for x, y in line if y == 1)
        negatives = sum(math.exp(x / t_neg) for x, y in line if y == 0)
        if positives > 0:
            margin = t_pos * math.log(positives) + (t_neg * math.log(negatives) if negatives else -math.inf)
            values.append(math.log(1 + math.exp(margin)))
    return values


@pytest.mark.parametrize("temperatures", [(4.0, 1.0), (0.5, 2.0)])
def test_two_way_compares_within_samples_and_within_classes(temperatures: tuple[float, float]) -> None:
    logits, targets, known = _batch(soft=False)
    targets[2, known[2]] = 1.0  # a sample without a known negative
    targets[3] = 0.0  # and one without a positive
    grid = [
        [(logits[i, c].item(), targets[i, c].item(), bool(known[i, c])) for c in range(CLASSES)] for i in range(ROWS)
    ]
    rows = [[(x, y) for x, y, seen in row if seen] for row in grid]
    columns = [[(x, y) for x, y, seen in column if seen] for column in zip(*grid, strict=True)]
    by_sample, by_class = (_slow_two_way(lines, *temperatures) for lines in (rows, columns))
    options = {"temperature_pos": temperatures[0], "temperature_neg": temperatures[1]}
    mean = ltml.create_loss("two_way", **options)(logits, targets, known)
    assert mean.item() == pytest.approx(sum(by_sample) / len(by_sample) + sum(by_class) / len(by_class))
    total = ltml.create_loss("two_way", reduction="sum", **options)(logits, targets, known)
    assert total.item() == pytest.approx(sum(by_sample) + sum(by_class))


def _slow_db(x: Numbers, y: Numbers, known: Known) -> list[float]:
    values = []
    for i in range(ROWS):
        rarity = [ENTRIES[c] / COUNTS[c] for c in range(CLASSES)]
        repeats = sum(rarity[c] for c in range(CLASSES) if known[i][c] and y[i][c] == 1)
        for c in range(CLASSES):
            if not known[i][c]:
                continue
            share = rarity[c] / repeats if repeats else math.inf
            weight = 0.2 + (1 / (1 + math.exp(-5 * (share - 0.4))) if share < 100 else 1.0)
            z = x[i][c] + 0.1 * _logit(COUNTS[c] / ENTRIES[c]) / 3
            scale = 1 if y[i][c] == 1 else 3
            entry = _bce(z * scale, y[i][c])
            values.append(1.5 * weight * (1 - math.exp(-entry)) ** 1.5 * entry / scale)
    return values


def test_db_rebalances_by_known_positives_only() -> None:
    logits, targets, known = _batch(soft=False)
    targets[3] = 0.0  # a sample without a positive weighs most
    values = _slow_db(logits.tolist(), targets.tolist(), known.tolist())
    options = {"scale": 3.0, "kappa": 0.1, "alpha": 0.2, "beta": 5.0, "mu": 0.4, "gamma": 1.5, "balance": 1.5}
    assert _make("db", options)(logits, targets, known).item() == pytest.approx(sum(values) / len(values), rel=1e-6)
    entries = _make("db", {**options, "reduction": "none"})(logits, targets, known)
    assert entries[known].tolist() == pytest.approx(values, rel=1e-5)
    assert not entries[~known].any()
    assert _make("db", {**options, "reduction": "sum"})(logits, targets, known).item() == pytest.approx(sum(values))


def test_plain_settings_are_bce() -> None:
    logits, targets, known = _batch(soft=True)
    bce = ltml.create_loss("bce")(logits, targets, known)
    even = {"class_counts": [50] * CLASSES, "num_samples": 100}
    for name, options in {
        "weighted_bce": even,
        "focal": {"gamma": 0.0, "alpha": None},
        "cb": {"class_counts": COUNTS, "beta": 0.0},
        "ldam": {"class_counts": COUNTS, "max_margin": 0.0},
        "logit_adjust": even,
    }.items():
        torch.testing.assert_close(ltml.create_loss(name, **options)(logits, targets, known), bce)
    unadjusted = ltml.create_loss("logit_adjust", class_counts=COUNTS, num_samples=ENTRIES, tau=0.0)
    torch.testing.assert_close(unadjusted(logits, targets, known), bce)


def test_weighted_bce_agrees_with_torch() -> None:
    logits, targets, _ = _batch(soft=True)
    weights = torch.tensor([1.0, 3.5, 77 / 3, 99.0], dtype=torch.float64)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
    torch.testing.assert_close(_make("weighted_bce", {})(logits, targets), expected, rtol=1e-6, atol=0)


def test_logit_adjust_learns_what_a_balanced_prior_would_ask_for() -> None:
    """Where features tell nothing, BCE ends at the prior and the adjusted loss at even odds."""
    targets = torch.zeros(100, 1)
    targets[:7] = 1
    logit = torch.zeros(1, requires_grad=True)
    loss = ltml.create_loss("logit_adjust", class_counts=[7], num_samples=100)
    optimizer = torch.optim.LBFGS([logit], max_iter=50)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(logit.expand(100, 1), targets)
        value.backward()
        return value

    optimizer.step(closure)  # type: ignore[arg-type]
    assert logit.item() == pytest.approx(0, abs=1e-3)
