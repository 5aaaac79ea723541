"""Fixtures shared by all rooms: image folders in the csv layout, and one finished tiny run."""

from __future__ import annotations

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # for this process and those it starts: tiny models gain nothing from threads

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures.shared import build_once
from hypothesis import settings
from PIL import Image
from typer.testing import CliRunner, Result

from ltml.registry import DATASETS, HEADS, LOSSES, MEASURES, OBJECTIVES, REBALANCING

Cli = Callable[..., Result]

settings.register_profile("shared", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("shared")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's caches, or asks a hub."""
    monkeypatch.setenv("LTML_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _no_plugins_left() -> Iterator[None]:
    """Components from outside the project that a test registers are gone after it."""
    registries = (LOSSES, HEADS, OBJECTIVES, REBALANCING, DATASETS, MEASURES)
    before, modules = [set(registry._origins) for registry in registries], set(sys.modules)
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in registry._origins.keys() - names:
            if not registry._origins[name].startswith("ltml."):
                registry._components.pop(name, None)
                origin = registry._origins.pop(name)
                if origin not in modules:
                    sys.modules.pop(origin, None)


@pytest.fixture(scope="session")
def cli() -> Cli:
    """The command line, in this process: ``cli("run", "digits_tiny")``."""
    from ltml_cli.main import app

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """Folder of a finished ``ltml run digits_tiny``; read only."""

    def build(out: Path) -> None:
        result = cli("run", "digits_tiny", "--out", out)
        assert result.exit_code == 0, result.output

    return build_once(tmp_path_factory, "tiny_run", build) / "digits_tiny" / "ldrnet" / "seed0"


@pytest.fixture
def run_small(cli: Cli, tmp_path: Path) -> Cli:
    """``ltml run csv_small`` on a table for one epoch: ``run_small(file, "--json")``."""

    def run(file: Path, *more: object) -> Result:
        options = ("train.epochs=1", "data.image_size=16", "--out", tmp_path / "runs")
        return cli("run", "csv_small", f"data.file={file}", *options, *more)

    return run


@pytest.fixture
def image_table(tmp_path: Path) -> Callable[..., Path]:
    """Writes `count` small grey images and a CSV with two labels, one of them partly unknown."""

    def make(count: int = 60, **columns: object) -> Path:
        rng = np.random.default_rng(0)
        bright = np.arange(count) % 3 == 0
        names = [f"images/{i:03d}.png" for i in range(count)]
        (tmp_path / "images").mkdir(exist_ok=True)
        for name, is_bright in zip(names, bright, strict=True):
            pixels = rng.integers(100, 255, (16, 16)) if is_bright else rng.integers(0, 100, (16, 16))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
        table = pd.DataFrame(
            {
                "image": names,
                "bright": np.where(bright, "1", "0"),
                "odd": np.where(np.arange(count) % 4 == 0, "", np.where(np.arange(count) % 2 == 1, "1.0", "0.0")),
            }
        ).assign(**columns)
        path = tmp_path / "labels.csv"
        table.to_csv(path, index=False)
        return path

    return make
