"""GaussianResampler against what one would write otherwise, on the same data in the same run.

    python tests/benchmarks/bench_gaussians.py [part…]

Parts: fit, sample, tail, shrinkage, training, expected, memory, linear; all by default. One thread, CPU time, medians
of runs that take turns with their peers'. Every line gives the ratio and what it should be.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import statistics
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.stats
import torch
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from ltml.gaussians import GaussianResampler
from ltml.gaussians.expected import expected_loss, fit_expected

torch.set_num_threads(1)
Array = np.ndarray
Work = Callable[[], object]
CLASSES = 14


def cpu(work: Work) -> float:
    """Seconds of CPU time of one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(ours: Work, peers: dict[str, tuple[Work, str]], *, runs: int = 5, title: str) -> None:
    """Print the median of peer over ours for each peer, all measured in turn."""
    ours()
    times: dict[str, list[float]] = {"ours": [], **{name: [] for name in peers}}
    for _ in range(runs):
        times["ours"].append(cpu(ours))
        for name, (work, _) in peers.items():
            times[name].append(cpu(work))
    own = statistics.median(times["ours"])
    print(f"{title}: ours {own * 1e3:.1f} ms")
    for name, (_, wanted) in peers.items():
        ratio = statistics.median(times[name]) / own
        shown = f"ours takes {1 / ratio:.2f} × its time" if wanted.startswith("≤") else f"{ratio:.1f} × as fast"
        print(f"    {name}: {shown} (figure: {wanted})")


def make_data(count: int, width: int, *, rarest: float = 0.002) -> tuple[Array, Array]:
    """Correlated float32 features (N, 14, D) and long-tailed targets."""
    rng = np.random.default_rng(0)
    targets = (rng.random((count, CLASSES)) < np.geomspace(0.3, rarest, CLASSES)).astype(np.float64)
    scale = (1 / np.sqrt(np.arange(1, width + 1))).astype(np.float32)
    features = rng.standard_normal((count, CLASSES, width), dtype=np.float32) * scale
    features += 0.5 * np.roll(features, 1, axis=-1) + (targets[..., None] * 0.3 * scale).astype(np.float32)
    return features, targets


def groups(features: Array, targets: Array) -> list[list[Array]]:
    """Rows of every class and label."""
    return [[features[targets[:, c] == label, c] for label in (0, 1)] for c in range(CLASSES)]


def bench_fit() -> None:
    for count, width, wanted in ((20_000, 512, ("5 ×", "2 ×")), (5_000, 1024, ("20 ×", "1.8 ×"))):
        features, targets = make_data(count, width)
        tensor = torch.from_numpy(features)

        def ours(features: Array = features, targets: Array = targets) -> None:
            GaussianResampler().fit(features, targets, warn=False)

        def scikit(features: Array = features, targets: Array = targets) -> None:
            for pair in groups(features, targets):
                for rows in pair:
                    EmpiricalCovariance().fit(rows)

        def with_numpy(features: Array = features, targets: Array = targets) -> None:
            for pair in groups(features, targets):
                for rows in pair:
                    np.cov(rows, rowvar=False)

        def general(tensor: torch.Tensor = tensor) -> None:
            for c in range(CLASSES):
                torch.mm(tensor[:, c].T, tensor[:, c])

        def symmetric(features: Array = features) -> None:
            for c in range(CLASSES):
                features[:, c].T @ features[:, c]

        peers = {
            "scikit-learn EmpiricalCovariance": (scikit, wanted[0]),
            "numpy.cov": (with_numpy, wanted[1]),
            "one float32 product per class (torch, a general product)": (general, "≤ 1.1 ×"),
            "one float32 product per class (numpy, which sees the symmetry)": (symmetric, "≤ 1.1 ×"),
        }
        compare(ours, peers, runs=3, title=f"fit N={count} C={CLASSES} D={width}")


