"""`union`: several partially labelled datasets as one. The options are known; the files cannot be read yet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ltml.data.context import DataContext
from ltml.errors import InputError
from ltml.registry import DATASETS, FilePath
from ltml.types import Dataset


class UnionSource(BaseModel):
    """One dataset of a union."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: str = Field(description="`ltml list datasets`")
    root: FilePath | None = Field(None, description="folder of its images")
    labels_kept: tuple[str, ...] | None = Field(None, description="labels left known; null: all")


@DATASETS.register("union")
def load(
    context: DataContext,  # noqa: ARG001 - the options are the registered schema
    *,
    sources: Annotated[tuple[UnionSource, ...], Field(min_length=1, description="the datasets")],  # noqa: ARG001
    draw: Annotated[  # noqa: ARG001
        Literal["equal", "proportional", "natural"], Field(description="how a step draws from the sources")
    ] = "natural",
) -> Dataset:
    """Several partially labelled datasets in one vocabulary (loader not in this version)."""
    raise InputError("union")
