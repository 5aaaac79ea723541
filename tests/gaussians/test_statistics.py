from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltml.gaussians import GaussianResampler, statistics
from ltml.gaussians.statistics import Sums

Array = np.ndarray


def _data(count: int = 600, classes: int = 3, width: int = 5, *, offset: float = 0, seed: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, classes)) < np.geomspace(0.5, 0.02, classes)).astype(np.float64)
    mixing = rng.normal(size=(width, width))
    features = rng.normal(size=(count, classes, width)) @ mixing + offset + targets[..., None]
    targets[rng.random(targets.shape) < 0.2] = np.nan
    return features, targets


def _two_pass(rows: Array) -> Array:
    """Covariance of the rows as they are, in float64."""
    return np.cov(rows.astype(np.float64), rowvar=False)


def _largest_error(resampler: GaussianResampler, features: Array, targets: Array) -> float:
    """Relative Frobenius error of the worst covariance."""
    errors = []
    for c, pair in enumerate(resampler.gaussians_):
        for label, gaussian in enumerate(pair):
            assert gaussian is not None
            exact = _two_pass(features[targets[:, c] == label, c])
            errors.append(np.linalg.norm(gaussian.covariance().numpy() - exact) / np.linalg.norm(exact))
    return max(errors)


def test_features_far_from_zero_keep_their_digits() -> None:
    features, targets = _data(20_000, width=16, offset=0)
    deviation = features.std()
    far = (features + 1000 * deviation).astype(np.float32)
    assert _largest_error(GaussianResampler().fit(far, targets), far, targets) < 1e-6
    naive = far[:, 0].T @ far[:, 0] / len(far) - np.outer(far[:, 0].mean(axis=0), far[:, 0].mean(axis=0))
    assert np.linalg.norm(naive - _two_pass(far[:, 0])) > 0.01 * np.linalg.norm(naive)  # what the shift is for


@pytest.mark.parametrize("parts", [[600], [1] * 600, [7, 500, 93], [300, 0, 300]])
def test_any_split_into_batches_gives_the_same_bits(parts: list[int]) -> None:
    features, targets = _data()
    whole = GaussianResampler().fit(features.astype(np.float32), targets)
    ends = np.cumsum(parts)
    batches = [(features[a:b].astype(np.float32), targets[a:b]) for a, b in zip(ends - parts, ends, strict=True)]
    iterated = GaussianResampler().fit(iter(batches))
    stepped = GaussianResampler()
    for batch in batches:
        stepped.partial_fit(*batch)
    for other in (iterated, stepped):
        np.testing.assert_array_equal(other.sample(20, seed=0)[0], whole.sample(20, seed=0)[0])


def test_small_chunks_give_the_same_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = _data(5000, offset=3000)
    low = features.astype(np.float32)
    monkeypatch.setattr(statistics, "PART_BYTES", 2048)
    monkeypatch.setattr(statistics, "PENDING_BYTES", 2000)
    chunked = GaussianResampler()
    for start in range(0, 5000, 37):
        chunked.partial_fit(low[start : start + 37], targets[start : start + 37])
    assert chunked.statistics_.chunk == 64
    assert _largest_error(chunked, low, targets) < 1e-6


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 400), min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
    covariance=st.sampled_from(["full", "diagonal", "ledoit_wolf", "oas", 0.3]),
)
def test_any_partition_and_merge_order_gives_the_same_gaussians(cuts: list[int], order, covariance) -> None:
    features, targets = _data(400, width=6, offset=100)
    low = features.astype(np.float32)
    ends = [0, *sorted(cuts), 400]
    parts = [slice(a, b) for a, b in itertools.pairwise(ends) if b > a]
    workers = [GaussianResampler(covariance=covariance).fit(low[part], targets[part], warn=False) for part in parts]
    order.shuffle(workers)
    merged = workers[0]
    for other in workers[1:]:
        merged.merge(other)
    _assert_same(merged, GaussianResampler(covariance=covariance).fit(low, targets, warn=False))


