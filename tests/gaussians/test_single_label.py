from __future__ import annotations

import numpy as np
import pytest
import torch

from ltml.gaussians import GaussianResampler

Array = np.ndarray


def _data() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array(["cat", "dog", "eel"]), size=300, p=[0.7, 0.25, 0.05])
    return rng.normal(size=(300, 4)) + 5 * np.searchsorted(["cat", "dog", "eel"], labels)[:, None], labels


def test_classes_are_drawn_by_the_prior_and_features_from_their_class() -> None:
    features, labels = _data()
    resampler = GaussianResampler().fit(features, labels)
    assert resampler.classes_ is not None
    assert resampler.classes_.tolist() == ["cat", "dog", "eel"]
    frequency = np.unique(labels, return_counts=True)[1] / 300
    expected = frequency**-0.9 / np.sum(frequency**-0.9)
    np.testing.assert_allclose(resampler.probabilities_, expected, rtol=1e-6)
    virtual, names = resampler.sample(20_000, seed=0)
    drawn = np.unique(names, return_counts=True)[1] / 20_000
    np.testing.assert_allclose(drawn, expected, atol=0.02)
    for i, name in enumerate(resampler.classes_):
        np.testing.assert_allclose(virtual[names == name].mean(axis=0), features[labels == name].mean(axis=0), atol=0.1)
        gaussian = resampler.gaussians_[i][1]
        assert gaussian is not None
        np.testing.assert_allclose(np.cov(virtual[names == name], rowvar=False), gaussian.covariance(), atol=0.15)


def test_the_rarest_class_and_the_natural_prior() -> None:
    features, labels = _data()
    natural = GaussianResampler(prior="natural").fit(features, labels)
    np.testing.assert_allclose(natural.probabilities_, np.unique(labels, return_counts=True)[1] / 300)
    uniform = GaussianResampler(prior="uniform").fit(features, labels)
    np.testing.assert_allclose(uniform.probabilities_, 1 / 3)


def test_balancing_keeps_the_real_samples_and_adds_what_is_lacking() -> None:
    features, labels = _data()
    balanced, names = GaussianResampler().fit_resample(features, labels, seed=0)
    np.testing.assert_array_equal(balanced[:300], features)
    assert len(set(np.unique(names, return_counts=True)[1])) == 1
    some, names = GaussianResampler().fit_resample(features, labels, seed=0, samples={"eel": 10})
    assert len(some) == 310
    assert set(names[300:]) == {"eel"}


def test_tensors_stay_tensors() -> None:
    features, labels = _data()
    numbers = torch.from_numpy(np.searchsorted(["cat", "dog", "eel"], labels))
    virtual, drawn = GaussianResampler().fit_resample(torch.from_numpy(features), numbers, seed=0)
    assert isinstance(virtual, torch.Tensor)
    assert drawn.dtype == torch.int64
    assert len(set(torch.bincount(drawn).tolist())) == 1


def test_saved_and_loaded(tmp_path) -> None:
    features, labels = _data()
    resampler = GaussianResampler(borrow="head").fit(features, labels)
    resampler.save(tmp_path / "g.safetensors")
    loaded = GaussianResampler.load(tmp_path / "g.safetensors")
    for first, second in zip(resampler.sample(20, seed=1), loaded.sample(20, seed=1), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("sizes", [[12], [1] * 12, [5, 7]])
def test_batches_of_any_size_are_those_of_one_large_draw(sizes: list[int]) -> None:
    features, labels = _data()
    resampler = GaussianResampler().fit(features, labels)
    whole, names = resampler.sample(12, seed=3)
    source = torch.Generator().manual_seed(3)
    parts = [resampler.sample(size, generator=source) for size in sizes]
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), names)
    np.testing.assert_allclose(np.concatenate([part[0] for part in parts]), whole, atol=1e-5)


def test_classes_beside_tensors_may_be_an_array() -> None:
    features, labels = _data()
    numbers = np.searchsorted(["cat", "dog", "eel"], labels)
    _, drawn = GaussianResampler().fit_resample(torch.from_numpy(features), numbers, seed=0)
    assert len(set(torch.bincount(drawn).tolist())) == 1


def test_misuse_is_explained() -> None:
    features, labels = _data()
    with pytest.raises(ValueError, match=r"features \(N, D\)"):
        GaussianResampler().fit(features[:, None], labels)
    with pytest.raises(ValueError, match="class of every sample"):
        GaussianResampler().fit(features, np.where(labels == "eel", np.nan, 1.0))
    with pytest.raises(ValueError, match="numbers as classes beside tensors"):
        GaussianResampler().fit(torch.from_numpy(features), labels)
    with pytest.raises(ValueError, match="fitted whole"):
        GaussianResampler().fit(iter([(features[:50], labels[:50]), (features[50:], labels[50:])]))
    resampler = GaussianResampler().fit(features, labels)
    with pytest.raises(ValueError, match="nothing after single-label data"):
        resampler.partial_fit(features, np.ones((300, 3)))
    with pytest.raises(ValueError, match="Expected labels among"):
        resampler.sample(samples=[("cow", 3)])
    with pytest.raises(ValueError, match="counts of 0 or more"):
        resampler.sample(samples=[("cat", -3)])
    with pytest.raises(ValueError, match="not n: the data are single-label"):
        resampler.fit_resample(features, labels, n=5)
    with pytest.raises(ValueError, match="same classes"):
        resampler.merge(GaussianResampler().fit(features, np.where(labels == "eel", "fox", labels)))
