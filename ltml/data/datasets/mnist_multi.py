"""`mnist_multi`: train on single digits of MNIST, test on pairs (Data-Assemble, section C.4)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from ltml.arrays import UInt8Array
from ltml.data.arrays import array_table, class_codes
from ltml.data.context import DataContext
from ltml.data.datasets.mnist import DIGITS, read_mnist
from ltml.data.table import LabelTable
from ltml.errors import InputError
from ltml.registry import DATASETS


@DATASETS.register("mnist_multi")
def load(
    context: DataContext,
    *,
    test_size: Annotated[int, Field(gt=0, description="test images, two digits each")] = 10_000,
    download: Annotated[bool, Field(description="download MNIST into data.root if it is missing")] = False,
) -> LabelTable:
    """MNIST with single digits to train on, and tests of two digits side by side.

    Train and val are MNIST's training part; a test image is made of two scans of MNIST's test part, drawn with the
    split seed. Its labels are the digits on it.

    Raises:
        InputError: the files are not under the root, or another split is asked for.
    """
    if context.split_file is not None or not context.given_split:
        raise InputError(
            "mnist_multi is split by what its images show (one digit: train and val, two: test); leave data.split.use "
            "and data.split.file as they are (seeds.split makes another split)"
        )
    parts = {
        split: (scans, class_codes(digits, len(DIGITS), f"{context.root}, {split}", context.faults))
        for split, (scans, digits) in read_mnist("mnist_multi", context, download=download).items()
    }
    test = compose(*parts["test"], test_size, np.random.default_rng(context.seed))
    return array_table("mnist_multi", DIGITS, parts | {"test": test}, context.need_root("mnist_multi"))


def compose(
    scans: UInt8Array, codes: npt.NDArray[np.int8], count: int, rng: np.random.Generator
) -> tuple[UInt8Array, npt.NDArray[np.int8]]:
    """Draw pairs of different scans and place them side by side, each resized to half its width.

    Args:
        scans: uint8 ``(n, H, W)``, at least two.
        codes: int8 ``(n, C)``, the digit on each.
        count: number of pairs.
        rng: generator of all random numbers.

    Returns:
        Images uint8 ``(count, H, W)`` and codes int8 ``(count, C)`` with one or two positives each.
    """
    left = rng.integers(len(scans), size=count)
    right = (left + rng.integers(1, len(scans), size=count)) % len(scans)
    height, width = scans.shape[1:]
    half = np.stack(
        [np.asarray(Image.fromarray(scan).resize((width // 2, height), Image.Resampling.BILINEAR)) for scan in scans]
    )
    return np.concatenate([half[left], half[right]], axis=2), np.maximum(codes[left], codes[right])
