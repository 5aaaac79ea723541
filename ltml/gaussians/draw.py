"""Virtual features from fitted Gaussians."""

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
"""Standard normal numbers are drawn for so many bytes of virtual samples at a time."""


class _Scratch(threading.local):
    """Memory for noise that is used again: to have it new from the system costs as much as a third of the draw."""

    noise = torch.empty(0)


_SCRATCH = _Scratch()

BATCHED_SHARE = 0.75
"""If one label accounts for more than this share of a chunk, draw it for the whole chunk."""


def make_generator(seed: int | None, generator: torch.Generator | None) -> torch.Generator:
    """The generator given, or a new one on the CPU; without a seed from the system.

    Raises:
        ValueError: both are given.
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
    """A label for every class on its own, and a feature of that label: ``(n, C, D)`` and float32 ``(n, C)``.

    Args:
        pairs: label-0 and label-1 Gaussian per class.
        chances: P(label 1) per class; NaN for a class without Gaussians, whose targets are NaN and features 0.
        n: samples.
        source: one row of its normal numbers makes one sample.
        dtype: of the features.
        device: of both.
        width: D.
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
    """A class per sample and a feature of that class: ``(n, D)``, and class numbers int64 ``(n,)`` on the CPU.

    Args:
        gaussians: one per class.
        chances: P(class), summing to 1.
        n: samples.
        given: int64 ``(n,)`` class numbers instead of drawn ones.
        source: one row of its normal numbers makes one sample.
        dtype: of the features.
        device: of the features.
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
    """Standard normal rows ``(k, width)`` for ``n`` samples in portions.

    A CPU generator makes normal numbers sixteen at a time, so rows of a multiple of that come out the same whether
    they are drawn in one call or in many.
    """
    width += -width % 16
    portion = max(1, min(n, NOISE_BYTES // (4 * max(width, 1))))
    if _SCRATCH.noise.device != source.device or len(_SCRATCH.noise) < portion * width:
        _SCRATCH.noise = _empty((portion * width,), torch.float32, source.device)
    for start in range(0, n, portion):
        count = min(portion, n - start)
        noise = _SCRATCH.noise[: count * width].normal_(generator=source)
        yield slice(start, start + count), noise.view(count, width).to(device)


def _empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A new tensor; on a CPU from numpy, which asks for large pages: to get them is a fraction of the work."""
    if device.type != "cpu" or dtype == torch.bfloat16:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(shape, dtype=str(dtype).removeprefix("torch.")))


def _draw_class(pair: Pair, labels: Tensor, noise: Tensor, features: Tensor) -> None:
    """Fill the features ``(k, D)`` of one class by the labels ``(k,)`` of its samples."""
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
    assert gaussian is not None  # a label without samples has the probability 0
    return gaussian