def bench_sample() -> None:
    features, targets = make_data(20_000, 512)
    resampler = GaussianResampler().fit(features, targets, warn=False)
    chances = resampler.probabilities_
    fitted = [
        [(g.mean.numpy(), g.covariance().numpy()) for g in pair if g is not None] for pair in resampler.gaussians_
    ]
    ridged = [[(mean, cov + 1e-6 * np.eye(512)) for mean, cov in pair] for pair in fitted]
    source, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    normals = [
        [
            torch.distributions.MultivariateNormal(*map(torch.from_numpy, (m.astype(np.float32), c.astype(np.float32))))
            for m, c in pair
        ]
        for pair in ridged
    ]
    left, right = torch.randn(512, 512), torch.randn(512, 512)

    def numbers() -> list[list[int]]:
        present = (rng.random((512, CLASSES)) <= chances).sum(axis=0)
        return [[512 - int(n), int(n)] for n in present]

    def with_torch() -> None:
        for pair, counts in zip(normals, numbers(), strict=True):
            for normal, count in zip(pair, counts, strict=True):
                normal.sample((count,))

    def with_numpy() -> None:
        for pair, counts in zip(ridged, numbers(), strict=True):
            for (mean, covariance), count in zip(pair, counts, strict=True):
                rng.multivariate_normal(mean, covariance, count, method="cholesky")

    def with_scipy() -> None:
        for pair, counts in zip(ridged, numbers(), strict=True):
            for (mean, covariance), count in zip(pair, counts, strict=True):
                scipy.stats.multivariate_normal.rvs(mean, covariance, count, random_state=rng)

    peers = {
        "torch MultivariateNormal, cached factors": (with_torch, "15 ×"),
        "numpy Generator, Cholesky": (with_numpy, "7 ×"),
        "scipy rvs": (with_scipy, "60 ×"),
        "one float32 product per class (torch)": (lambda: [torch.mm(left, right) for _ in range(CLASSES)], "≤ 1.2 ×"),
    }
    compare(lambda: resampler.sample(512, generator=source), peers, runs=5, title="sample 512 x 14 x 512")


def bench_tail() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((144, 2048), dtype=np.float32)
    ones = np.ones((144, 1))

    def with_numpy() -> None:
        covariance = np.cov(rows, rowvar=False) + 1e-6 * np.eye(2048)
        rows.mean(axis=0) + rng.standard_normal((8192, 2048)) @ np.linalg.cholesky(covariance).T

    def with_scipy() -> None:
        covariance = np.cov(rows, rowvar=False)
        scipy.stats.multivariate_normal(rows.mean(axis=0), covariance, allow_singular=True).rvs(8192, random_state=rng)

    peers = {"numpy, jittered Cholesky": (with_numpy, "25 ×"), "scipy rvs": (with_scipy, "100 ×")}
    ours = lambda: GaussianResampler().fit(rows, ones, warn=False).sample(8192, seed=0)  # noqa: E731
    compare(ours, peers, runs=3, title="tail class n=144 D=2048, 8,192 samples, fit included")


def bench_shrinkage() -> None:
    rows = np.random.default_rng(0).standard_normal((144, 2048))
    ones = np.ones((144, 1))
    peers = {
        "scikit-learn": (lambda: LedoitWolf().fit(rows), "300 ×"),
        "scikit-learn without precision": (lambda: LedoitWolf(store_precision=False).fit(rows), "20 ×"),
    }
    ours = lambda: GaussianResampler(covariance="ledoit_wolf").fit(rows, ones, warn=False).gaussians_  # noqa: E731
    compare(ours, peers, runs=5, title="Ledoit-Wolf n=144 D=2048")


