"""`cifar10`: CIFAR-10 through torchvision, from a local folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ltml.data.arrays import array_table, class_codes, read_torchvision
from ltml.data.context import DataContext
from ltml.data.table import LabelTable, LabelVersion
from ltml.registry import DATASETS

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@DATASETS.register("cifar10")
def load(
    context: DataContext,
    *,
    download: Annotated[bool, Field(description="download the files into data.root if they are missing")] = False,
) -> LabelTable:
    """CIFAR-10: 60,000 colour photographs of 32 px, one of 10 labels each; torchvision's files.

    The test part is the official one; validation is taken out of the training part.

    Raises:
        InputError: if the files are missing under the root or damaged.
    """
    from torchvision.datasets import CIFAR10  # slow to import, and every dataset's module is looked at

    parts = {
        split: (pixels, class_codes(classes, len(LABELS), f"{context.root}, {split}", context.faults))
        for split, (pixels, classes) in read_torchvision(CIFAR10, "cifar10", context, download=download).items()
    }
    versions = (LabelVersion("CIFAR-10", images=60_000),)
    return array_table("cifar10", LABELS, parts, context.need_root("cifar10"), versions)