def _assert_same(first: GaussianResampler, second: GaussianResampler, order: Sequence[int] = (0, 1, 2)) -> None:
    np.testing.assert_array_equal(first.counts_, second.counts_[list(order)])
    for pair, c in zip(first.gaussians_, order, strict=True):
        for gaussian, other in zip(pair, second.gaussians_[c], strict=True):
            assert gaussian is not None
            assert other is not None
            np.testing.assert_allclose(gaussian.mean, other.mean, rtol=1e-7)
            scale = float(other.covariance().norm())
            np.testing.assert_allclose(gaussian.covariance(), other.covariance(), rtol=0, atol=2e-6 * scale)
            assert gaussian.shrinkage == pytest.approx(other.shrinkage, abs=1e-5)


def test_merging_leaves_the_other_as_it_was_and_can_go_on() -> None:
    features, targets = _data(800)
    first, second = (GaussianResampler().fit(features[part], targets[part]) for part in (slice(500), slice(500, 800)))
    before = second.sample(5, seed=0)[0]
    first.merge(second)
    first.partial_fit(features[:100], targets[:100])
    np.testing.assert_array_equal(second.sample(5, seed=0)[0], before)
    again = np.concatenate([features, features[:100]]), np.concatenate([targets, targets[:100]])
    _assert_same(first, GaussianResampler().fit(*again))


def test_resamplers_that_do_not_fit_together_are_not_merged() -> None:
    features, targets = _data()
    plain = GaussianResampler().fit(features, targets)
    for other in (
        GaussianResampler().fit(features[:, :2], targets[:, :2]),
        GaussianResampler().fit(features[..., :3], targets),
        GaussianResampler().fit(features[:, 0], targets),
        GaussianResampler(covariance="diagonal").fit(features, targets),
    ):
        with pytest.raises(ValueError, match="Expected two resamplers of the same"):
            plain.merge(other)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(3)), st.integers(0, 2**31))
def test_permuting_classes_or_samples_permutes_results(order: list[int], seed: int) -> None:
    features, targets = _data(300)
    plain = GaussianResampler().fit(features, targets)
    _assert_same(GaussianResampler().fit(features[:, order], targets[:, order]), plain, order)
    rows = np.random.default_rng(seed).permutation(300)
    _assert_same(GaussianResampler().fit(features[rows], targets[rows]), plain)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([40, 600]))
def test_affine_maps_of_the_features_map_the_moments(seed: int, count: int) -> None:
    features, targets = _data(count, seed=1)
    targets[:20] = np.arange(20)[:, None] % 2
    rng = np.random.default_rng(seed)
    matrix, shift = rng.normal(size=(5, 5)), rng.normal(size=5) * 10
    plain = GaussianResampler().fit(features, targets, warn=False)
    mapped = GaussianResampler().fit(features @ matrix + shift, targets, warn=False)
    for pair, mapped_pair in zip(plain.gaussians_, mapped.gaussians_, strict=True):
        for gaussian, other in zip(pair, mapped_pair, strict=True):
            assert gaussian is not None
            assert other is not None
            np.testing.assert_allclose(other.mean, gaussian.mean.numpy() @ matrix + shift, atol=1e-9)
            expected = matrix.T @ gaussian.covariance().numpy() @ matrix
            np.testing.assert_allclose(other.covariance(), expected, atol=1e-9 * np.abs(expected).max())


@settings(max_examples=20, deadline=None)
@given(st.floats(-1e30, 1e30), st.integers(0, 2**31))
def test_unknown_entries_have_no_influence(value: float, seed: int) -> None:
    features, targets = _data(200)
    rng = np.random.default_rng(seed)
    targets[rng.random(targets.shape) < 0.3] = np.nan
    moved = np.where(np.isnan(targets)[..., None], value, features)
    plain, other = (GaussianResampler().fit(x, targets, warn=False).sample(5, seed=1)[0] for x in (features, moved))
    np.testing.assert_array_equal(plain, other)


