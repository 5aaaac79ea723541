"""Describe label distributions: counts per source and split, imbalance, co-occurrence, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ltml.arrays import IntArray
from ltml.class_counts import imbalance_ratio
from ltml.data.dataset import Dataset
from ltml.data.image_files import is_dicom
from ltml.data.parallel import in_threads


def describe_labels(dataset: Dataset) -> dict[str, Any]:
    """Count the labels of a dataset, ready for `json.dumps`.

    Returns:
        ``rows`` and ``patients`` by split; ``sources``: per source its rows and, per label, ``known``, ``positive`` and
        ``unknown``, in all splits (``labels``) and in ``train``; ``splits``: the same counts per split and label;
        ``imbalance_ratio`` of the training positives, most over fewest among the classes that have any, None if none
        has; ``labels_per_row``:
        rows of train by number of positives; ``cooccurrence`` ``(C, C)``: training rows positive for both, the label's
        own positives on the diagonal.
    """
    train = dataset.splits["train"]
    positive = (dataset.known & (dataset.targets == 1))[train]
    counts = positive.sum(axis=0)
    together = positive.astype(np.int64).T @ positive.astype(np.int64)
    return {
        "dataset": dataset.name,
        "labels": list(dataset.label_names),
        "rows": {split: len(rows) for split, rows in dataset.splits.items()},
        "patients": {split: dataset.table["group"].iloc[rows].nunique() for split, rows in dataset.splits.items()},
        "sources": _by_source(dataset),
        "splits": {split: _counts(dataset, rows) for split, rows in dataset.splits.items()},
        "imbalance_ratio": imbalance_ratio(counts.tolist()),
        "labels_per_row": {str(n): c for n, c in sorted(Counter(positive.sum(axis=1).tolist()).items())},
        "cooccurrence": together.tolist(),
    }


def describe_sizes(dataset: Dataset) -> dict[str, int]:
    """Count images by width × height in their headers, most frequent first; arrays by the size of reading."""
    paths = [path for row in range(len(dataset.table)) for path in dataset.images.files(row)]
    if not paths:
        height, width = dataset.images.read(0).shape[:2]
        return {f"{width}×{height}": len(dataset.table)}
    return dict(Counter(in_threads(_size, paths)).most_common())


def _size(path: Path) -> str:
    try:
        if is_dicom(path):
            return "DICOM"
        with Image.open(path) as opened:
            return f"{opened.width}×{opened.height}"
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return "unreadable"


def _by_source(dataset: Dataset) -> dict[str, Any]:
    listed = np.concatenate(list(dataset.splits.values()))
    sources = dataset.table["source"].to_numpy(dtype=object)
    train = dataset.splits["train"]
    return {
        str(source): {
            "rows": int((sources[listed] == source).sum()),
            "labels": _counts(dataset, listed[sources[listed] == source]),
            "train": _counts(dataset, train[sources[train] == source]),
        }
        for source in sorted(set(sources[listed].tolist()))
    }


def _counts(dataset: Dataset, rows: IntArray) -> dict[str, dict[str, int]]:
    known, positive = dataset.known[rows], (dataset.known & (dataset.targets == 1))[rows]
    columns = zip(dataset.label_names, _sum(known), _sum(positive), strict=True)
    return {name: {"known": k, "positive": p, "unknown": len(rows) - k} for name, k, p in columns}


def _sum(values: Any) -> Sequence[int]:
    totals: list[int] = values.sum(axis=0).tolist()
    return totals
