"""`nih`: NIH ChestX-ray14. The options are known; the files cannot be read yet."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ltml.data.context import DataContext, absent_loader
from ltml.registry import DATASETS, FilePath
from ltml.types import Dataset


@DATASETS.register("nih")
def load(
    context: DataContext,  # noqa: ARG001 - the options are the registered schema
    *,
    lists: Annotated[  # noqa: ARG001
        FilePath | None, Field(description="folder of list files of another split, e.g. CheXNet's")
    ] = None,
) -> Dataset:
    """NIH ChestX-ray14, 112,120 films, 14 findings (loader not in this version)."""
    absent_loader("nih")
