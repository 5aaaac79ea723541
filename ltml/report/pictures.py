"""Pictures of saved results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ltml.errors import InputError
from ltml.files import write_atomically

FORMATS = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#999999")
"""Okabe & Ito's colours, told apart by people with colour blindness too."""


def draw_stats(found: Mapping[str, Any], path: Path) -> None:
    """Draw what `ltml.data_stats` found: training positives per label and source, and which labels occur together.

    Raises:
        InputError: the file's ending is not that of a picture.
    """
    check_picture(path)
    import matplotlib as mpl

    with mpl.rc_context({"text.parse_math": False}):  # a label may hold any character
        _draw_stats(found, path)


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