def test_sums_about_another_shift_are_those_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    rows, first, second = rng.normal(size=(50, 4)), rng.normal(size=4), rng.normal(size=4)

    def direct(shift: Array, *, diagonal: bool) -> list[Array]:
        moved = rows - shift
        squares = (moved**2).sum(axis=1)
        scatter = (moved**2).sum(axis=0) if diagonal else moved.T @ moved
        return [moved.sum(axis=0), scatter, (squares[:, None] * moved).sum(axis=0), (squares**2).sum()]

    for diagonal in (False, True):
        sums = Sums(50, torch.from_numpy(first), *map(torch.as_tensor, direct(first, diagonal=diagonal)))
        moved = sums.about(torch.from_numpy(second))
        expected = direct(second, diagonal=diagonal)
        np.testing.assert_allclose(moved.total, expected[0])
        np.testing.assert_allclose(moved.scatter, expected[1])
        np.testing.assert_allclose(moved.mean, rows.mean(axis=0))
        if not diagonal:
            np.testing.assert_allclose(moved.third, expected[2])
            np.testing.assert_allclose(moved.fourth, expected[3])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_every_kind_of_number_is_read(dtype: type) -> None:
    features, targets = _data(400)
    rounded = (features * 10).astype(dtype)
    assert _largest_error(GaussianResampler().fit(rounded, targets), rounded, targets) < 1e-6


def test_bfloat16_tensors_are_read() -> None:
    features, targets = _data(400)
    rounded = torch.from_numpy(features).bfloat16()
    resampler = GaussianResampler().fit(rounded, torch.from_numpy(targets))
    assert _largest_error(resampler, rounded.double().numpy(), targets) < 1e-6


def test_the_caller_s_arrays_are_left_alone() -> None:
    features, targets = _data(200)
    tensors = torch.from_numpy(features.copy()).requires_grad_()
    GaussianResampler(covariance="diagonal").fit(tensors, targets)
    GaussianResampler().partial_fit(tensors, targets).fit(tensors, targets)
    np.testing.assert_array_equal(tensors.detach(), features)


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    classes, width = 4, 128
    peaks = []
    for count in (20_000, 80_000):
        path = tmp_path / f"{count}.npy"
        store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, classes, width))
        rng = np.random.default_rng(0)
        for start in range(0, count, 5000):
            store[start : start + 5000] = rng.normal(size=(5000, classes, width))
        store.flush()
        targets = (rng.random((count, classes)) < 0.3).astype(np.float32)
        mapped = np.load(path, mmap_mode="r")
        tracemalloc.start()
        resampler = GaussianResampler().fit(mapped, targets)
        peaks.append(tracemalloc.get_traced_memory()[1] - 12 * targets.size)  # numpy's arrays, without the labels
        tracemalloc.stop()
        assert resampler.counts_.sum() == count * classes
    bound = 2 * classes * width**2 * 8 + (64 << 20)
    assert max(peaks) < bound
    assert peaks[1] < 1.1 * peaks[0] + (1 << 16) * 16  # and a slice of them some more while it is checked


