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


def test_half_precision_memory_maps_are_widened(tmp_path: Path) -> None:
    features, targets = _data()
    np.save(tmp_path / "f.npy", features.astype(np.float16))
    resampler = GaussianResampler().fit(np.load(tmp_path / "f.npy", mmap_mode="r"), targets)
    rows = features.astype(np.float16).astype(np.float64)[targets[:, 1] == 1, 1]
    gaussian = resampler.gaussians_[1][1]
    assert gaussian is not None
    np.testing.assert_allclose(gaussian.covariance(), np.cov(rows, rowvar=False), atol=2e-6)


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


@pytest.mark.parametrize("sizes", [[1] * 12, [5, 7], [12], [3, 0, 9]])
@pytest.mark.parametrize("covariance", ["full", "diagonal", "oas"])
def test_batches_of_any_size_are_those_of_one_large_draw(sizes: list[int], covariance: str) -> None:
    features, targets = _data()
    resampler = GaussianResampler(covariance=covariance).fit(features, targets)
    whole, labels = resampler.sample(12, seed=4)
    source = torch.Generator().manual_seed(4)
    parts = [resampler.sample(size, generator=source) for size in sizes]
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), labels)
    np.testing.assert_allclose(np.concatenate([part[0] for part in parts]), whole, atol=1e-5)
    first, first_labels = resampler.sample(5, seed=4)
    np.testing.assert_allclose(first, whole[:5], atol=1e-5)
    np.testing.assert_array_equal(first_labels, labels[:5])


def test_draws_are_made_in_portions_that_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = _data()
    resampler = GaussianResampler().fit(features, targets)
    whole = resampler.sample(30, seed=4)
    monkeypatch.setattr("ltml.gaussians.draw.NOISE_BYTES", 200)
    portions = resampler.sample(30, seed=4)
    np.testing.assert_allclose(portions[0], whole[0], atol=1e-5)
    np.testing.assert_array_equal(portions[1], whole[1])


def test_dtypes_of_virtual_features() -> None:
    features, targets = (torch.from_numpy(array) for array in _data())
    resampler = GaussianResampler().fit(features, targets)
    plain = resampler.sample(50, seed=0)[0]
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        torch.testing.assert_close(resampler.sample(50, seed=0, dtype=dtype)[0], plain.to(dtype))
    with pytest.raises(ValueError, match="that numpy has"):
        GaussianResampler().fit(features.numpy(), targets).sample(5, seed=0, dtype=torch.bfloat16)


def test_fit_resample_is_fit_and_sample() -> None:
    features, targets = _data()
    first = GaussianResampler().fit_resample(features, targets, seed=5)
    second = GaussianResampler().fit(features, targets).sample(len(features), seed=5)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert len(GaussianResampler().fit_resample(features, targets, n=7)[0]) == 7


def test_parameters_follow_scikit_learn() -> None:
    from sklearn.base import clone

    resampler = GaussianResampler(covariance="oas", borrow=2, prior=[0.2, 0.3], alpha=0.5)
    assert repr(resampler) == "GaussianResampler(covariance='oas', borrow=2, prior=[0.2, 0.3], alpha=0.5)"
    assert repr(GaussianResampler()) == "GaussianResampler()"
    copy = clone(resampler)
    assert copy is not resampler
    assert copy.get_params() == resampler.get_params()
    assert resampler.set_params(alpha=0.1).alpha == 0.1
    with pytest.raises(
        ValueError, match="Expected a parameter among covariance, borrow, prior, alpha, eps, random_state but got"
    ):
        resampler.set_params(beta=1)


def test_a_loaded_resampler_goes_on(tmp_path: Path) -> None:
    features, targets = _data()
    for covariance in ("full", "diagonal", "ledoit_wolf"):
        half = GaussianResampler(covariance=covariance).fit(features[:200], targets[:200])
        half.save(tmp_path / "half.safetensors")
        whole = GaussianResampler.load(tmp_path / "half.safetensors").partial_fit(features[200:], targets[200:])
        expected = half.partial_fit(features[200:], targets[200:])
        np.testing.assert_array_equal(whole.sample(5, seed=0)[0], expected.sample(5, seed=0)[0])


def test_misuse_is_explained() -> None:
    features, targets = _data()
    resampler = GaussianResampler()
    with pytest.raises(ValueError, match="call fit or partial_fit first"):
        resampler.sample(3)
    with pytest.raises(ValueError, match="at least one batch"):
        resampler.fit(iter([]))
    with pytest.raises(ValueError, match="single-label data are fitted whole"):
        resampler.partial_fit(features[:, 0], np.zeros(400))
    resampler.fit(features, targets)
    with pytest.raises(ValueError, match="like the earlier ones"):
        resampler.partial_fit(features[..., :2], targets)
    with pytest.raises(ValueError, match="either n or samples"):
        resampler.sample()
    with pytest.raises(ValueError, match="for single-label data"):
        resampler.sample(samples=[(1, 2)])
    with pytest.raises(ValueError, match="whole number of 0 or more"):
        resampler.sample(-1)
    with pytest.raises(ValueError, match="features alone"):
        resampler.fit(features)
    with pytest.raises(ValueError, match="at least one known sample"):
        GaussianResampler().fit(features, np.full(targets.shape, np.nan), warn=False).sample(3)
    assert not hasattr(GaussianResampler(), "n_features_in_")


