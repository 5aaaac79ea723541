"""`odir5k`: ODIR-5K. The options are known; the files cannot be read yet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ltml.data.context import DataContext
from ltml.errors import InputError
from ltml.registry import DATASETS
from ltml.types import Dataset


@DATASETS.register("odir5k")
def load(
    context: DataContext,  # noqa: ARG001 - the options are the registered schema
    *,
    unit: Annotated[Literal["image", "patient"], Field(description="what one prediction is for")] = "patient",  # noqa: ARG001
) -> Dataset:
    """ODIR-5K, fundus photographs of 3,500 patients, 8 labels (loader not in this version)."""
    raise InputError("odir5k")
