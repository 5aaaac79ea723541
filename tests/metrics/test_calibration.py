"""Calibration against scikit-learn, slow versions and searches over all answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss, f1_score, log_loss

from ltml.metrics.calibration import (
    TEMPERATURES,
    adaptive_ece,
    apply_temperature,
    best_f1_threshold,
    brier,
    fit_temperature,
)
from ltml.metrics.ranking import auroc, average_precision

UNKNOWN = np.full(3, np.nan)


def drawn(seed: int, count: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, of some levels only if asked for, and targets of which a third is unknown."""
    rng = np.random.default_rng(seed)
    probs = rng.random(count) if levels is None else rng.integers(0, levels + 1, count) / levels
    return probs, rng.choice([0.0, 1.0, np.nan], count)


@given(st.integers(0, 10_000), st.integers(3, 60))
def test_brier_equals_scikit_learn_on_known_entries(seed: int, count: int) -> None:
    probs, targets = drawn(seed, count)
    known = ~np.isnan(targets)
    if not known.any():
        assert math.isnan(brier(probs, targets))
        return
    assert brier(probs, targets) == pytest.approx(brier_score_loss(targets[known], probs[known], pos_label=1))


def _slow_ece(probs: np.ndarray, targets: np.ndarray, bins: int) -> float:
    """Entries one by one: the bin of each follows from how many have a lower probability."""
    entries = sorted((p, y) for p, y in zip(probs, targets, strict=True) if not np.isnan(y))
    filled: dict[int, list[tuple[float, float]]] = {}
    for p, y in entries:
        lower = sum(other < p for other, _ in entries)
        filled.setdefault(lower * bins // len(entries), []).append((p, y))
    return sum(abs(sum(p for p, _ in inside) - sum(y for _, y in inside)) for inside in filled.values()) / len(entries)


@given(st.integers(0, 10_000), st.integers(1, 80), st.sampled_from([None, 4]), st.sampled_from([1, 5, 15]))
def test_adaptive_ece_equals_a_slow_version(seed: int, count: int, levels: int | None, bins: int) -> None:
    probs, targets = drawn(seed, count, levels)
    if np.isnan(targets).all():
        assert math.isnan(adaptive_ece(probs, targets, bins))
        return
    assert adaptive_ece(probs, targets, bins) == pytest.approx(_slow_ece(probs, targets, bins), abs=1e-12)
    order = np.random.default_rng(seed).permutation(count)
    assert adaptive_ece(probs[order], targets[order], bins) == pytest.approx(adaptive_ece(probs, targets, bins))


def test_bins_of_equal_mass() -> None:
    rng = np.random.default_rng(0)
    probs, targets = np.sort(rng.random(60)), rng.integers(0, 2, 60)
    parts = np.array_split(np.arange(60), 15)
    expected = sum(len(part) / 60 * abs(probs[part].mean() - targets[part].mean()) for part in parts)
    assert adaptive_ece(probs, targets) == pytest.approx(expected)


def test_right_probabilities_have_no_calibration_error() -> None:
    probs = np.repeat([0.25, 0.75], 400)
    targets = np.tile([1, 0, 0, 0], 200)
    targets[400:] = 1 - targets[400:]
    assert adaptive_ece(probs, targets) == pytest.approx(0)
    assert adaptive_ece(1 - probs, targets) == pytest.approx(0.5)


@given(st.integers(0, 10_000))
def test_temperature_has_the_least_bce(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(40, 3)) * 4
    targets = np.where(rng.random((40, 3)) < 0.2, np.nan, rng.random((40, 3)) < 1 / (1 + np.exp(-logits / 3)))
    probs, known = 1 / (1 + np.exp(-logits)), ~np.isnan(targets)

    def loss(log_temperature: float) -> float:
        return log_loss(targets[known], apply_temperature(probs, np.exp(log_temperature))[known], labels=[0, 1])

    searched = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-8})
    assert np.log(fit_temperature(probs, targets)) == pytest.approx(searched.x, abs=1e-3)
    assert loss(np.log(fit_temperature(probs, targets))) <= loss(0.0) + 1e-12


def test_a_temperature_that_was_applied_is_taken_back() -> None:
    right = np.repeat(np.arange(1, 20) / 20, 20)
    targets = np.concatenate([np.arange(20) < k for k in range(1, 20)]).astype(float)  # k of 20 where p = k / 20
    assert fit_temperature(right, targets) == pytest.approx(1, abs=1e-9)
    assert fit_temperature(apply_temperature(right, 0.4), targets) == pytest.approx(2.5, abs=1e-9)


def test_temperatures_end_at_their_limits_and_certain_probabilities_stay_finite() -> None:
    assert fit_temperature([0.1, 0.9], [0, 1]) == TEMPERATURES[0]
    assert fit_temperature([0.1, 0.9], [1, 0]) == TEMPERATURES[1]
    assert fit_temperature([0.0, 1.0, 0.6], [0, 0, 1]) == pytest.approx(TEMPERATURES[1])
    assert fit_temperature(np.zeros(3), UNKNOWN) == 1
    assert np.isfinite(apply_temperature([0.0, 0.5, 1.0], 0.05)).all()


def test_temperature_keeps_ranks_and_can_differ_by_class() -> None:
    probs, targets = (values.reshape(-1, 2) for values in drawn(0, 400))
    scaled = apply_temperature(probs, [0.3, 4.0])
    np.testing.assert_array_equal(scaled[:, 1], apply_temperature(probs[:, 1], 4.0))
    np.testing.assert_allclose(apply_temperature(probs, 1.0), probs, rtol=1e-12)
    assert ((scaled > 0.5) == (probs > 0.5)).all()
    for c in range(2):
        for measure in (auroc, average_precision):
            assert measure(scaled[:, c], targets[:, c]) == measure(probs[:, c], targets[:, c])


@given(st.integers(0, 10_000), st.integers(2, 40), st.sampled_from([None, 3, 10]))
def test_no_threshold_has_a_higher_f1_and_none_as_high_is_nearer(seed: int, count: int, levels: int | None) -> None:
    probs, targets = drawn(seed, count, levels)
    known = ~np.isnan(targets)
    found = best_f1_threshold(probs, targets)
    if len(set(targets[known])) < 2:
        assert math.isnan(found)
        return

    def f1_at(limit: float) -> float:
        return f1_score(targets[known], probs[known] >= limit)

    ends = np.unique(np.append(probs[known], 0.0))
    candidates = [0.0, 0.5, *(ends[:-1] + ends[1:]) / 2]
    best = max(f1_at(limit) for limit in [*candidates, *probs[known]])
    assert f1_at(found) == pytest.approx(best, abs=1e-12)
    assert abs(found - 0.5) == min(abs(limit - 0.5) for limit in candidates if f1_at(limit) > best - 1e-12)


def test_half_stays_where_nothing_is_better() -> None:
    assert best_f1_threshold([0.1, 0.3, 0.7, 0.9], [0, 0, 1, 1]) == 0.5
    assert best_f1_threshold([0.1, 0.2, 0.4, 0.3], [0, 0, 1, 1]) == pytest.approx(0.25)
    assert math.isnan(best_f1_threshold([0.1, 0.2], [0, 0]))
