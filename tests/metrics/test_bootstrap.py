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
    assert (content["classes"], content["reason"]) == (["enough"], None)
    assert content["macro"]["ap"] == content["per_class"][1]["ap"]
    few = describe_intervals({"ap": found["ap"][:, :1]}, targets[:, :1], groups, ["few"], probs=scores[:, :1])
    assert (few["macro"], few["classes"], few["estimate"]) == ({"ap": None}, [], {"ap": None})
    assert few["reason"] == "no class has 10 known positives and 10 known negatives"


def _mixed(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Four classes of 300 rows: one easy with 2 positives, one with its 12 positives in three patients, two common."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((300, 4)) < [0, 0, 0.2, 0.4]).astype(float)
    targets[[5, 250], 0], targets[12:24, 1] = 1, 1
    targets[rng.random(targets.shape) < 0.05] = np.nan
    targets[[5, 250], 0], targets[12:24, 1] = 1, 1
    scores = 1 / (1 + np.exp(-rng.normal(size=(300, 4)) - np.nan_to_num(targets) * [8, 1, 1, 0.5]))
    return scores, targets, [f"{row // 4:02d}" for row in range(300)]


def test_macro_intervals_are_those_of_a_slow_loop_over_classes_that_qualify() -> None:
    scores, targets, groups = _mixed()
    names = ["two", "clustered", "rare", "common"]
    found = bootstrap_scores(scores, targets, groups, resamples=48, seed=9)
    content = describe_intervals(found, targets, groups, names, probs=scores)
    rng, numbers = np.random.default_rng(9), np.unique(groups, return_inverse=True)[1]
    weights = np.concatenate([draw_weights(rng, 75, 16) for _ in range(3)], axis=1)[numbers]
    for measure, of_class in (("auroc", roc_auc_score), ("ap", average_precision_score)):
        slow, plain = [], []
        for weight in weights.T:
            drawn = [(targets[:, c] >= 0) & (weight > 0) for c in range(4)]
            values = [
                of_class(targets[d, c], scores[d, c], sample_weight=weight[d]) if targets[d, c].any() else np.nan
                for c, d in enumerate(drawn)
            ]
            slow.append(np.mean(values[1:]))
        slow = [value for value in slow if not np.isnan(value)]
        plain = [of_class(targets[k, c], scores[k, c]) for c in (1, 2, 3) for k in [targets[:, c] >= 0]]
        assert content["macro"][measure] == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=1e-12)
        assert content["estimate"][measure] == pytest.approx(np.mean(plain), abs=1e-12)
        assert content["macro_resamples"] == len(slow) < 48
    assert content["classes"] == names[1:]


def test_an_easy_class_of_two_positives_does_not_widen_the_interval() -> None:
    """It drops out of a tenth of the resamples; with it the mean would jump between two sets of classes."""
    scores, targets, groups = _mixed()
    scores[:, 0] = np.where(targets[:, 0] == 1, 0.99, 0.01)
    found = bootstrap_scores(scores, targets, groups, resamples=400)
    names = ["two", "clustered", "rare", "common"]
    with_it = describe_intervals(found, targets, groups, names)["macro"]["auroc"]
    without = {"auroc": found["auroc"][:, 1:]}
    assert with_it == describe_intervals(without, targets[:, 1:], groups, names[1:])["macro"]["auroc"]
    mixed = np.quantile(np.nanmean(found["auroc"], axis=1), [0.025, 0.975])
    assert with_it[1] - with_it[0] < mixed[1] - mixed[0]


def test_classes_that_were_not_learned_are_outside_the_macro_interval() -> None:
    scores, targets, groups = _mixed()
    found = bootstrap_scores(scores, targets, groups, resamples=50)
    content = describe_intervals(found, targets, groups, ["a", "b", "c", "d"], probs=scores, apart=["b", "d"])
    assert content["classes"] == ["c"]
    assert content["macro"]["ap"] == content["per_class"][2]["ap"]
    nothing = describe_intervals(found, targets, groups, ["a", "b", "c", "d"], probs=scores, apart=["b", "c", "d"])
    assert (nothing["macro"]["ap"], nothing["estimate"]["ap"]) == (None, None)
    assert "10 known positives" in nothing["reason"]


def test_no_resample_with_every_class_is_no_interval() -> None:
    """Ten classes whose positives are one patient each: hardly any resample has them all."""
    targets = np.kron(np.eye(10), np.ones((10, 1)))
    scores, groups = np.random.default_rng(0).random((100, 10)), np.repeat([f"{i}" for i in range(10)], 10)
    found = bootstrap_scores(scores, targets, groups, resamples=30)
    content = describe_intervals(found, targets, groups, list("abcdefghij"), probs=scores)
    assert (content["macro_resamples"], content["macro"]["auroc"]) == (0, None)
    assert content["reason"] == "no resample has a positive and a negative of every class"
    assert len(content["classes"]) == 10


def test_undefined_everywhere_is_nan() -> None:
    assert np.isnan(macro_mean(np.full((2, 3), np.nan), [0, 1])).all()
    assert np.isnan(macro_mean(np.ones((2, 3)), [])).all()
    np.testing.assert_array_equal(macro_mean([[1, 3, np.nan], [2, np.nan, 0]], [0, 1]), [2, np.nan])
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
