"""Resamples of patients against scikit-learn on the drawn rows, and what intervals and tests promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

import ltml.metrics.bootstrap as bootstrap
from ltml.errors import InputError
from ltml.metrics.bootstrap import (
    bootstrap_scores,
    confidence_interval,
    describe_intervals,
    draw_weights,
    macro_mean,
    number_groups,
)


def _expected(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """scikit-learn on rows repeated as often as they were drawn."""
    known = np.flatnonzero(~np.isnan(targets))
    rows = np.repeat(known, weights[known].astype(int))
    if len(set(targets[rows])) < 2:
        return np.nan, np.nan
    return roc_auc_score(targets[rows], scores[rows]), average_precision_score(targets[rows], scores[rows])


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 60), st.sampled_from([2, 5, 1000]), st.integers(2, 20))
def test_equal_to_scikit_learn_on_the_drawn_rows(seed: int, count: int, levels: int, patients: int) -> None:
    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(0, levels, (count, 2)) / levels, rng.choice([0.0, 1.0, 1.0, np.nan], (count, 2))
    groups = [f"p{number}" for number in np.append(rng.integers(0, patients, count - 2), [0, 1])]
    found = bootstrap_scores(scores, targets, groups, resamples=3, seed=seed)
    numbers, n_groups = number_groups(groups)
    weights = draw_weights(np.random.default_rng(seed), n_groups, 3)
    assert weights.sum(axis=0).tolist() == [n_groups] * 3
    for r in range(3):
        for c in range(2):
            expected = _expected(scores[:, c], targets[:, c], weights[numbers, r])
            values = [found[measure][r, c] for measure in ("auroc", "ap")]
            np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


def test_equal_to_weighted_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.random((400, 1)).round(2), (rng.random((400, 1)) < 0.2).astype(float)
    groups = [f"{number:03d}" for number in rng.integers(0, 90, 400)]
    found = bootstrap_scores(scores, targets, groups, resamples=5, seed=3)
    numbers, n_groups = number_groups(groups)
    weights = draw_weights(np.random.default_rng(3), n_groups, 5)[numbers]
    for r in range(5):
        given_weights = {"sample_weight": weights[:, r]}
        area = roc_auc_score(targets[:, 0], scores[:, 0], **given_weights)
        precision = average_precision_score(targets[:, 0], scores[:, 0], **given_weights)
        assert found["auroc"][r, 0] == pytest.approx(area, abs=1e-12)
        assert found["ap"][r, 0] == pytest.approx(precision, abs=1e-12)


def test_resamples_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    scores, targets = rng.random((60, 2)), rng.integers(0, 2, (60, 2)).astype(float)
    groups = [f"p{number}" for number in rng.integers(0, 15, 60)]
    found = bootstrap_scores(scores, targets, groups, resamples=40, seed=7)["auroc"]
    order = rng.permutation(60)
    shuffled = bootstrap_scores(scores[order], targets[order], [groups[i] for i in order], resamples=40, seed=7)
    np.testing.assert_allclose(shuffled["auroc"], found, rtol=0, atol=1e-12)
    alone = bootstrap_scores(scores[:, 1:], targets[:, 1:], groups, measures=["auroc"], resamples=40, seed=7)
    assert list(alone) == ["auroc"]
    np.testing.assert_array_equal(alone["auroc"][:, 0], found[:, 1])
    monkeypatch.setattr(bootstrap, "CHUNK", 7)
    np.testing.assert_array_equal(bootstrap_scores(scores, targets, groups, resamples=40, seed=7)["auroc"], found)
    assert not np.array_equal(bootstrap_scores(scores, targets, groups, resamples=40, seed=8)["auroc"], found)


def test_patients_are_drawn_with_all_they_have() -> None:
    """Ten copies of each row of a patient say no more than one does."""
    rng = np.random.default_rng(2)
    scores, targets = rng.random((80, 1)), (rng.random((80, 1)) < 0.4).astype(float)
    groups = [f"{i:02d}" for i in range(80)]
    once = bootstrap_scores(scores, targets, groups, resamples=30)
    often = bootstrap_scores(np.repeat(scores, 10, 0), np.repeat(targets, 10, 0), np.repeat(groups, 10), resamples=30)
    for measure in ("auroc", "ap"):
        np.testing.assert_allclose(often[measure], once[measure], rtol=0, atol=1e-12)


def test_intervals_cover_the_true_area() -> None:
    """Normal scores one apart have the area Φ(1/√2); patients have three images each that share half their variance."""
    rng, hits, count = np.random.default_rng(3), 0, 200
    for number in range(count):
        label = np.repeat(rng.random(80) < 0.4, 3)
        noise = np.repeat(rng.normal(size=80), 3) + rng.normal(size=240)
        groups = np.repeat([f"{i:02d}" for i in range(80)], 3)
        found = bootstrap_scores(
            (label + noise / np.sqrt(2))[:, None], label[:, None], groups, resamples=200, seed=number
        )
        low, high = confidence_interval(found["auroc"][:, 0])
        hits += low <= 0.7602499 <= high
    assert 0.90 < hits / count < 0.985


def test_few_positives_or_negatives_get_no_interval() -> None:
    targets = np.zeros((60, 4))
    targets[:9, 0] = targets[:10, 1] = targets[:55, 2] = 1
    targets[:, 3] = np.nan
    scores = np.random.default_rng(4).random((60, 4))
    groups = [str(i // 2) for i in range(60)]
    found = bootstrap_scores(scores, targets, groups, resamples=50)
    content = describe_intervals(found, targets, groups, ["few", "enough", "common", "unknown"])
    assert (content["resamples"], content["rows"], content["groups"]) == (50, 60, 30)
    assert [row["reason"] for row in content["per_class"]] == ["n_pos", None, "n_neg", "n_pos"]
    assert [row["auroc"] is None for row in content["per_class"]] == [True, False, True, True]
    assert np.isnan(found["ap"][:, 3]).all()
    means = [np.nanmean(row) for row in found["ap"]]
    np.testing.assert_allclose(macro_mean(found["ap"]), means)
    assert content["macro"]["ap"] == pytest.approx(list(np.quantile(means, [0.025, 0.975])))
    few = describe_intervals({"ap": found["ap"][:, :1]}, targets[:, :1], groups, ["few"])
    assert few["macro"] == {"ap": None}


def test_undefined_everywhere_is_nan() -> None:
    assert np.isnan(macro_mean(np.full((2, 3), np.nan))).all()
    assert np.isnan(confidence_interval([np.nan])).all()
    assert confidence_interval([np.nan, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"groups": ["a"] * 4}, InputError, "one group \\('a'\\)"),
        ({"resamples": 0}, InputError, "0 resamples"),
        ({"groups": ["a", "b"]}, ValueError, r"\(2,\)"),
        ({"measures": ["f1"]}, ValueError, "f1"),
    ],
)
def test_wrong_input_is_refused(arguments: dict, error: type[Exception], message: str) -> None:
    given_arguments = {"groups": ["a", "b", "a", "b"]} | arguments
    with pytest.raises(error, match=message):
        bootstrap_scores(np.zeros((4, 1)), np.array([[1.0], [0.0], [1.0], [0.0]]), **given_arguments)
