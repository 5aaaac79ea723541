"""Targets and features that mean something else than their shape or kind says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ltml.gaussians import GaussianResampler

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(60, 4)).astype(np.float32)
TARGETS = (RNG.random((60, 3)) < 0.4).astype(int)
ONE = TARGETS[:, :1]
ONE_SIDED = np.c_[ONE, 0 * ONE]


def _fit(features: Any = FEATURES, targets: Any = TARGETS, **options: Any) -> GaussianResampler:
    return GaussianResampler(**options).fit(features, targets, warn=False)


def _draw(resampler: GaussianResampler) -> tuple[np.ndarray, np.ndarray]:
    virtual, labels = resampler.sample(200, seed=0)
    return np.asarray(virtual), np.asarray(labels)


@pytest.mark.parametrize("targets", [ONE, ONE.astype(bool), torch.tensor(ONE), pd.DataFrame(ONE)])
def test_a_single_column_is_not_drawn_by_eq12(targets: Any, caplog: pytest.LogCaptureFixture) -> None:
    features = torch.tensor(FEATURES) if isinstance(targets, torch.Tensor) else FEATURES
    resampler = GaussianResampler().fit(features, targets)
    assert "prior='eq12' shares a probability of 1" in caplog.text
    streamed = GaussianResampler().partial_fit(features, targets)
    for draw in (resampler.sample, streamed.sample, lambda n: resampler.fit_resample(features, targets, n=n)):
        with pytest.raises(ValueError, match=r"all be positive. Set prior='uniform', or .* targets \(N,\)"):
            draw(10)
    caplog.clear()
    for prior, share in (("uniform", 0.5), ("natural", ONE.mean()), ([0.3], 0.3)):
        _, labels = _fit(features, targets, prior=prior).sample(4000, seed=0)
        assert float(labels[:, 0].mean()) == pytest.approx(share, abs=0.03)
    assert not caplog.text


def test_one_class_with_both_labels_among_others_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    resampler = _fit(targets=ONE_SIDED)
    assert not caplog.text
    assert _draw(resampler)[1].mean(axis=0).tolist() == [1, 0]
    assert "only one class has both labels: its virtual samples would all be positive" in caplog.text
    caplog.clear()
    _draw(_fit(targets=ONE_SIDED, prior="uniform"))
    _draw(_fit(targets=TARGETS))
    assert not caplog.text


def test_a_prior_set_after_the_fit_is_looked_at_too() -> None:
    resampler = _fit(targets=ONE, prior="uniform").set_params(prior="eq12")
    with pytest.raises(ValueError, match="would all be positive"):
        resampler.sample(10)


def test_eq12_with_two_classes_or_none_goes_on() -> None:
    assert _draw(_fit(targets=TARGETS[:, :2]))[1].mean() == pytest.approx(0.5, abs=0.06)
    nothing_learned = _fit(targets=np.c_[np.ones(60), np.zeros(60)])
    assert _draw(nothing_learned)[1].mean(axis=0).tolist() == [1, 0]
    alone = _fit(FEATURES[:1], TARGETS[:1])
    np.testing.assert_allclose(_draw(alone)[0], np.broadcast_to(FEATURES[0], (200, 3, 4)), rtol=1e-6)


@pytest.mark.parametrize(
    "targets",
    [
        TARGETS.astype(bool),
        TARGETS.astype(np.float16),
        TARGETS.astype(np.uint8),
        TARGETS.astype(object),
        TARGETS.tolist(),
        np.ma.masked_array(TARGETS, mask=np.zeros(TARGETS.shape, dtype=bool)),
        pd.DataFrame(TARGETS, columns=["a", "b", "c"]),
        pd.DataFrame(TARGETS).astype("Int64"),
        pd.DataFrame(TARGETS).astype("boolean"),
    ],
)
def test_targets_of_any_kind_are_the_same_targets(targets: Any) -> None:
    for features in (FEATURES, pd.DataFrame(FEATURES), np.ma.masked_array(FEATURES)):
        for found, expected in zip(_draw(_fit(features, targets)), _draw(_fit()), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_what_is_masked_or_missing_is_unknown() -> None:
    hole = RNG.random(TARGETS.shape) < 0.3
    expected = _fit(targets=np.where(hole, np.nan, TARGETS)).counts_
    frame = pd.DataFrame(TARGETS).astype("Int64").mask(hole)
    objects = np.where(hole, None, TARGETS)
    for targets in (np.ma.masked_array(TARGETS, mask=hole), frame, objects):
        np.testing.assert_array_equal(_fit(targets=targets).counts_, expected)


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        (FEATURES, np.where(TARGETS == 1, 1, -1), "0, 1 or NaN .* the first -1"),
        (FEATURES, TARGETS * 255, "the first 255"),
        (FEATURES, TARGETS * 0.5, "the first 0.5"),
        (FEATURES, np.arange(60)[:, None] % 3, r"the first 2. For the class of each sample give targets \(N,\)"),
        (FEATURES, TARGETS.astype(str), "as numbers 0, 1 or NaN .* but got <U"),
        (FEATURES, np.where(TARGETS == 1, "yes", None), "value that is not a number"),
        (FEATURES, TARGETS + 0j, "as numbers 0, 1 or NaN"),
        (FEATURES, TARGETS.T, r"a row per sample, but got \(3, 60\) beside 60 samples: transpose"),
        (FEATURES, TARGETS[None], r"targets \(N, C\) or \(N,\) but got \(1, 60, 3\)"),
        (FEATURES[:, 0], TARGETS, r"Expected features \(N, C, D\) or \(N, D\)"),
        (RNG.normal(size=(60, 2, 4)), TARGETS, "features of 3 classes but got 2"),
        (RNG.normal(size=(60, 3, 4)), TARGETS[:, 0], r"features \(N, D\) with targets \(N,\)"),
        (FEATURES.astype(str), TARGETS, "features as real numbers but got <U"),
        (FEATURES.astype(str).astype(object), TARGETS, "features as real numbers but got object"),
        (FEATURES + 0j, TARGETS, "features as real numbers but got complex"),
        (np.where(FEATURES > 2, np.nan, FEATURES), TARGETS, "finite"),
        (np.ma.masked_greater(FEATURES, 2), TARGETS, "finite"),
        (pd.DataFrame(FEATURES), pd.DataFrame(TARGETS).sample(frac=1, random_state=0), "same index"),
        (pd.DataFrame(FEATURES), pd.Series(TARGETS[:, 0]).iloc[::-1], "same index"),
        (FEATURES, RNG.random(60), "whole numbers or text, but got 0"),
        (FEATURES, np.where(np.arange(60) > 50, np.nan, 1), "NaN or infinity"),
        (FEATURES, np.ma.masked_array(TARGETS[:, 0], mask=np.arange(60) > 50), "NaN or infinity"),
        (FEATURES, np.array(["a"] * 59 + [None], dtype=object), "is one missing"),
        (FEATURES, pd.Series(TARGETS[:, 0]).astype("Int64").mask(np.arange(60) > 50), "NaN or infinity"),
    ],
)
def test_what_means_something_else_is_refused(features: Any, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _fit(features, targets)


@pytest.mark.parametrize("classes", [["no", "yes"], [0, 1], [-1, 1], [0.0, 1.0], [False, True]])
def test_classes_of_a_single_label_set_keep_their_kind(classes: list[Any]) -> None:
    labels = np.array(classes)[TARGETS[:, 0]]
    for given in (labels, pd.Series(labels), np.ma.masked_array(labels)):
        resampler = _fit(targets=given)
        assert resampler.classes_.tolist() == classes
        assert type(resampler.classes_.tolist()[0]) is type(classes[0])
        assert set(resampler.sample(50, seed=0)[1].tolist()) == set(classes)


@pytest.mark.parametrize("n", [10.0, -1, True, "10", np.float64(3), [10]])
def test_how_many_is_a_whole_number(n: Any) -> None:
    with pytest.raises(ValueError, match="Expected n as a whole number of 0 or more"):
        _fit().sample(n)
    with pytest.raises(ValueError, match="whole numbers, in samples"):
        _fit(targets=TARGETS[:, 0]).sample(samples=[(0, n)])


def test_none_or_numpys_whole_numbers_are_drawn() -> None:
    assert _fit().sample(0)[0].shape == (0, 3, 4)
    assert _fit().sample(np.int32(7))[1].shape == (7, 3)
    assert _fit(targets=TARGETS[:, 0]).sample(samples={0: np.int64(2), 1: 0})[0].shape == (2, 4)
