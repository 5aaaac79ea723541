"""Figures of a run, from its predictions, logs, checkpoints, features and Gaussians."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy.typing as npt
from torch import Tensor

from ltml.arrays import Float64Array
from ltml.errors import first_few
from ltml.metrics.bootstrap import LEVEL, MIN_KNOWN
from ltml.metrics.predictions import Predictions
from ltml.metrics.ranking import auroc, average_precision
from ltml.models.classifier import BIAS, WEIGHT
from ltml.models.heads.label_adapter import QueryClassifier
from ltml.models.heads.ml_gcn import GraphClassifier
from ltml.report.curves import GRID, RESAMPLES, confidence_band, pr_curve, reliability, roc_curve, thin
from ltml.report.figures import Axis, Key, Mark, Plot, Points, RowChart, Tree
from ltml.report.numbers import STAGE_NAMES, number
from ltml.report.page import Block, Figure, Panel, Prose
from ltml.report.scales import fit_limits
from ltml.report.tables.relations import KINDS
from ltml.stages.run_directory import RunDirectory
from ltml.training.checkpoint import load_weights

SERIES = {"stage1": 1, "stage2": 0}
"""Colour, shape and dashes of a stage."""
CLASSIFIER = "head.classifier."
"""Prefix of the classifier's tensors in a checkpoint."""


def stage_keys(kind: Literal["line", "dots"], stages: Mapping[str, Any]) -> list[Key]:
    """Return the legend of two stages; a single stage needs none."""
    return [Key(kind, SERIES[stage], STAGE_NAMES[stage]) for stage in stages] if len(stages) > 1 else []


class Kind(NamedTuple):
    """A kind of curve.

    Attributes:
        name: in captions.
        file: stem of the figure's file.
        curve: function from scores and targets to the points.
        band: name of the kind for `confidence_band`.
        area: function from scores and targets to the area below the curve.
        area_name: name of that area in captions.
        axes: names of the horizontal and the vertical axis.
    """

    name: str
    file: str
    curve: Callable[[npt.ArrayLike, npt.ArrayLike], tuple[Float64Array, Float64Array]]
    band: Literal["roc", "pr"]
    area: Callable[[npt.ArrayLike, npt.ArrayLike], float]
    area_name: str
    axes: tuple[str, str]


ROC = Kind("ROC", "roc", roc_curve, "roc", auroc, "area under the curve", ("false positive rate", "true positive rate"))
PR = Kind(
    "Precision-recall",
    "precision-recall",
    pr_curve,
    "pr",
    average_precision,
    "average precision",
    ("recall", "precision"),
)


def curve_figures(by_stage: Mapping[str, Predictions], labels: Sequence[str], split: str, more: str) -> Iterator[Block]:
    """Describe ROC and precision-recall curves, one small plot per class, and name the classes that have none."""
    for kind in (ROC, PR):
        panels = [panel for label in labels if (panel := _curve_panel(kind, label, by_stage)) is not None]
        if panels:
            both, last = " of both stages", f" of {STAGE_NAMES[list(by_stage)[-1]]}"
            both, last = (both, last) if len(by_stage) > 1 else ("", "")
            caption = (
                f"{kind.name} curves on {split}, the most frequent class in training first, with the {kind.area_name}"
                f"{both}. Band{last}: {LEVEL:.0%} at each point, over {RESAMPLES} resamples of patients (rows where "
                f"none are known); none with fewer than {MIN_KNOWN} known positives or negatives.{more}"
            )
            yield Figure(kind.file, panels, caption, stage_keys("line", by_stage))
    first = next(iter(by_stage.values()))
    columns = {label: first.targets[:, first.label_names.index(label)] for label in labels}
    undefined = [label for label, targets in columns.items() if not {0.0, 1.0} <= set(targets.tolist())]
    if undefined:
        names = first_few(undefined, most=20)
        yield Prose(f"Without a curve, for want of known positives or negatives: {names}.", "note")


