"""Figure of the two Gaussians of every class along its classifier's direction, with real and virtual features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltml.arrays import Float64Array
from ltml.gaussians.expected import expected_auc
from ltml.gaussians.gaussian import Pair
from ltml.gaussians.resampler import GaussianResampler
from ltml.report.figures import Axis, Key, Mark, Plot
from ltml.report.numbers import number
from ltml.report.page import Figure, Panel
from ltml.report.run.figures import class_weights
from ltml.report.scales import fit_limits
from ltml.stages.describe_gaussians import load_gaussians
from ltml.stages.features import has_features, load_features
from ltml.stages.run_directory import RunDirectory
from ltml.training.checkpoint import load_weights

VIRTUAL = 2_000
"""Number of virtual samples that are drawn."""
SAMPLE_SEED = 0
"""Seed of the virtual samples."""
BATCH = 250
"""Number of virtual samples that are held at once."""
ROWS = 4_096
"""Number of rows of features that are read at once."""
HISTOGRAM_BINS = 22
"""Number of bins of a histogram of logits."""

Logits = tuple[Float64Array, Float64Array]
"""Logits ``(n, C)`` and targets ``(n, C)``, NaN where unknown."""


class Projection(NamedTuple):
    """Logits of one label, absent or present, of a class.

    Attributes:
        mean: mean of the Gaussian.
        deviation: standard deviation of the Gaussian.
        samples: number of samples that the Gaussian was fitted to.
        real: logits of the real features; empty if they are not kept.
        virtual: logits of features drawn from the Gaussian.
    """

    mean: float
    deviation: float
    samples: int
    real: Float64Array
    virtual: Float64Array


def gaussian_figure(run: RunDirectory, labels: Sequence[str], more: str) -> Figure | None:
    """Describe both Gaussians of every class along its classifier's direction; None without directions.

    Raises:
        InputError: the Gaussians cannot be read.
    """
    weights, about = load_weights(run.checkpoint2)
    classifier = class_weights(weights)
    if classifier is None:
        return None
    resampler = load_gaussians(run)
    why = _why_no_real(run, about)
    real = None if why else project_real(run, *classifier)
    virtual = project_virtual(resampler, *classifier)
    panels = []
    for label in labels:
        c = about["label_names"].index(label)
        pair = resampler.gaussians_[c]
        sides = _sides(pair, classifier[0][c], float(classifier[1][c]), c, real, virtual)
        if sides:
            panels.append(_gaussian_panel(label, pair, classifier[0][c], sides))
    caption = (
        "The two Gaussians of every class as its refitted classifier sees them, by the logit; above 0 it predicts "
        f"present. Lines: the Gaussians; small marks: {VIRTUAL} virtual samples drawn from them with seed "
        f"{SAMPLE_SEED}; areas: {'left out, ' + why if why else 'the real training features'}. Each has area 1. Above "
        f"each plot, the expected AUC between the two.{more}"
    )
    legend = [Key("line", 0, "absent"), Key("line", 1, "present")]
    legend += [] if why else [Key("area", 0, "absent, real"), Key("area", 1, "present, real")]
    legend += [Key("dots", 0, "absent, virtual"), Key("dots", 1, "present, virtual")]
    return Figure("gaussians", panels, caption, legend)


def project_real(run: RunDirectory, weight: Tensor, bias: Tensor) -> Logits:
    """Return logits ``(N, C)`` of the stored training features, and their targets with NaN where unknown."""
    store = load_features(run.features, "train")
    matrix, logits = weight.numpy(), []
    for start in range(0, len(store.features), ROWS):
        part = store.features[start : start + ROWS].astype(np.float64)
        logits.append(part @ matrix.T if part.ndim == 2 else np.einsum("ncd,cd->nc", part, matrix))
    return np.concatenate(logits) + bias.numpy(), store.masked_targets().astype(np.float64)


def project_virtual(resampler: GaussianResampler, weight: Tensor, bias: Tensor, count: int = VIRTUAL) -> Logits:
    """Return logits ``(count, C)`` of virtual features, and their targets with NaN where none can be drawn."""
    generator, logits, targets = torch.Generator().manual_seed(SAMPLE_SEED), [], []
    for start in range(0, count, BATCH):
        features, labels = resampler.sample(min(BATCH, count - start), generator=generator)
        logits.append(torch.einsum("ncd,cd->nc", torch.as_tensor(features).double(), weight) + bias)
        targets.append(torch.as_tensor(labels).double())
    return torch.cat(logits).numpy(), torch.cat(targets).numpy()


def _why_no_real(run: RunDirectory, about: Mapping[str, Any]) -> str:
    """Return why the real features that the Gaussians were fitted to cannot be shown; empty if they can."""
    if about.get("round", 0) > 0:
        return f"for the Gaussians are of round {about['round']} and its features are not kept"
    return "" if has_features(run.features) else "for the features are not kept in the run"


def _sides(
    pair: Pair,
    weight: Tensor,
    bias: float,
    c: int,
    real: Logits | None,
    virtual: Logits,
) -> dict[int, Projection]:
    """Return the projections of the labels that have a Gaussian."""
    sides = {}
    for label, gaussian in enumerate(pair):
        if gaussian is None:
            continue
        deviation = float(weight @ gaussian.covariance_times(weight)) ** 0.5
        real_logits = np.empty(0) if real is None else _of_label(real, c, label)
        mean = float(weight @ gaussian.mean) + bias
        sides[label] = Projection(mean, deviation, gaussian.count, real_logits, _of_label(virtual, c, label))
    return sides


def _of_label(drawn: Logits, c: int, label: int) -> Float64Array:
    logits, targets = drawn
    chosen: Float64Array = logits[targets[:, c] == label, c]
    return chosen


def _gaussian_panel(label: str, pair: Pair, weight: Tensor, sides: Mapping[int, Projection]) -> Panel:
    low, high = _range(sides)
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    marks = [mark for series, side in sides.items() for mark in _side_marks(side, series, edges)]
    top = max((max(mark.y) for mark in marks if len(mark.y)), default=1.0)
    names = {0: "absent", 1: "present"}
    described = [f"{names[j]}: n = {s.samples}, mean {s.mean:.2f}, sd {s.deviation:.2f}" for j, s in sides.items()]
    vline = 0.0 if low < 0 < high else None
    axes = Axis("logit", low, high), Axis("density", 0.0, 1.08 * top)
    plot = Plot(f"Gaussians of {label}", "; ".join(described), marks, *axes, vline=vline)
    absent, present = pair
    area = "" if absent is None or present is None else number(expected_auc((absent, present), weight))
    return Panel(plot, label, area)


def _range(sides: Mapping[int, Projection]) -> tuple[float, float]:
    """Return the ends of a plot: they enclose the Gaussians' bulk and nearly all real features."""
    ends = [side.mean + reach * side.deviation for side in sides.values() for reach in (-3.3, 3.3)]
    for side in sides.values():
        ends += np.quantile(side.real, [0.002, 0.998]).tolist() if len(side.real) else []
    return fit_limits(ends)


def _side_marks(side: Projection, series: int, edges: Float64Array) -> list[Mark]:
    """Return the area of the real features, the line of the Gaussian (none for a point mass) and the virtual marks."""
    marks, middles = [], (edges[1:] + edges[:-1]) / 2
    if len(side.real):
        marks.append(Mark("steps", edges.tolist(), _density(side.real, edges).tolist(), series))
    if side.deviation > 0:
        x = np.linspace(edges[0], edges[-1], 80)
        y = np.exp(-0.5 * ((x - side.mean) / side.deviation) ** 2) / (side.deviation * np.sqrt(2 * np.pi))
        marks.append(Mark("line", x.tolist(), y.tolist(), series))
    if len(side.virtual):
        heights = _density(side.virtual, edges)
        filled = heights > 0
        marks.append(Mark("dots", middles[filled].tolist(), heights[filled].tolist(), series, size=2.0))
    return marks


def _density(values: Float64Array, edges: Float64Array) -> Float64Array:
    counts, _ = np.histogram(values, edges)
    density: Float64Array = counts / (len(values) * np.diff(edges))
    return density
