"""Shape of ``comparison.json``, and its one reader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ltml.errors import InputError
from ltml.saved import Saved

REMEDY = "run the same comparison again, which writes the file; finished runs are not repeated"
"""How to renew a ``comparison.json``."""


class Part(BaseModel):
    """Part of a comparison's result; keys beyond the fields are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class PatientsVersus(Part):
    """Difference from the reference by the paired bootstrap over patients."""

    difference: float
    interval: tuple[float, float] | None
    p: float | None
    p_holm: float | None = None
    n: int
    labels: int


class DeLongVersus(Part):
    """DeLong's test of a class against the reference."""

    z: float | None
    p: float | None
    p_holm: float | None = None


class Versus(Part):
    """Difference from the reference over seeds; None where undefined."""

    mean: float | None
    sd: float | None
    n: int
    p: float | None
    p_independent: float | None = None
    p_wilcoxon: float | None = None
    p_holm: float | None = None
    labels: int = 0
    better: bool | None = None
    patients: PatientsVersus | None = None
    delong: DeLongVersus | None = None


class SeedMean(Part):
    """Mean over seeds; `versus` is None for the reference."""

    mean: float | None
    sd: float | None
    values: list[float | None] = Field(default_factory=list)
    labels: int = 0
    versus: Versus | None = None


class LabelResult(Part):
    """Score of one label over seeds; `interval` is over patients."""

    mean: float | None
    sd: float | None
    values: list[float | None] = Field(default_factory=list)
    learned: bool = True
    interval: tuple[float, float] | None = None
    versus: Versus | None = None


class RowResult(SeedMean):
    """Row of the table of a comparison."""

    data: str
    row: str
    adds: str | None = None
    seeds: list[int]
    per_label: dict[str, LabelResult]
    groups: dict[str, SeedMean]
    means: dict[str, SeedMean] = Field(default_factory=dict)
    rounds: list[int | None] | None = None
    interval: tuple[float, float] | None = None
    interval_labels: list[str] | None = None
    interval_mean: float | None = None


class RunState(Part):
    """How far a run of the grid is."""

    data: str
    row: str
    seed: int
    run: str
    state: str
    error: str = ""


class Ranks(Part):
    """Mean ranks over several data."""

    data: list[str]
    rows: list[str]
    ranks: list[float]
    test: str | None
    p: float | None
    critical_difference: float | None
    pairs: list[list[float]] | None


class ComparisonResult(Saved):
    """Content of ``comparison.json``."""

    format: int = 1
    name: str = ""
    paper: str = ""
    measure: str
    higher_is_better: bool = True
    split: str
    reference: str
    seeds: list[int] = Field(default_factory=list)
    interest: str | None = None
    folder: str = ""
    plan: list[list[Any]] = Field(default_factory=list)
    cells: list[RunState]
    rows: list[RowResult]
    groups: dict[str, dict[str, Any]]
    groups_by: dict[str, str] = Field(default_factory=dict)
    not_learned: dict[str, list[str]] = Field(default_factory=dict)
    rare: dict[str, dict[str, int]] = Field(default_factory=dict)
    patients: dict[str, dict[str, int]]
    ranks: Ranks | None
    relations: list[dict[str, Any]] = Field(default_factory=list)
    claims: list[dict[str, Any]] = Field(default_factory=list)
    chosen: dict[str, Any] | None = None
    trials: int | None = None
    warnings: list[str]


def read_comparison(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the result that `ltml.compare` wrote to a folder, checked for its shape.

    Raises:
        InputError: the folder has no ``comparison.json``, or one of a newer version.
        DamagedFileError: the file is damaged or has another shape.
    """
    path = Path(folder) / "comparison.json"
    if not path.is_file():
        raise InputError(f"{folder} is not a comparison: it has no {path.name}. `ltml compare` prints its folder")
    return ComparisonResult.read(path, REMEDY).to_json()