def bench_training() -> None:
    features, targets = make_data(20_000, 512)
    rng = np.random.default_rng(0)

    def train(draw: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> None:
        weight, bias = torch.zeros(CLASSES, 512, requires_grad=True), torch.zeros(CLASSES, requires_grad=True)
        optimizer = torch.optim.Adam([weight, bias], lr=1e-3)
        for _ in range(20):
            virtual, labels = draw()
            loss = torch.nn.functional.binary_cross_entropy_with_logits((virtual * weight).sum(-1) + bias, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def ours() -> None:
        resampler = GaussianResampler().fit(torch.from_numpy(features), targets, warn=False)
        source = torch.Generator().manual_seed(0)
        train(lambda: resampler.sample(512, generator=source))

    def peer(sampler: Callable[[Array, Array], Callable[[int], torch.Tensor]]) -> None:
        fitted = []
        for pair in groups(features, targets):
            estimates = [EmpiricalCovariance().fit(rows) for rows in pair]
            fitted.append([sampler(e.location_, e.covariance_ + 1e-6 * np.eye(512)) for e in estimates])
        frequency = targets.mean(axis=0)
        chance = frequency**-0.9 / (frequency**-0.9).sum()

        def draw() -> tuple[torch.Tensor, torch.Tensor]:
            labels = torch.from_numpy(rng.random((512, CLASSES)) <= chance)
            virtual = torch.empty(512, CLASSES, 512)
            for c, pair in enumerate(fitted):
                for label, one in enumerate(pair):
                    rows = labels[:, c] == bool(label)
                    virtual[rows, c] = one(int(rows.sum()))
            return virtual, labels.float()

        train(draw)

    def scipy_sampler(mean: Array, covariance: Array) -> Callable[[int], torch.Tensor]:
        def draw(count: int) -> torch.Tensor:
            drawn = scipy.stats.multivariate_normal.rvs(mean, covariance, count, random_state=rng)
            return torch.from_numpy(drawn.reshape(count, len(mean))).float()

        return draw

    def torch_sampler(mean: Array, covariance: Array) -> Callable[[int], torch.Tensor]:
        tensors = (torch.from_numpy(array.astype(np.float32)) for array in (mean, covariance))
        normal = torch.distributions.MultivariateNormal(*tensors)
        return lambda count: normal.sample((count,))

    peers = {
        "scikit-learn + scipy": (lambda: peer(scipy_sampler), "30 ×"),
        "scikit-learn + torch MultivariateNormal": (lambda: peer(torch_sampler), "8 ×"),
    }
    compare(ours, peers, runs=1, title="fit + 20 steps of 512 samples and a linear classifier")


def bench_expected() -> None:
    features, targets = make_data(20_000, 512, rarest=0.03)
    resampler = GaussianResampler().fit(torch.from_numpy(features), targets, warn=False)
    pairs, chances = resampler.gaussians_, resampler.probabilities_
    start = time.process_time()
    exact = fit_expected(pairs, chances)
    expected_time = time.process_time() - start
    print(f"expected solver C=14 D=512 N=20000: {expected_time:.2f} s, {int(exact.converged.sum())} of 14 converged")
    print("    samples    cosine    excess expected loss (largest over classes)    time against expected")
    for count in (5_000, 50_000, 500_000):
        weight, bias = torch.zeros(CLASSES, 512, requires_grad=True), torch.zeros(CLASSES, requires_grad=True)
        optimizer = torch.optim.Adam([weight, bias], lr=3e-2, weight_decay=1e-4)
        steps = count // 500
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 1e-3, steps)
        source = torch.Generator().manual_seed(0)
        start = time.process_time()
        for _ in range(steps):
            virtual, labels = resampler.sample(500, generator=source)
            loss = torch.nn.functional.binary_cross_entropy_with_logits((virtual * weight).sum(-1) + bias, labels)
            optimizer.zero_grad()
            (loss * CLASSES).backward()
            optimizer.step()
            schedule.step()
        taken = time.process_time() - start
        cosine = torch.cosine_similarity(weight.detach().double(), exact.weight).min()
        values = [
            expected_loss(pair, chance, w, b)[0]  # type: ignore[arg-type]
            for pair, chance, w, b in zip(pairs, chances, weight.detach().double(), bias.detach().double(), strict=True)
        ]
        excess = (torch.stack(values) - exact.loss).max()
        print(f"    {count:7d}    {cosine:.4f}    {excess:.1e}    {taken / expected_time:.0f} ×")
    again = fit_expected(pairs, chances, tolerance=1e-12)
    print(f"    expected solver: excess {float((exact.loss - again.loss).max()):.1e} (figure: ≤ 1e-6; 60 × as fast)")


def bench_memory() -> None:
    width, bound = 512, 2 * CLASSES * 512**2 * 8 + (64 << 20)
    rng = np.random.default_rng(0)
    for count in (10_000, 40_000):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "features.npy"
            store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, CLASSES, width))
            for start in range(0, count, 2000):
                store[start : start + 2000] = rng.standard_normal((2000, CLASSES, width), dtype=np.float32)
            store.flush()
            targets = (rng.random((count, CLASSES)) < 0.3).astype(np.float32)
            mapped = np.load(path, mmap_mode="r")
            tracemalloc.start()
            resampler = GaussianResampler().fit(mapped, targets, warn=False)
            sums = sum(g.sums.scatter.nbytes for pair in resampler.statistics_.groups for g in pair if g.sums)
            traced = tracemalloc.get_traced_memory()[1] + sums  # torch's own memory is not traced
            tracemalloc.stop()
        print(
            f"memory of a fit over {path.name} of {count * CLASSES * width * 2 >> 20} MiB: {traced >> 20} MiB "
            f"(figure: ≤ {bound >> 20} MiB, whatever N)"
        )


def bench_linear() -> None:
    features, targets = make_data(40_000, 256)
    times = {
        n: min(cpu(lambda n=n: GaussianResampler().fit(features[:n], targets[:n], warn=False)) for _ in range(3))
        for n in (10_000, 20_000, 40_000)
    }  # type: ignore[misc]
    base = times[10_000]
    print("fit at N, 2N, 4N: " + ", ".join(f"{value / base:.2f}" for value in times.values()) + " (figure: linear)")


PARTS = {
    "fit": bench_fit,
    "sample": bench_sample,
    "tail": bench_tail,
    "shrinkage": bench_shrinkage,
    "training": bench_training,
    "expected": bench_expected,
    "memory": bench_memory,
    "linear": bench_linear,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
