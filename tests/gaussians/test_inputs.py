"""Kinds of array that a resampler is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ltml.gaussians import GaussianResampler

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(60, 4))
TARGETS = RNG.integers(0, 2, (60, 3)).astype(float)
HIDDEN = RNG.random((60, 3)) < 0.3
KNOWN = np.where(HIDDEN, np.nan, TARGETS)


def _objects(missing: Any) -> np.ndarray:
    values = TARGETS.astype(object)
    values[HIDDEN] = missing
    return values


@pytest.mark.parametrize(
    "kind",
    [
        lambda: np.ma.masked_array(TARGETS, HIDDEN),
        lambda: np.ma.masked_array(TARGETS.astype(np.int8), HIDDEN),
        lambda: np.ma.masked_array(TARGETS == 1, HIDDEN),
        lambda: pd.DataFrame(KNOWN).astype("Int8"),
        lambda: pd.DataFrame(KNOWN).astype("boolean"),
        lambda: pd.DataFrame(KNOWN).astype("Float64"),
        lambda: pd.DataFrame(KNOWN).astype("category"),
        lambda: _objects(None),
        lambda: _objects(pd.NA),
        lambda: _objects(None).tolist(),
        lambda: torch.from_numpy(KNOWN).bfloat16(),
        lambda: torch.from_numpy(KNOWN).requires_grad_(),
        lambda: list(torch.from_numpy(KNOWN)),
    ],
)
def test_targets_of_every_kind_fit_as_plain_ones(kind: Callable[[], Any]) -> None:
    found = GaussianResampler().fit(FEATURES, kind())
    right = GaussianResampler().fit(FEATURES, KNOWN)
    assert np.array_equal(found.counts_, right.counts_)
    assert np.array_equal(found.sample(5, seed=0)[0], right.sample(5, seed=0)[0])


@pytest.mark.parametrize("kind", [lambda: FEATURES.tolist(), lambda: pd.DataFrame(FEATURES).astype("Float64")])
def test_features_of_every_kind_fit_as_plain_ones(kind: Callable[[], Any]) -> None:
    found, right = (GaussianResampler().fit(features, KNOWN) for features in (kind(), FEATURES))
    assert np.array_equal(found.sample(5, seed=0)[0], right.sample(5, seed=0)[0])


def test_frames_of_other_rows_and_minus_one_are_refused() -> None:
    frames = pd.DataFrame(FEATURES), pd.DataFrame(KNOWN)
    with pytest.raises(ValueError, match="same index"):
        GaussianResampler().fit(frames[0], frames[1].sample(frac=1, random_state=0))
    with pytest.raises(ValueError, match="CheXpert's mark.*never a negative"):
        GaussianResampler().fit(FEATURES, np.where(HIDDEN, -1, TARGETS))


def test_classes_that_are_text_stay_text() -> None:
    classes = pd.Series(["1", "2", "10"] * 20)
    assert GaussianResampler().fit(FEATURES, classes).classes_.tolist() == ["1", "10", "2"]
    with pytest.raises(ValueError, match="class of every sample"):
        GaussianResampler().fit(FEATURES, [None, *range(59)])
