from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ltml.gaussians import GaussianResampler


def _data(count: int = 400, classes: int = 3, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = (rng.random((count, classes)) < [0.5, 0.2, 0.05]).astype(np.float64)
    features = rng.normal(size=(count, classes, width)) + 3 * targets[..., None]
    targets[rng.random(targets.shape) < 0.2] = np.nan
    return features, targets


def test_each_gaussian_is_that_of_its_known_samples() -> None:
    features, targets = _data()
    resampler = GaussianResampler().fit(features, targets)
    for c in range(3):
        for label in (0, 1):
            rows = features[targets[:, c] == label, c]
            gaussian = resampler.gaussians_[c][label]
            assert gaussian is not None
            assert gaussian.count == len(rows) == resampler.counts_[c, label]
            np.testing.assert_allclose(gaussian.mean, rows.mean(axis=0), atol=1e-12)
            np.testing.assert_allclose(gaussian.covariance(), np.cov(rows, rowvar=False), atol=1e-10)


def test_shared_features_are_the_same_as_repeated_ones() -> None:
    features, targets = _data()
    shared = features[:, 0]
    first = GaussianResampler().fit(shared, targets).sample(50, seed=3)
    second = GaussianResampler().fit(np.repeat(shared[:, None], 3, axis=1), targets).sample(50, seed=3)
    np.testing.assert_array_equal(first[0], second[0])
    assert first[0].shape == (50, 3, 4)


def test_unknown_entries_have_no_influence() -> None:
    features, targets = _data()
    moved = np.where(np.isnan(targets)[..., None], 1e6, features)
    plain, other = (GaussianResampler().fit(x, targets).sample(20, seed=1)[0] for x in (features, moved))
    np.testing.assert_array_equal(plain, other)


def test_label_frequencies_follow_eq12_and_features_follow_their_label() -> None:
    features, targets = _data()
    resampler = GaussianResampler(alpha=0.9).fit(features, targets)
    frequency = np.nanmean(targets, axis=0)
    expected = (1 / (frequency + 1e-9)) ** 0.9
    expected /= expected.sum()
    np.testing.assert_allclose(resampler.probabilities_, expected)
    draws = 100_000
    virtual, labels = resampler.sample(draws, seed=0)
    error = 5 * np.sqrt(expected * (1 - expected) / draws)
    assert np.all(np.abs(labels.mean(axis=0) - expected) < error)
    for c in range(3):
        for label in (0, 1):
            gaussian = resampler.gaussians_[c][label]
            assert gaussian is not None
            rows = virtual[labels[:, c] == label, c]
            np.testing.assert_allclose(rows.mean(axis=0), gaussian.mean, atol=0.06)
            np.testing.assert_allclose(np.cov(rows, rowvar=False), gaussian.covariance(), atol=0.1)
    joint = np.mean(labels[:, 0] * labels[:, 1])
    assert joint == pytest.approx(expected[0] * expected[1], abs=0.01)  # classes are drawn independently


def test_small_groups_are_sampled_as_documented(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(10, 4, 3))
    targets = np.zeros((10, 4))
    targets[4, 0] = 1  # one positive: a point mass
    targets[:, 2] = 1  # no negative
    targets[:, 3] = np.nan
    with caplog.at_level(logging.WARNING, logger="ltml.gaussians.resampler"):
        resampler = GaussianResampler(prior="uniform").fit(features, targets)
    assert "class 0 has 1 known sample(s) with label 1" in caplog.text
    named = GaussianResampler().fit(features, targets, label_names=["a", "b", "c", "d"])
    assert "class b has 0 known sample(s) with label 1" in caplog.text
    caplog.clear()
    named.fit(features, targets, warn=False)
    assert not caplog.text
    with caplog.at_level(logging.WARNING, logger="ltml.gaussians.resampler"):
        resampler.fit(features, targets)
    assert "class 1 has 0 known sample(s) with label 1: it is never drawn" in caplog.text
    virtual, labels = resampler.sample(300, seed=0)
    assert 0 < labels[:, 0].sum() < 300
    np.testing.assert_allclose(
        virtual[labels[:, 0] == 1, 0], np.tile(features[4, 0], (int(labels[:, 0].sum()), 1)), rtol=1e-6
    )
    assert np.all(labels[:, 1] == 0)
    assert np.all(labels[:, 2] == 1)
    assert np.all(np.isnan(labels[:, 3]))
    assert np.all(virtual[:, 3] == 0)


def test_a_seed_fixes_the_sample_and_kinds_are_kept() -> None:
    features, targets = _data()
    resampler = GaussianResampler().fit(features, targets)
    assert isinstance(resampler.sample(5, seed=0)[0], np.ndarray)
    np.testing.assert_array_equal(resampler.sample(5, seed=7)[0], resampler.sample(5, seed=7)[0])
    assert not np.array_equal(resampler.sample(5, seed=7)[0], resampler.sample(5, seed=8)[0])
    tensors = GaussianResampler().fit(torch.from_numpy(features), torch.from_numpy(targets)).sample(5, seed=7)
    assert isinstance(tensors[0], torch.Tensor)
    assert tensors[0].dtype == torch.float32
    np.testing.assert_array_equal(tensors[0], resampler.sample(5, seed=7)[0])
    with pytest.raises(ValueError, match="seed or generator"):
        resampler.sample(5, seed=0, generator=torch.Generator())


def test_half_precision_memory_maps_are_read_in_float64(tmp_path: Path) -> None:
    features, targets = _data()
    np.save(tmp_path / "f.npy", features.astype(np.float16))
    resampler = GaussianResampler().fit(np.load(tmp_path / "f.npy", mmap_mode="r"), targets)
    rows = features.astype(np.float16).astype(np.float64)[targets[:, 1] == 1, 1]
    gaussian = resampler.gaussians_[1][1]
    assert gaussian is not None
    np.testing.assert_allclose(gaussian.covariance(), np.cov(rows, rowvar=False), atol=1e-10)


def test_saved_gaussians_load_and_sample_the_same(tmp_path: Path) -> None:
    features, targets = _data()
    targets[:, 2] = 0
    resampler = GaussianResampler(prior=[0.1, 0.2, 0.3], covariance="diagonal").fit(features, targets)
    resampler.save(tmp_path / "g.safetensors")
    loaded = GaussianResampler.load(tmp_path / "g.safetensors")
    np.testing.assert_array_equal(loaded.sample(9, seed=2)[0], resampler.sample(9, seed=2)[0])
    np.testing.assert_array_equal(loaded.counts_, resampler.counts_)
    assert loaded.prior == [0.1, 0.2, 0.3]
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not written by GaussianResampler"):
        GaussianResampler.load(tmp_path / "other.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        GaussianResampler.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        (np.zeros((3, 2, 4)), np.zeros((2, 2)), "Expected features"),
        (np.zeros((3, 1, 4)), np.zeros((3, 2)), "of 2 classes but got 1"),
        (np.zeros((3, 2, 4)), np.full((3, 2), 0.5), "0, 1 or NaN"),
        (np.full((3, 2, 4), np.inf), np.zeros((3, 2)), "finite"),
    ],
)
def test_wrong_input_is_refused(features: np.ndarray, targets: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianResampler().fit(features, targets)


def test_imports_nothing_of_ours_but_itself() -> None:
    code = "import sys\nfrom ltml.gaussians import GaussianResampler\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "ltml.gaussians.resampler" in loaded
    assert not {"pandas", "sklearn", "scipy", "timm", "pydantic", "omegaconf", "torchvision", "rich"} & loaded
    assert all(name == "ltml" or name.startswith("ltml.gaussians") for name in loaded if name.startswith("ltml"))
