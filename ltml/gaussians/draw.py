"""Draw virtual features from fitted Gaussians."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltml.gaussians.gaussian import Gaussian, Pair

NOISE_BYTES = 16 << 20
"""Size of one chunk of standard normal numbers, in bytes of float32."""


class _Scratch(threading.local):
    """Reused memory for noise: allocating it from the system takes up to a third of the time of a draw."""

    noise = torch.empty(0)


_SCRATCH = _Scratch()

BATCHED_SHARE = 0.75
"""If one label accounts for more than this share of a chunk, draw it for the whole chunk."""


RandomState = int | np.random.RandomState | np.random.Generator | None
"""Source of random numbers in scikit-learn's sense."""


def draw_seed(random_state: RandomState) -> int | None:
    """Return a seed: an int itself, a number drawn from a RandomState or Generator, or None.

    Raises:
        ValueError: if it is neither.
    """
    if random_state is None or (isinstance(random_state, int | np.integer) and not isinstance(random_state, bool)):
        return None if random_state is None else int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**63 - 1, dtype=np.int64))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63 - 1))
    raise ValueError(
        "Expected random_state as an int, a numpy RandomState or Generator, or None but got "
        f"{type(random_state).__name__}."
    )


def make_generator(seed: int | None, generator: torch.Generator | None) -> torch.Generator:
    """Return the given generator, or a new one on the CPU; without a seed, its seed comes from the system.

    Raises:
        ValueError: if both are given.
    """
    if seed is not None and generator is not None:
        raise ValueError("Expected seed or generator but got both.")
    if generator is not None:
        return generator
    return torch.Generator().manual_seed(int.from_bytes(os.urandom(7), "big") if seed is None else int(seed))


def draw_many_labels(
    pairs: Sequence[Pair],
    chances: npt.NDArray[np.float64],
    n: int,
    source: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
    width: int,
) -> tuple[Tensor, Tensor]:
    """Draw a label for every class independently, and a feature from that label's Gaussian.

    Args:
        pairs: label-0 and label-1 Gaussian per class.
        chances: P(label 1) per class; NaN for a class without Gaussians, whose targets are NaN and features 0.
        n: number of samples.
        source: generator; one row of its normal numbers makes one sample.
        dtype: dtype of the features.
        device: device of features and targets.
        width: feature width D.

    Returns:
        Features ``(n, C, D)`` and targets float32 ``(n, C)``.
    """
    classes, threshold = len(pairs), torch.special.ndtri(torch.from_numpy(chances)).float().to(device)
    widths = [max((g.noise_width for g in pair if g is not None), default=0) for pair in pairs]
    starts = np.cumsum([classes, *widths]).tolist()
    features = _empty((n, classes, width), dtype, device)
    targets = torch.empty(n, classes, dtype=torch.float32, device=device)
    for part, noise in _noise(n, starts[-1], source, device):
        labels = torch.where(threshold.isnan(), torch.nan, (noise[:, :classes] <= threshold).float())
        targets[part] = labels
        for c, pair in enumerate(pairs):
            _draw_class(pair, labels[:, c], noise[:, starts[c] : starts[c + 1]], features[part, c])
    return features, targets


def draw_one_label(
    gaussians: Sequence[Gaussian],
    chances: npt.NDArray[np.float64],
    n: int,
    given: Tensor | None,
    source: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Draw a class per sample and a feature from that class's Gaussian.

    Args:
        gaussians: one Gaussian per class.
        chances: P(class), summing to 1.
        n: number of samples.
        given: int64 ``(n,)`` class numbers to use instead of drawn ones.
        source: generator; one row of its normal numbers makes one sample.
        dtype: dtype of the features.
        device: device of the features.

    Returns:
        Features ``(n, D)``, and class numbers int64 ``(n,)`` on the CPU.
    """
    ends = torch.from_numpy(np.cumsum(chances)[:-1])
    features = _empty((n, len(gaussians[0].mean)), dtype, device)
    numbers = torch.empty(n, dtype=torch.int64) if given is None else given
    for part, noise in _noise(n, 1 + max(g.noise_width for g in gaussians), source, device):
        if given is None:
            uniform = torch.special.ndtr(noise[:, 0].double().cpu())
            numbers[part] = torch.searchsorted(ends, uniform, right=True)
        for c, gaussian in enumerate(gaussians):
            rows = (numbers[part] == c).nonzero()[:, 0].to(device)
            features[part][rows] = gaussian.transform(noise[rows, 1:]).to(dtype)
    return features, numbers


def _noise(n: int, width: int, source: torch.Generator, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """Yield standard normal rows ``(k, width)`` for ``n`` samples in chunks.

    A CPU generator makes normal numbers sixteen at a time, so rows of a multiple of 16 are the same whether they are
    drawn in one call or in many.
    """
    width += -width % 16
    chunk = max(1, min(n, NOISE_BYTES // (4 * max(width, 1))))
    if _SCRATCH.noise.device != source.device or len(_SCRATCH.noise) < chunk * width:
        _SCRATCH.noise = _empty((chunk * width,), torch.float32, source.device)
    for start in range(0, n, chunk):
        count = min(chunk, n - start)
        noise = _SCRATCH.noise[: count * width].normal_(generator=source)
        yield slice(start, start + count), noise.view(count, width).to(device)


def _empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an uninitialised tensor; on a CPU from numpy, which asks for large pages and so allocates faster."""
    if device.type != "cpu" or dtype == torch.bfloat16:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(shape, dtype=str(dtype).removeprefix("torch.")))


def _draw_class(pair: Pair, labels: Tensor, noise: Tensor, features: Tensor) -> None:
    """Fill the features ``(k, D)`` of one class according to the labels ``(k,)`` of its samples."""
    groups = [(labels == label).nonzero()[:, 0] for label in (0, 1)]
    most = int(len(groups[1]) > len(groups[0]))
    if len(groups[most]) > BATCHED_SHARE * len(labels):  # gathering and scattering its rows costs more
        direct = features.dtype == torch.float32
        drawn = _present(pair[most]).transform(noise, features if direct else None)
        if not direct:
            features.copy_(drawn)
        groups[most] = groups[most][:0]
    elif len(groups[most]) == 0:
        features.zero_()
    for rows, gaussian in zip(groups, pair, strict=True):
        if len(rows):
            features[rows] = _present(gaussian).transform(noise[rows]).to(features.dtype)


def _present(gaussian: Gaussian | None) -> Gaussian:
    assert gaussian is not None  # a label without samples has probability 0
    return gaussian
