"""Pictures of saved results."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ltml.errors import InputError
from ltml.files import write_atomically
from ltml.report.tables.relations import KINDS

FORMATS = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#999999")
"""Okabe & Ito's colours, told apart by people with colour blindness too."""
MOST_INCHES = 40.0
"""Side of a heat map of similarities; with more classes the squares shrink."""


def draw_stats(found: Mapping[str, Any], path: Path) -> None:
    """Draw what `ltml.data_stats` found: training positives per label and source, and which labels occur together.

    Raises:
        InputError: the file's ending is not that of a picture.
    """
    check_picture(path)
    import matplotlib as mpl

    with mpl.rc_context({"text.parse_math": False}):  # a label may hold any character
        _draw_stats(found, path)


def draw_relations(found: Mapping[str, Any], path: Path) -> None:
    """Draw what `ltml.describe_relations` found: per kind a dendrogram beside the similarities in its order.

    Classes whose similarity is undefined come last, in grey.

    Raises:
        InputError: the file's ending is not that of a picture.
    """
    check_picture(path)
    import matplotlib as mpl

    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():  # a label may hold any character
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # boxes show what the font lacks
        _draw_relations(found, path)


def check_picture(path: Path) -> None:
    """Refuse a file that no picture can be written to.

    Raises:
        InputError: its ending is not that of a picture.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"cannot draw '{path}': its name must end in {', '.join(FORMATS)}")


def _draw_stats(found: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    together = np.array(found["cooccurrence"])
    order = np.argsort(-together.diagonal(), kind="stable")
    names = [found["labels"][c] for c in order]
    side = max(4.0, 0.32 * len(names))
    figure = Figure(figsize=(2 * side + 3, side + 1.5), layout="constrained")
    bars, heat = figure.subplots(1, 2)
    _draw_bars(bars, found["sources"], names)
    _draw_cooccurrence(heat, together[np.ix_(order, order)], names)
    figure.suptitle(f"{found['dataset']}: {sum(found['rows'].values())} rows")
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150))


def _draw_bars(axes: Any, sources: Mapping[str, Any], names: list[str]) -> None:
    start = np.zeros(len(names))
    for number, (source, entry) in enumerate(sources.items()):
        counts = np.array([entry["train"][name]["positive"] for name in names])
        axes.barh(np.arange(len(names)), counts, left=start, label=source, color=COLOURS[number % len(COLOURS)])
        start += counts
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("known positives in train")
    if len(sources) > 1:
        axes.legend(title="source", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_cooccurrence(axes: Any, together: np.ndarray[Any, Any], names: list[str]) -> None:
    """Share of a row label's training positives that are positive for the column label too."""
    own = np.maximum(together.diagonal(), 1)[:, None]
    image = axes.imshow(together / own, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(np.arange(len(names)), names, rotation=90)
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_title("of the row's positives, share with the column's label")
    axes.figure.colorbar(image, ax=axes, shrink=0.7)


def _draw_relations(found: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    names = [entry["label"] for entry in found["labels"]]
    kinds = [kind for kind in KINDS if found[kind]]
    side = min(max(4.0, 0.32 * len(names)), MOST_INCHES)
    margin = 0.1 * max(len(name) for name in names)
    size = (1.4 * side + margin + 1.5, len(kinds) * (side + margin + 0.8))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(kinds), 2, squeeze=False, width_ratios=(1, 3))
    for (tree, heat), kind in zip(axes, kinds, strict=True):
        clustering = found[kind]["clustering"]
        leaves = clustering["order"] if clustering else []
        order = [*leaves, *(name for name in names if name not in leaves)]
        places = [names.index(name) for name in order]
        similarity = np.array(found[kind]["similarity"], dtype=np.float64)[np.ix_(places, places)]
        image = _draw_similarity(heat, similarity, order)
        heat.set_title(f"stage {found['stage']}, {KINDS[kind]}")
        _draw_dendrogram(tree, clustering, len(order))
    figure.colorbar(image, ax=axes, shrink=0.6, label="cosine similarity")
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150))


def _draw_similarity(axes: Any, similarity: np.ndarray[Any, Any], order: list[str]) -> Any:
    """Squares of ten units, which is how far apart scipy puts the leaves of a dendrogram."""
    import matplotlib as mpl

    end, middles = 10 * len(order), 10 * np.arange(len(order)) + 5
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad="0.8")
    image = axes.imshow(similarity, cmap=colours, vmin=-1, vmax=1, extent=(0, end, end, 0), aspect="auto")
    axes.set_xticks(middles, order, rotation=90)
    axes.set_yticks(middles, order)
    axes.yaxis.tick_right()
    return image


def _draw_dendrogram(axes: Any, clustering: Mapping[str, Any] | None, rows: int) -> None:
    """Branches from the right, at the heights of the rows beside them; nothing where nothing is clustered."""
    from scipy.cluster.hierarchy import dendrogram

    axes.set_ylim(10 * rows, 0)
    if clustering is None:
        axes.set_axis_off()
        return
    branches = dendrogram(np.array(clustering["merges"]), no_plot=True)
    for distances, places in zip(branches["dcoord"], branches["icoord"], strict=True):
        axes.plot(distances, places, color="0.3", linewidth=1)
    highest = max(distance for _, _, distance, _ in clustering["merges"])
    axes.set_xlim(max(1.0, 1.05 * highest), 0)
    axes.set_yticks([])
    axes.set_xlabel("1 − similarity")
    axes.spines[["top", "left", "right"]].set_visible(False)
