"""Extract the features of a split once, and read them as a memory map with their labels."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import dtype_to_descr, write_array_header_1_0

from ltml.arrays import FloatArray
from ltml.checksums import check_file, is_finished, write_recorded
from ltml.data.batches import BatchLoader
from ltml.data.dataset import Dataset
from ltml.errors import InputError, first_line
from ltml.models.model import Stage1Model
from ltml.processes.bars import track
from ltml.processes.collectives import barrier, gather_rows
from ltml.training.devices import Compute
from ltml.types import FeatureSet

SPLITS = ("train", "val")
"""Splits whose features stage 2 reads."""
UNREADABLE = (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error)
"""Exceptions of numpy for files that are damaged or of another kind."""


@torch.inference_mode()
def extract_features(
    model: Stage1Model,
    loader: BatchLoader,
    dataset: Dataset,
    split: str,
    folder: Path,
    compute: Compute,
    *,
    dtype: str,
    write: Callable[[Path, Callable[[Path], None]], None] = write_recorded,
) -> None:
    """Write ``<split>.npy`` (features) and then ``<split>.npz`` (targets, known, ids) to a folder.

    Features are computed in eval mode on the evaluation view, in the order of the split. The ``.npz`` is written last,
    so that it marks a complete store. Each of several processes computes its share; rank 0 writes.

    Args:
        model: the model; in eval mode afterwards.
        loader: batches of the split in order.
        dataset: data that the loader reads.
        split: name of the split.
        folder: folder of the files.
        compute: device, precision, processes.
        dtype: type of the stored features.
        write: `write_recorded`, or `ltml.files.write_atomically` for a temporary store.
    """
    model.eval()
    rows = dataset.splits[split]

    def parts() -> Iterator[FloatArray]:
        for batch in track(loader.epoch(), len(loader), f"features {split}", work=len(rows)):
            with compute.autocast():
                share = model.features(batch.images)
            (values,) = gather_rows([share], compute.world)
            yield values.float().cpu().numpy()

    def write_features(path: Path) -> None:
        """Write one part after the other: a full disk raises here, while a memory map would end in a bus error."""
        with path.open("wb") as file:
            for number, values in enumerate(parts()):
                if number == 0:
                    shape = (len(rows), *values.shape[1:])
                    header = {"descr": dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
                    write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(values, dtype=dtype).data)

    if compute.world.is_first:
        labels: Any = {
            "targets": dataset.targets[rows],
            "known": dataset.known[rows],
            "ids": dataset.ids(split).astype(str),
        }
        write(folder / f"{split}.npy", write_features)
        write(folder / f"{split}.npz", lambda path: np.savez(path, **labels))
    else:
        for _ in parts():
            pass
    barrier(compute.world)  # from here on all processes may read it


def has_features(folder: Path) -> bool:
    """Return whether a folder holds the features of all splits that stage 2 reads."""
    return all(is_finished(folder / f"{split}.{kind}") for split in SPLITS for kind in ("npy", "npz"))


def load_features(folder: Path, split: str) -> FeatureSet:
    """Memory-map the features of a split that a run has saved.

    Raises:
        InputError: the files are missing or damaged.
    """
    for kind in ("npy", "npz"):
        check_file(folder / f"{split}.{kind}", _remedy(folder))
    return open_features(folder, split)


def open_features(folder: Path, split: str) -> FeatureSet:
    """Memory-map the features of a split in a store without checksums.

    Raises:
        InputError: the files are missing, or do not fit together.
    """
    path = folder / f"{split}.npy"
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
        path = path.with_suffix(".npz")
        with np.load(path, allow_pickle=False) as labels:
            store = FeatureSet(features, labels["targets"], labels["known"], labels["ids"].astype(object))
    except UNREADABLE as error:
        raise InputError(f"cannot read the features {path}: {first_line(error)}; {_remedy(folder)}") from error
    shape = (len(store.ids), *store.targets.shape[1:])
    fits = store.targets.ndim == 2 and store.known.shape == store.targets.shape == shape
    if not fits or features.ndim not in (2, 3) or len(features) != len(store.ids) or features.dtype.kind != "f":
        raise InputError(f"the features of '{split}' in {folder} do not fit together; {_remedy(folder)}")
    return store


def _remedy(folder: Path) -> str:
    return f"remove the folder {folder} and run the same recipe again, which extracts the features"
