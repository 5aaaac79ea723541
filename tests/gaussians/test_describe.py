from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ltml.gaussians import GaussianResampler
from ltml.gaussians.describe import describe, mahalanobis


def _fit(rows: dict[int, np.ndarray], covariance: str = "full") -> GaussianResampler:
    features = np.concatenate(list(rows.values()))
    targets = np.concatenate([np.full((len(group), 1), float(label)) for label, group in rows.items()])
    return GaussianResampler(covariance=covariance).fit(features, targets, warn=False)


def test_rank_condition_distance_and_auc() -> None:
    rng = np.random.default_rng(0)
    rows = {0: rng.normal(size=(300, 5)) * [1, 2, 3, 4, 5], 1: rng.normal(size=(4, 5)) + 1}
    weight = rng.normal(size=(1, 5))
    resampler = _fit(rows)
    (entry,) = describe(resampler, torch.from_numpy(weight))
    covariances = [np.cov(group, rowvar=False) for group in rows.values()]
    assert entry["absent"] == {
        "n": 300,
        "rank": 5,
        "shrinkage": 0,
        "condition": pytest.approx(np.linalg.cond(covariances[0])),
    }
    assert entry["present"] == {"n": 4, "rank": 3, "shrinkage": 0, "condition": math.inf}
    assert entry["probability"] == pytest.approx(float(resampler.probabilities_[0]))
    difference = rows[1].mean(axis=0) - rows[0].mean(axis=0)
    expected = np.sqrt(difference @ np.linalg.inv((covariances[0] + covariances[1]) / 2) @ difference)
    assert entry["distance"] == pytest.approx(expected)
    assert entry["auc"] < entry["auc_best"] <= 1
    virtual, labels = (
        GaussianResampler(prior=[0.5])
        .fit(np.concatenate(list(rows.values())), np.repeat([[0.0], [1.0]], [300, 4], axis=0))
        .sample(200_000, seed=0)
    )
    assert entry["auc"] == pytest.approx(roc_auc_score(labels[:, 0], virtual[:, 0] @ weight[0]), abs=0.005)


def test_shrunk_and_diagonal_covariances_have_full_rank() -> None:
    rng = np.random.default_rng(0)
    rows = {0: rng.normal(size=(40, 5)), 1: rng.normal(size=(3, 5))}
    for covariance in ("oas", "diagonal"):
        resampler = _fit(rows, covariance)
        (entry,) = describe(resampler)
        for label, name in enumerate(("absent", "present")):
            gaussian = resampler.gaussians_[0][label]
            assert gaussian is not None
            assert entry[name]["rank"] == 5
            assert entry[name]["condition"] == pytest.approx(np.linalg.cond(gaussian.covariance().numpy()))
        assert math.isnan(entry["auc"])


def test_groups_that_are_not_there() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 3))
    targets = np.full((20, 3), np.nan)
    targets[:, 0] = 1
    targets[:, 1] = [0, 1] * 10
    targets[0, 2], targets[1, 2] = 0, 1
    entries = describe(GaussianResampler().fit(rows, targets, warn=False), torch.ones(3, 3))
    assert entries[0]["absent"] is None
    assert math.isnan(entries[0]["distance"])
    assert math.isnan(entries[0]["auc"])
    assert entries[2]["present"] == {"n": 1, "rank": 0, "condition": math.inf, "shrinkage": 0}
    assert entries[2]["distance"] == math.inf  # two points
    assert entries[2]["auc"] in (0, 1)


def test_means_apart_where_nothing_varies_are_infinitely_far() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 4))
    rows[:, 3] = 0
    other = rows + np.eye(4)[3]
    pair = _fit({0: rows, 1: other}).gaussians_[0]
    assert mahalanobis(*pair) == math.inf  # type: ignore[arg-type]
    pair = _fit({0: rows, 1: rows + np.eye(4)[0]}).gaussians_[0]
    inverse = np.linalg.inv(np.cov(rows[:, :3], rowvar=False))
    assert mahalanobis(*pair) == pytest.approx(np.sqrt(inverse[0, 0]))  # type: ignore[arg-type]
