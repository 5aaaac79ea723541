"""Figures of `ltml data stats` and `ltml relations`, which `--picture` writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ltml.report.figures import BarChart, Bars, HeatMap, Key, Tree
from ltml.report.page import Figure, Panel
from ltml.report.tables.relations import KINDS


def stats_figure(stats: Mapping[str, Any]) -> Figure:
    """Describe `ltml.data_stats`: training positives per label and source, and which labels occur together."""
    together = np.array(stats["cooccurrence"])
    order = np.argsort(-together.diagonal(), kind="stable")
    names, sources = [stats["labels"][c] for c in order], stats["sources"]
    bars = [
        Bars(source, [entry["train"][name]["positive"] for name in names], series)
        for series, (source, entry) in enumerate(sources.items())
    ]
    shares = together / np.maximum(together.diagonal(), 1)[:, None]
    axis, title = "known positives in train", f"{stats['dataset']}: {sum(stats['rows'].values())} rows"
    charts = (
        BarChart(title, "", names, bars, axis, log=False),
        HeatMap("Labels that occur together", "", names, shares[np.ix_(order, order)].tolist()),
    )
    legend = [Key("area", number, source) for number, source in enumerate(sources)] if len(sources) > 1 else []
    return Figure("stats", [Panel(chart, chart.title) for chart in charts], title, legend)


def relations_figure(relations: Mapping[str, Any]) -> Figure:
    """Describe `ltml.describe_relations`: per kind a dendrogram beside the similarities in its order.

    Classes whose similarity is undefined come last.
    """
    names = [entry["label"] for entry in relations["labels"]]
    panels = []
    for kind, kind_name in KINDS.items():
        if not relations[kind]:
            continue
        clustering, title = relations[kind]["clustering"], f"stage {relations['stage']}, {kind_name}"
        leaves = clustering["order"] if clustering else []
        order = [*leaves, *(name for name in names if name not in leaves)]
        rows = [names.index(name) for name in order]
        similarity = [[relations[kind]["similarity"][a][b] for b in rows] for a in rows]
        if clustering:
            merges = clustering["merges"]
            panels.append(Panel(Tree(title, "", clustering["labels"], merges, leaves, "1 − cosine similarity"), title))
        panels.append(Panel(HeatMap(title, "", order, similarity, signed=True), "" if clustering else title))
    return Figure("relations", panels, "Cosine similarity of the classes")