def _curve_panel(kind: Kind, label: str, by_stage: Mapping[str, Predictions]) -> Panel | None:
    """Describe the curves of a class by stage, with a band of the last; None if they are undefined."""
    marks, areas = [], []
    for stage, predictions in by_stage.items():
        column = predictions.label_names.index(label)
        probs, targets = predictions.probs[:, column], predictions.targets[:, column]
        x, y = thin(*kind.curve(probs, targets))
        if not len(x):
            return None
        series = SERIES[stage] if len(by_stage) > 1 else 0
        marks.append(Mark("line", x.tolist(), y.tolist(), series))
        areas.append(kind.area(probs, targets))
        if stage == list(by_stage)[-1] and (band := confidence_band(kind.band, probs, targets, predictions.groups)):
            low, high = band
            around = [*GRID.tolist(), *GRID[::-1].tolist()], [*low.tolist(), *high[::-1].tolist()]
            marks.insert(0, Mark("area", *around, series))
    shown = " → ".join(number(value) for value in areas)
    x_axis, y_axis = (Axis(name, 0.0, 1.0) for name in kind.axes)
    plot = Plot(f"{kind.name} curve of {label}", f"Area {shown}", marks, x_axis, y_axis, diagonal=kind is ROC)
    return Panel(plot, label, shown)


def reliability_figure(by_stage: Mapping[str, Predictions], scaled: Mapping[str, Predictions], split: str) -> Figure:
    """Describe the reliability diagram of all known entries together, in bins of equally many predictions.

    Args:
        by_stage: predictions before calibration.
        scaled: predictions after temperature scaling, of the stages that have been calibrated.
        split: split of the predictions.
    """
    series_of = SERIES if len(by_stage) > 1 else dict.fromkeys(by_stage, 0)
    curves = [(STAGE_NAMES[stage], series_of[stage], found) for stage, found in by_stage.items()]
    curves += [(f"{STAGE_NAMES[stage]} with temperature", SERIES[stage] + 2, found) for stage, found in scaled.items()]
    marks, errors, top = [], [], 0.0
    for name, series, predictions in curves:
        found = reliability(predictions.probs, predictions.targets)
        x, y = found.predicted.tolist(), found.observed.tolist()
        titles = [
            f"{a:.3f} predicted, {b:.3f} observed, {n} predictions" for a, b, n in zip(x, y, found.counts, strict=True)
        ]
        marks += [Mark("line", x, y, series), Mark("dots", x, y, series, titles)]
        errors.append(f"{name} {found.error:.3f}")
        top = max(top, *x, *y)
    shown = ", ".join(errors)
    limits = (0.0, min(1.0, 1.06 * top) or 1.0)
    plot = Plot(
        f"Reliability diagram on {split}",
        f"Adaptive expected calibration error {shown}",
        marks,
        Axis("mean probability", *limits),
        Axis("share of positives", *limits),
        width=520,
        height=380,
        diagonal=True,
    )
    caption = (
        f"Probability and frequency on {split}, all known entries of all classes together, in bins of equally many "
        f"predictions. On the dotted line they agree. Adaptive expected calibration error: {shown}."
    )
    legend = [Key("line", series, name) for name, series, _ in curves]
    return Figure("reliability", [Panel(plot)], caption, legend if len(curves) > 1 else [])


def training_figure(log: Sequence[Mapping[str, Any]], select: str) -> Figure:
    """Describe the log of stage 1, one plot per logged number, with a line at the epoch that was kept."""
    chosen = f"val_{select}"
    names = [name for name in log[0] if name not in ("epoch", "seconds") and _is_number(log[0][name])]
    best = max(range(len(log)), key=lambda epoch: log[epoch].get(chosen) or 0.0)
    panels = []
    for name in names:
        logged = [(line["epoch"] + 1, line[name]) for line in log if _is_number(line.get(name))]
        epochs, values = [float(epoch) for epoch, _ in logged], [float(value) for _, value in logged]
        titles = [f"epoch {epoch}: {value:.4g}" for epoch, value in logged]
        dots = [Mark("dots", epochs, values, 0, titles)] if len(logged) <= 30 else []
        plot = Plot(
            f"{name} by epoch",
            f"From {values[0]:.4g} to {values[-1]:.4g}",
            [Mark("line", epochs, values, 0), *dots],
            Axis("epoch", *fit_limits(epochs), whole=True),
            Axis(name, *fit_limits(values)),
            width=300,
            vline=float(log[best]["epoch"] + 1),
        )
        panels.append(Panel(plot, name))
    caption = f"Stage 1, epoch by epoch. The dotted line: epoch {log[best]['epoch'] + 1}, kept for its {chosen}."
    return Figure("training", panels, caption)


