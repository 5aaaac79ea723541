"""`medmnist`: five sets of MedMNIST, from their official `.npz` files."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ltml.arrays import Codes
from ltml.data.arrays import array_table, check_pixels, class_codes, read_npz
from ltml.data.context import DataContext
from ltml.data.faults import Faults
from ltml.data.label_codes import UNKNOWN, report_wrong
from ltml.data.splits import SPLITS
from ltml.data.table import LabelTable, LabelVersion
from ltml.errors import InputError, first_few, first_line
from ltml.extras import optional_package
from ltml.registry import DATASETS, FilePath

LABELS = {
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic nevi",
        "vascular lesions",
    ),
    "tissuemnist": (
        "Collecting Duct, Connecting Tubule",
        "Distal Convoluted Tubule",
        "Glomerular endothelial cells",
        "Interstitial endothelial cells",
        "Leukocytes",
        "Podocytes",
        "Proximal Tubule Segments",
        "Thick Ascending Limb",
    ),
    "organamnist": (
        "bladder",
        "femur-left",
        "femur-right",
        "heart",
        "kidney-left",
        "kidney-right",
        "liver",
        "lung-left",
        "lung-right",
        "pancreas",
        "spleen",
    ),
    "retinamnist": ("0", "1", "2", "3", "4"),
    "chestmnist": (
        "atelectasis",
        "cardiomegaly",
        "effusion",
        "infiltration",
        "mass",
        "nodule",
        "pneumonia",
        "pneumothorax",
        "consolidation",
        "edema",
        "emphysema",
        "fibrosis",
        "pleural",
        "hernia",
    ),
}
"""Official label names in the order of the numbers in the files."""

MULTI_LABEL = ("chestmnist",)
CLASSES = {
    "dermamnist": "DermaMNIST",
    "tissuemnist": "TissueMNIST",
    "organamnist": "OrganAMNIST",
    "retinamnist": "RetinaMNIST",
    "chestmnist": "ChestMNIST",
}
"""Class of the medmnist package by set."""

VERSIONS = {
    "dermamnist": (LabelVersion("DermaMNIST", images=10_015),),
    "tissuemnist": (LabelVersion("TissueMNIST", images=236_386),),
    "organamnist": (LabelVersion("OrganAMNIST v2", images=58_850), LabelVersion("OrganAMNIST v3", images=58_830)),
    "retinamnist": (LabelVersion("RetinaMNIST", images=1600),),
    "chestmnist": (LabelVersion("ChestMNIST", images=112_120),),
}
SIDES = (28, 64, 128, 224)
PAGE = "https://medmnist.com"


@DATASETS.register("medmnist")
def load(
    context: DataContext,
    *,
    flag: Annotated[
        Literal["dermamnist", "tissuemnist", "organamnist", "retinamnist", "chestmnist"],
        Field(description="which set"),
    ],
    file: Annotated[
        FilePath | None,
        Field(description="the .npz file; null: of FLAG.npz, FLAG_64.npz … in the root, the smallest large enough"),
    ] = None,
    download: Annotated[
        bool, Field(description="download the file into data.root with the medmnist package if it is missing")
    ] = False,
) -> LabelTable:
    """MedMNIST's DermaMNIST, TissueMNIST, OrganAMNIST, RetinaMNIST or ChestMNIST; their own splits.

    Raises:
        InputError: if the file is missing or something in it is not as published.
    """
    file = file or _find_file(context, flag, download=download)
    arrays = read_npz(file)
    names = [f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")]
    absent = [name for name in names if name not in arrays]
    if absent:
        raise InputError(f"{file} has no array {first_few(absent, most=6)}; it holds {first_few(arrays, most=12)}")
    parts = {}
    for split in SPLITS:
        pixels = check_pixels(arrays[f"{split}_images"], f"{split}_images", file)
        labels = _check_labels(arrays[f"{split}_labels"], len(pixels), flag, f"{split}_labels", file)
        parts[split] = pixels, _codes(labels, flag, f"{file}, {split}_labels", context.faults)
    return array_table(flag, LABELS[flag], parts, file, VERSIONS[flag])


def choose_side(existing: list[int], size: int) -> int:
    """Return the smallest side that is not below the requested size, else the largest."""
    return min((side for side in existing if side >= size), default=max(existing))


def _file_name(flag: str, side: int) -> str:
    return f"{flag}.npz" if side == SIDES[0] else f"{flag}_{side}.npz"


def _find_file(context: DataContext, flag: str, *, download: bool) -> Path:
    root = context.need_root("medmnist")
    existing = [side for side in SIDES if (root / _file_name(flag, side)).is_file()]
    if existing:
        return root / _file_name(flag, choose_side(existing, context.size))
    side = choose_side(list(SIDES), context.size)
    if not download:
        raise InputError(
            f"{root} has no {flag}.npz and none like {flag}_64.npz; download {_file_name(flag, side)} from {PAGE} into "
            "it, name the file with data.file, or add data.download=true"
        )
    _download(root, flag, side)
    return root / _file_name(flag, side)


def _download(root: Path, flag: str, side: int) -> None:
    advice = f"Download {_file_name(flag, side)} from {PAGE} into {root} instead."
    with optional_package("medmnist", "data.download=true", advice):
        package: Any = importlib.import_module("medmnist")
    try:
        getattr(package, CLASSES[flag])(split="train", download=True, root=str(root), size=side)
    except (RuntimeError, OSError, TypeError) as error:
        raise InputError(f"medmnist cannot download {flag}: {first_line(error)}. {advice}") from error


def _check_labels(
    labels: npt.NDArray[Any], count: int, flag: str, name: str, file: Path
) -> npt.NDArray[np.integer[Any]]:
    width = len(LABELS[flag]) if flag in MULTI_LABEL else 1
    if labels.dtype.kind not in "iu" or labels.shape != (count, width):
        raise InputError(
            f"{file}: the array '{name}' is {labels.dtype} of shape {labels.shape}; {flag} has whole numbers of shape "
            f"({count}, {width}). Check data.flag and data.file."
        )
    return labels


def _codes(labels: npt.NDArray[np.integer[Any]], flag: str, where: str, faults: Faults) -> Codes:
    if flag not in MULTI_LABEL:
        return class_codes(labels[:, 0], len(LABELS[flag]), where, faults)
    wrong = (labels != 0) & (labels != 1)
    report_wrong(labels, wrong, LABELS[flag], where, "0, 1", faults)
    return np.where(wrong, UNKNOWN, labels).astype(np.int8)
