"""Features of a split, extracted once to a memory map with their labels beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap

from ltml.data.batches import BatchLoader
from ltml.distributed import barrier, gather_rows
from ltml.errors import InputError
from ltml.files import write_atomically
from ltml.models.model import Stage1Model
from ltml.progress import track
from ltml.training.devices import Compute
from ltml.types import Dataset, FeatureSet, FloatArray

SPLITS = ("train", "val")


@torch.inference_mode()
def extract_features(
    model: Stage1Model, loader: BatchLoader, dataset: Dataset, split: str, folder: Path, compute: Compute, *, dtype: str
) -> None:
    """Write ``<split>.npy`` (features) and then ``<split>.npz`` (targets, known, ids) to a folder.

    Features are those of eval mode and the fixed view, in the order of the split. The ``.npz`` comes last, so that it
    marks a complete store. Of several processes each computes its share, and the first one writes.
    """
    model.eval()
    rows = dataset.splits[split]

    def parts() -> Iterator[FloatArray]:
        for batch in track(loader.epoch(), len(loader), f"features {split}"):
            with compute.autocast():
                own = model.features(batch.images)
            (values,) = gather_rows([own], compute.world)
            yield values.float().cpu().numpy()

    def write(path: Path) -> None:
        store, start = None, 0
        for values in parts():
            if store is None:
                store = open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=(len(rows), *values.shape[1:]))
            store[start : start + len(values)] = values
            start += len(values)
        assert store is not None
        store.flush()

    if compute.world.is_first:
        labels: Any = {
            "targets": dataset.targets[rows],
            "known": dataset.known[rows],
            "ids": dataset.ids(split).astype(str),
        }
        write_atomically(folder / f"{split}.npy", write)
        write_atomically(folder / f"{split}.npz", lambda path: np.savez(path, **labels))
    else:
        for _ in parts():
            pass
    barrier(compute.world)  # the others may read it now


def has_features(folder: Path) -> bool:
    """Whether a folder holds the features of all splits that stage 2 reads."""
    return all((folder / f"{split}.npz").is_file() for split in SPLITS)


def load_features(folder: Path, split: str) -> FeatureSet:
    """Memory-map the features of a split.

    Raises:
        InputError: there are none, or the files are damaged.
    """
    try:
        features = np.load(folder / f"{split}.npy", mmap_mode="r")
        with np.load(folder / f"{split}.npz") as labels:
            return FeatureSet(features, labels["targets"], labels["known"], labels["ids"].astype(object))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"cannot read the features of '{split}' in {folder}: {error}. Redo stage 1 with --fresh."
        ) from error
