from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltml.gaussians.probabilities import PRIORS, label_probabilities

NIH = np.array([8280, 1707, 8659, 13782, 4034, 4708, 876, 2637, 2852, 1378, 1423, 1251, 2242, 141])
TOTAL = 86_524


def test_eq12_by_hand() -> None:
    frequency = [0.5, 0.25, 0.01]
    weights = [(1 / (f + 1e-9)) ** 0.9 for f in frequency]
    expected = [w / sum(weights) for w in weights]
    result = label_probabilities([50, 25, 1], [50, 75, 99])
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_on_nih_the_rarest_class_gets_half_and_three_in_ten_samples_are_negative() -> None:
    chance = label_probabilities(NIH, TOTAL - NIH)
    assert chance.sum() == pytest.approx(1)
    assert 0.45 < chance[-1] < 0.6
    assert 0.25 < np.prod(1 - chance) < 0.35


def test_alpha_zero_is_one_over_the_classes() -> None:
    np.testing.assert_allclose(label_probabilities(NIH, TOTAL - NIH, alpha=0), 1 / 14)


def test_large_exponents_do_not_overflow() -> None:
    np.testing.assert_allclose(label_probabilities([50, 25, 1], [50, 75, 99], alpha=1000), [0, 0, 1])


def test_other_policies() -> None:
    args = ([100, 10], [100, 190])
    np.testing.assert_allclose(label_probabilities(*args, "uniform"), [0.5, 0.5])
    np.testing.assert_allclose(label_probabilities(*args, "natural"), [0.5, 0.05])
    reverse = label_probabilities(*args, "reverse_max", alpha=1)
    np.testing.assert_allclose(reverse, [0.05, 0.5], rtol=1e-6)
    weights = (1 - 0.999) / (1 - 0.999 ** np.array([100, 10]))
    np.testing.assert_allclose(label_probabilities(*args, "effective_number"), 0.5 * weights / weights[1])
    np.testing.assert_allclose(label_probabilities(*args, [0.2, 0.7]), [0.2, 0.7])


@pytest.mark.parametrize("prior", [*PRIORS, [0.3, 0.3, 0.3, 0.3, 0.3]])
def test_one_sided_classes_always_draw_their_only_label(prior: str | list[float]) -> None:
    result = label_probabilities([0, 7, 0, 50, 5], [9, 0, 0, 50, 95], prior)
    assert result[0] == 0
    assert result[1] == 1
    assert np.isnan(result[2])
    alone = label_probabilities([50, 5], [50, 95], prior if isinstance(prior, str) else prior[3:])
    np.testing.assert_allclose(result[3:], alone)


@given(st.permutations(range(5)))
def test_permuting_classes_permutes_the_result(order: list[int]) -> None:
    positives, negatives = np.array([5, 50, 500, 3, 80]), np.array([600, 555, 105, 602, 525])
    for prior in PRIORS:
        plain = label_probabilities(positives, negatives, prior)
        np.testing.assert_allclose(label_probabilities(positives[order], negatives[order], prior), plain[order])


@pytest.mark.parametrize("prior", ["eq13", [0.1], [0.1, 1.2]])
def test_wrong_priors_are_refused(prior: str | list[float]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        label_probabilities([1, 2], [2, 1], prior)