def test_a_parameter_set_after_a_fit_counts_from_the_next() -> None:
    features, targets = _data()
    resampler = GaussianResampler().fit(features, targets)
    before = resampler.sample(5, seed=0)[0]
    resampler.set_params(covariance="ledoit_wolf", borrow=1)
    resampler._gaussians = None
    np.testing.assert_array_equal(resampler.sample(5, seed=0)[0], before)
    assert np.all(resampler.fit(features, targets).shrinkage_ > 0)


def test_small_groups_are_told_however_the_samples_came(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    features, targets = _data(20)
    targets[:, 2] = 0
    with caplog.at_level(logging.WARNING, logger="ltml.gaussians.resampler"):
        resampler = GaussianResampler().partial_fit(features, targets)
        assert not caplog.text
        resampler.sample(2, seed=0)
        assert caplog.text.count("class 2 has 0 known sample(s) with label 1") == 1
        resampler.sample(2, seed=0)
        assert caplog.text.count("class 2") == 1


@pytest.mark.parametrize("prior", [np.array([0.1, 0.2, 0.3], dtype=np.float32), torch.tensor([0.1, 0.2, 0.3])])
def test_priors_of_any_kind_are_saved(prior: object, tmp_path: Path) -> None:
    features, targets = _data()
    resampler = GaussianResampler(prior=prior, covariance=np.float32(0.25), borrow=np.int64(1))  # type: ignore[arg-type]
    resampler.fit(features, targets).save(tmp_path / "g.safetensors")
    loaded = GaussianResampler.load(tmp_path / "g.safetensors")
    np.testing.assert_array_equal(loaded.sample(5, seed=0)[0], resampler.sample(5, seed=0)[0])


def test_imports_with_numpy_and_torch_alone() -> None:
    """Every other package that the project needs is made impossible to import, and used nowhere."""
    code = """
import importlib.abc, sys
from importlib.metadata import requires
import numpy, torch

names = {"sklearn", "yaml", "PIL", "open_clip"} | {
    line.split(">=")[0].replace("-", "_") for line in requires("ltml") if "extra" not in line}
names -= {"numpy", "torch"}
assert {"scipy", "pandas", "safetensors", "timm"} <= names

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in names:
            raise ImportError(f"{name} is blocked")

for name in [name for name in sys.modules if name.split(".")[0] in names]:
    del sys.modules[name]
sys.meta_path.insert(0, Block())
from ltml.gaussians import GaussianResampler

rng = numpy.random.default_rng(0)
features, targets = rng.normal(size=(60, 3, 8)), rng.integers(0, 2, size=(60, 3))
print(GaussianResampler(covariance="oas").fit(features, targets).sample(5, seed=0)[0].shape)
ours = {name for name in sys.modules if name.split(".")[0] == "ltml"}
assert all(name == "ltml" or name.startswith("ltml.gaussians") for name in ours), ours
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "(5, 3, 8)"


def test_what_is_masked_is_unknown() -> None:
    features, targets = _data()
    hidden = np.random.default_rng(1).random(targets.shape) < 0.5
    masked = GaussianResampler().fit(features, np.ma.masked_array(np.nan_to_num(targets), hidden))
    plain = GaussianResampler().fit(features, np.where(hidden, np.nan, np.nan_to_num(targets)))
    np.testing.assert_array_equal(masked.counts_, plain.counts_)


def test_a_file_says_what_was_fitted(tmp_path: Path) -> None:
    features, targets = _data()
    resampler = GaussianResampler().fit(features, targets).set_params(covariance="ledoit_wolf")
    resampler.save(tmp_path / "g.safetensors")
    assert GaussianResampler.load(tmp_path / "g.safetensors").covariance == "full"
    with pytest.raises(ValueError, match="as for the earlier samples"):
        resampler.partial_fit(features, targets)


def test_a_file_that_lacks_samples_is_refused(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    features, targets = _data()
    GaussianResampler().fit(features, targets).save(tmp_path / "g.safetensors")
    with safe_open(tmp_path / "g.safetensors", framework="pt") as file:
        save_file({"x": torch.zeros(1)}, tmp_path / "empty.safetensors", metadata=file.metadata())
    with pytest.raises(ValueError, match="is damaged"):
        GaussianResampler.load(tmp_path / "empty.safetensors")


@pytest.mark.parametrize(
    "parameters", [{"alpha": -1}, {"alpha": float("nan")}, {"eps": 0}, {"alpha": None}, {"prior": 0.3}, {"prior": None}]
)
def test_wrong_priors_are_refused(parameters: dict) -> None:
    features, targets = _data()
    with pytest.raises(ValueError, match="Expected"):
        GaussianResampler(**parameters).fit(features, targets).sample(3)
