"""Samplers of real features: class-balanced rows, SMOTE, mixup."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ltml.rebalancing.crt import BalancedResampler
from ltml.rebalancing.mixup import MixupResampler
from ltml.rebalancing.smote import SmoteResampler

RNG = np.random.default_rng(0)
N, C, D = 40, 3, 4
SHARED = RNG.normal(size=(N, D)).astype(np.float32)
AWARE = RNG.normal(size=(N, C, D)).astype(np.float32)
TARGETS = np.where(RNG.random((N, C)) < 0.15, np.nan, (RNG.random((N, C)) < [0.6, 0.2, 0.1]).astype(float))
PRIOR = np.array([0.3, 0.5, 0.7])


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _column(features: np.ndarray, c: int) -> np.ndarray:
    return features if features.ndim == 2 else features[:, c]


@pytest.mark.parametrize("features", [SHARED, AWARE])
def test_balanced_samples_are_whole_real_ones_with_classes_equally_often(features: np.ndarray) -> None:
    drawn, targets = BalancedResampler(features, TARGETS).sample(6000, generator=_generator())
    assert (drawn.shape, targets.shape) == ((6000, C, D), (6000, C))
    rows = [int(np.flatnonzero((_column(features, 0) == x).all(axis=1))[0]) for x in drawn[:, 0].numpy()]
    for c in range(C):
        assert (drawn[:, c].numpy() == _column(features, c)[rows]).all()
    np.testing.assert_array_equal(targets.numpy(), TARGETS[rows].astype(np.float32))
    # P(row) = sum over its classes of 1 / C / positives of the class
    positives = (TARGETS == 1).sum(axis=0)
    expected = ((TARGETS == 1) / positives).sum(axis=1) / C
    found = np.bincount(rows, minlength=N) / 6000
    assert np.abs(found - expected).max() < 5 * np.sqrt(expected.max() / 6000)


def test_classes_without_positives_are_not_drawn_and_none_at_all_is_refused() -> None:
    targets = TARGETS.copy()
    targets[:, 1] = np.where(np.isnan(targets[:, 1]), np.nan, 0)
    assert len(BalancedResampler(SHARED, targets).members) == C - 1
    with pytest.raises(ValueError, match="no class has a known positive"):
        BalancedResampler(SHARED, np.zeros((N, C)))


@pytest.mark.parametrize("features", [SHARED, AWARE])
def test_smote_positives_lie_between_a_positive_and_one_of_its_nearest(features: np.ndarray) -> None:
    drawn, targets = SmoteResampler(features, TARGETS, PRIOR, neighbors=2).sample(500, generator=_generator())
    for c in range(C):
        column = _column(features, c)
        positives = column[TARGETS[:, c] == 1].astype(float)
        distances = np.linalg.norm(positives[:, None] - positives[None], axis=-1)
        np.fill_diagonal(distances, np.inf)
        segments = [(i, j) for i in range(len(positives)) for j in np.argsort(distances[i])[:2]]
        for x in drawn[targets[:, c] == 1, c].numpy()[:50]:
            assert any(_on_segment(x, positives[i], positives[j]) for i, j in segments)
        for x in drawn[targets[:, c] == 0, c].numpy()[:20]:
            assert (column[TARGETS[:, c] == 0] == x).all(axis=1).any()  # negatives are real
        assert abs(float(targets[:, c].mean()) - PRIOR[c]) < 0.08


def _on_segment(x: np.ndarray, start: np.ndarray, end: np.ndarray) -> bool:
    along = end - start
    share = np.dot(x - start, along) / np.dot(along, along)
    return bool(-1e-5 <= share <= 1 + 1e-5 and np.allclose(start + share * along, x, atol=1e-5))


def test_a_single_positive_is_repeated() -> None:
    targets = np.zeros((N, 1))
    targets[7] = 1
    drawn, labels = SmoteResampler(SHARED, targets, np.array([0.5])).sample(50, generator=_generator())
    assert (drawn[labels[:, 0] == 1, 0].numpy() == SHARED[7]).all()


@pytest.mark.parametrize("features", [SHARED, AWARE])
def test_mixed_samples_and_targets_share_their_weights(features: np.ndarray) -> None:
    """Features that hold their own row's targets must come out as the mixed targets."""
    told = np.repeat(TARGETS[:, :, None], D, axis=2) if features.ndim == 3 else np.repeat(TARGETS[:, :1], D, axis=1)
    drawn, targets = MixupResampler(np.nan_to_num(told), TARGETS, alpha=1.0).sample(400, generator=_generator())
    for c in range(C if features.ndim == 3 else 1):
        known = ~targets[:, c].isnan()
        torch.testing.assert_close(drawn[known, c, 0], targets[known, c])
    share = float(targets.isnan().float().mean())
    unknown = np.isnan(TARGETS).mean(axis=0)
    assert abs(share - (1 - (1 - unknown) ** 2).mean()) < 0.05  # unknown where either is
    mixed = MixupResampler(np.nan_to_num(told), TARGETS, alpha=0.01).sample(400, generator=_generator())[1]
    assert float(((mixed - mixed.round()).abs() < 0.05)[~mixed.isnan()].float().mean()) > 0.9


@pytest.mark.parametrize(
    "make",
    [
        lambda: BalancedResampler(AWARE, TARGETS),
        lambda: SmoteResampler(AWARE, TARGETS, PRIOR),
        lambda: MixupResampler(AWARE, TARGETS),
    ],
)
def test_the_generator_alone_decides(make) -> None:
    a, b, other = (make().sample(20, generator=_generator(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