def norm_figure(run: RunDirectory, labels: Sequence[str], more: str) -> Figure | None:
    """Describe the length of every class's weight vector before and after stage 2 (LDRNet, fig. 5); or None."""
    if not (run.checkpoint1.is_file() and run.checkpoint2.is_file()):
        return None
    groups, spans = [], []
    for stage, path in (("stage 1", run.checkpoint1), ("stage 2", run.checkpoint2)):
        norms = class_norms(path)
        if norms is None:
            return None
        values = [norms[label] for label in labels]
        spans.append(f"{stage}: {min(values):.3g} to {max(values):.3g}")
        titles = [f"{label}, after {stage}: {value:.3g}" for label, value in zip(labels, values, strict=True)]
        groups.append(Points(stage, values, SERIES[stage.replace(" ", "")], titles))
    title = "Length of every class's weight vector before and after stage 2"
    chart = RowChart(title, "; ".join(spans), labels, groups, "‖w‖", join="rows")
    caption = f"{title}, the most frequent class in training at the top (LDRNet, fig. 5).{more}"
    return Figure("classifier-weights", [Panel(chart)], caption, stage_keys("dots", SERIES))


def class_norms(checkpoint: Path) -> dict[str, float] | None:
    """Return the length of every class's weight vector; None for a classifier without such vectors.

    Raises:
        InputError: the checkpoint cannot be read.
    """
    weights, about = load_weights(checkpoint, CLASSIFIER)
    classifier = class_weights(weights)
    if classifier is None:
        return None
    return dict(zip(about["label_names"], classifier[0].norm(dim=1).tolist(), strict=True))


def class_weights(weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return weight ``(C, D)`` and bias ``(C,)`` of a checkpoint's classifier in float64; None without any."""
    if WEIGHT in weights:
        return weights[WEIGHT].double(), weights[BIAS].double()
    own = {key.removeprefix(CLASSIFIER): value for key, value in weights.items() if key.startswith(CLASSIFIER)}
    classifier = _shaped_like(own)
    if classifier is None:
        return None
    classifier.load_state_dict(own)
    weight, bias = classifier.class_weights()
    return weight.detach().double(), bias.detach().double()


def _shaped_like(own: Mapping[str, Tensor]) -> QueryClassifier | GraphClassifier | None:
    """Return a classifier that computes a weight per class from these tensors; None if no known one does."""
    if "graph" in own:
        return GraphClassifier(own.get("words"), own["graph"], *own["second"].shape)
    return QueryClassifier(*own["to_weights.weight"].T.shape) if "queries" in own else None


def tree_figures(found: Mapping[str, Any]) -> Iterator[Block]:
    """Describe a dendrogram for each kind of `ltml.describe_relations`, or say why it is missing."""
    for kind, name in KINDS.items():
        relation = found[kind]
        if relation is None:
            yield Prose(f"No relations by {name}: {found['absent'][kind]}.", "note")
            continue
        clustering = relation["clustering"]
        if clustering is None:
            yield Prose(f"No relations by {name}: fewer than two classes have any.", "note")
            continue
        first = min(clustering["merges"], key=lambda merge: merge[2])
        leaves = clustering["labels"]
        alike = [leaves[int(leaf)] for leaf in first[:2]]
        description = f"Most alike: {alike[0]} and {alike[1]}, similarity {1 - first[2]:.2f}"
        title = f"Classes by their {name}"
        chart = Tree(title, description, leaves, clustering["merges"], clustering["order"], "1 − cosine similarity")
        lost = [f"{entry['label']}: {entry['reason']}" for entry in relation["undefined"]]
        caption = f"{title} of stage {found['stage']}, average linkage: "
        caption += "the further left two classes meet, the more alike they are. "
        caption += f"{description}." + (f" Left out: {'; '.join(lost)}." if lost else "")
        yield Figure(f"relations-{kind}", [Panel(chart)], caption)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
