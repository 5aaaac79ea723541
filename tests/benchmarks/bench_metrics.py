"""AUROC, AP, patient bootstrap and DeLong against scikit-learn and torchmetrics, on the same scores in the same run.

    python tests/benchmarks/bench_metrics.py

One thread, CPU time, medians of runs that take turns. Scores stand for ChestX-ray14: 112,120 films for the plain
measures, its 25,596 test films of 2,797 patients for resamples, with the prevalence of its 14 findings. The loop over
scikit-learn is measured on a few resamples and scaled.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import multilabel_auroc, multilabel_average_precision

from ltml.metrics.bootstrap import bootstrap_scores, draw_weights, number_groups
from ltml.metrics.delong import delong
from ltml.metrics.ranking import auroc_and_ap

torch.set_num_threads(1)
Array = np.ndarray
POSITIVES = (3279, 1069, 4658, 6112, 1748, 1623, 555, 2665, 1815, 925, 1093, 435, 1143, 86)
CLASSES, FILMS, TEST_FILMS, PATIENTS = len(POSITIVES), 112_120, 25_596, 2_797
RUNS, RESAMPLES, LOOPED = 5, 1000, 10


def make_scores(count: int, seed: int, levels: int | None = None) -> tuple[Array, Array]:
    """Probabilities and labels ``(count, 14)``; probabilities in so many levels, for ties, or as they are."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, CLASSES)) < np.array(POSITIVES) / TEST_FILMS).astype(np.float64)
    probs = 1 / (1 + np.exp(3 - rng.normal(size=(count, CLASSES)) - 1.5 * targets))
    return (probs if levels is None else np.round(probs * levels) / levels), targets


def ours(probs: Array, targets: Array) -> Array:
    """AUROC and AP of every class, ``(2, C)``."""
    return np.array([auroc_and_ap(probs[:, c], targets[:, c]) for c in range(CLASSES)]).T


def scikit(probs: Array, targets: Array, weights: Array | None = None) -> Array:
    """AUROC and AP of every class, ``(2, C)``."""
    columns = [(targets[:, c], probs[:, c]) for c in range(CLASSES)]
    measures = (roc_auc_score, average_precision_score)
    return np.array([[measure(*column, sample_weight=weights) for column in columns] for measure in measures])


def cpu(work: Callable[[], object]) -> float:
    """Seconds of CPU time of one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def bench_plain(levels: int | None) -> None:
    """AUROC and AP of 112,120 films."""
    probs, targets = make_scores(FILMS, 0, levels)
    tensors = torch.from_numpy(probs), torch.from_numpy(targets).long()

    def peer() -> None:
        for measure in (multilabel_auroc, multilabel_average_precision):
            measure(*tensors, num_labels=CLASSES, average=None)

    works = {
        "ours": lambda: ours(probs, targets),
        "scikit-learn": lambda: scikit(probs, targets),
        "torchmetrics": peer,
    }
    works["ours"]()
    times = {name: [] for name in works}
    for _ in range(RUNS):
        for name, work in works.items():
            times[name].append(cpu(work))
    own = statistics.median(times["ours"])
    error = np.abs(ours(probs, targets) - scikit(probs, targets)).max()
    kind = "no ties" if levels is None else f"{levels + 1} levels"
    print(f"AUROC and AP, {FILMS} x {CLASSES}, {kind}: ours {own * 1e3:.0f} ms; largest difference {error:.0e}")
    for name in list(works)[1:]:
        print(f"    {name}: {statistics.median(times[name]) / own:.1f} x as fast (figure: 8 x)")


def bench_bootstrap(patients: int, levels: int | None) -> None:
    """1,000 resamples of the patients of 25,596 films."""
    probs, targets = make_scores(TEST_FILMS, 1, levels)
    groups = np.random.default_rng(2).permutation(np.arange(TEST_FILMS) % patients).astype(str)
    numbers, n_groups = number_groups(groups)
    weights = draw_weights(np.random.default_rng(0), n_groups, LOOPED)[numbers]
    own, loop, errors = [], [], []
    for part in np.array_split(np.arange(LOOPED), 3):  # in turn
        start = time.process_time()
        found = bootstrap_scores(probs, targets, groups, resamples=RESAMPLES)
        own.append(time.process_time() - start)
        some = bootstrap_scores(probs, targets, groups, resamples=LOOPED)
        for r in part:
            start = time.process_time()
            expected = scikit(probs, targets, weights[:, r])
            loop.append(time.process_time() - start)
            errors.append(np.abs(np.stack([some["auroc"][r], some["ap"][r]]) - expected).max())
    assert found["ap"].shape == (RESAMPLES, CLASSES)
    time_own, time_loop = statistics.median(own), statistics.median(loop) * RESAMPLES
    kind = "no ties" if levels is None else f"{levels + 1} levels"
    print(
        f"{RESAMPLES} resamples of {patients} groups, {TEST_FILMS} x {CLASSES}, {kind}: ours {time_own:.2f} s; "
        f"largest difference {max(errors):.0e}\n"
        f"    loop over scikit-learn ({time_loop:.0f} s): {time_loop / time_own:.0f} x as fast (figure: 80 x)"
    )


def bench_delong() -> None:
    """Two methods on all classes of 25,596 films."""
    (probs, targets), (others, _) = make_scores(TEST_FILMS, 1), make_scores(TEST_FILMS, 3)

    def work() -> None:
        for c in range(CLASSES):
            delong(probs[:, c], others[:, c], targets[:, c])

    work()
    taken = statistics.median(cpu(work) for _ in range(RUNS))
    print(f"DeLong, {TEST_FILMS} x {CLASSES}, two methods: {taken * 1e3:.0f} ms (figure: 1 s)")


def main() -> None:
    """Print the ratios."""
    bench_plain(None)
    bench_plain(1000)
    bench_bootstrap(PATIENTS, None)
    bench_bootstrap(PATIENTS, 1000)
    bench_bootstrap(TEST_FILMS, None)
    bench_delong()


if __name__ == "__main__":
    main()
