"""`mnist`: MNIST through torchvision, from a local folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ltml.arrays import IntArray, UInt8Array
from ltml.data.arrays import array_table, class_codes, read_torchvision
from ltml.data.context import DataContext
from ltml.data.table import LabelTable, LabelVersion
from ltml.registry import DATASETS

DIGITS = tuple(str(digit) for digit in range(10))


@DATASETS.register("mnist")
def load(
    context: DataContext,
    *,
    download: Annotated[bool, Field(description="download the files into data.root if they are missing")] = False,
) -> LabelTable:
    """MNIST: 70,000 handwritten digits, one label each; torchvision's files.

    The test part is the official one; validation is taken out of the training part.

    Raises:
        InputError: if the files are missing under the root or damaged.
    """
    parts = {
        split: (pixels, class_codes(digits, len(DIGITS), f"{context.root}, {split}", context.faults))
        for split, (pixels, digits) in read_mnist("mnist", context, download=download).items()
    }
    return array_table("mnist", DIGITS, parts, context.need_root("mnist"), (LabelVersion("MNIST", images=70_000),))


def read_mnist(name: str, context: DataContext, *, download: bool) -> dict[str, tuple[UInt8Array, IntArray]]:
    """Read scans uint8 ``(n, 28, 28)`` and digits ``(n,)`` of the official train and test parts.

    Raises:
        InputError: as `read_torchvision`.
    """
    from torchvision.datasets import MNIST  # slow to import, and every dataset's module is looked at

    return read_torchvision(MNIST, name, context, download=download)