def test_memory_of_batches_is_that_of_one_chunk() -> None:
    classes, width = 14, 64
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(500, classes, width)).astype(np.float32), (rng.random((500, classes)) < 0.3).astype(float)
    tracemalloc.start()
    resampler = GaussianResampler()
    for _ in range(100):
        resampler.partial_fit(*batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert resampler.counts_.sum() == 50_000 * classes
    assert peak < (128 << 20) + (48 << 20)  # rows that wait, and what a fit takes besides


def test_looking_changes_nothing() -> None:
    features, targets = _data(3000, width=4, offset=50)
    low = features.astype(np.float32)
    plain, watched = GaussianResampler(), GaussianResampler()
    for start in range(0, 3000, 100):
        part = slice(start, start + 100)
        plain.partial_fit(low[part], targets[part])
        watched.partial_fit(low[part], targets[part])
        assert watched.counts_.sum() == (~np.isnan(targets[: part.stop])).sum()
        watched.sample(3, seed=0)
    np.testing.assert_array_equal(plain.sample(50, seed=0)[0], watched.sample(50, seed=0)[0])


def test_merging_a_small_group_into_a_large_one_leaves_it_alone() -> None:
    features, targets = _data(300, width=8)
    small = GaussianResampler().fit(features[:5], np.ones((5, 3)), warn=False)
    before = [pair[1].all_rows().clone() for pair in small.statistics_.groups]
    for _ in range(2):
        GaussianResampler().fit(features, targets).merge(small)
    for rows, pair in zip(before, small.statistics_.groups, strict=True):
        assert torch.equal(pair[1].all_rows(), rows)
    doubled = GaussianResampler().fit(features, targets)
    doubled.merge(doubled)
    _assert_same(doubled, GaussianResampler().fit(np.tile(features, (2, 1, 1)), np.tile(targets, (2, 1))))


@pytest.mark.parametrize("offset", [100, 10_000])
def test_data_sorted_by_where_they_come_from_keep_their_digits(offset: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100_000, 3)) * [1, 2, 0.5]
    rows[:4] += offset
    low, ones = rows.astype(np.float32), np.ones((100_000, 1))
    gaussian = GaussianResampler().fit(low, ones, warn=False).gaussians_[0][1]
    assert gaussian is not None
    exact = _two_pass(low)
    found = gaussian.covariance().numpy()
    assert np.linalg.norm(found - exact) < 1e-6 * np.linalg.norm(exact)
    np.testing.assert_allclose(np.linalg.eigvalsh(found), np.linalg.eigvalsh(exact), rtol=1e-2)


def test_double_precision_before_single_keeps_the_mean() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 2)) + 1000
    low, ones = rows.astype(np.float32), np.ones((4000, 1))
    resampler = GaussianResampler().partial_fit(rows[:100], ones[:100]).partial_fit(low[100:], ones[100:])
    gaussian = resampler.gaussians_[0][1]
    assert gaussian is not None
    exact = np.concatenate([rows[:100], low[100:].astype(np.float64)])
    np.testing.assert_allclose(gaussian.mean, exact.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(gaussian.covariance(), _two_pass(exact), rtol=1e-5, atol=1e-6)


def test_a_batch_that_is_refused_leaves_no_trace() -> None:
    features, targets = _data(200)
    resampler = GaussianResampler().partial_fit(features[:100], targets[:100])
    broken = np.where(np.arange(100)[:, None, None] == 7, np.nan, features[100:])
    targets[107] = 1
    with pytest.raises(ValueError, match="finite features but got NaN or infinity in class 0"):
        resampler.partial_fit(broken, targets[100:])
    resampler.partial_fit(features[100:], targets[100:])
    _assert_same(resampler, GaussianResampler().fit(features, targets))
    with pytest.raises(ValueError, match="finite"):
        resampler.fit(broken, targets[100:])
    assert not hasattr(resampler, "statistics_")


def test_inference_mode_inside_and_out() -> None:
    features, targets = (torch.from_numpy(array) for array in _data(300))
    with torch.inference_mode():
        inner = features * 1.0
        resampler = GaussianResampler().partial_fit(inner[:150], targets[:150])
        resampler.sample(5, seed=0)
    resampler.partial_fit(features[150:], targets[150:])
    expected = GaussianResampler().fit(features, targets).sample(5, seed=0)[0]
    torch.testing.assert_close(resampler.sample(5, seed=0)[0], expected)


def test_several_processes_get_the_gaussians_of_one(tmp_path: Path) -> None:
    features, targets = _data(900)
    workers = [GaussianResampler().fit(features[i::3], targets[i::3]) for i in range(3)]
    for i, worker in enumerate(workers):
        worker.save(tmp_path / f"{i}.safetensors")
    merged = GaussianResampler.load(tmp_path / "0.safetensors")
    for i in (1, 2):
        merged.merge(GaussianResampler.load(tmp_path / f"{i}.safetensors"))
    _assert_same(merged, GaussianResampler().fit(features, targets))
