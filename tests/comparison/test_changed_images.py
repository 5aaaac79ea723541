"""A comparison or sweep whose runs would be of several pictures in the same files is refused before any run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import ltml
from ltml.comparison.plan import plan_comparison
from ltml.comparison.sweep import plan_sweep
from ltml.errors import InputError

COUNT = 30
MODEL = "backbone.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}"


@pytest.fixture
def fields(tmp_path: Path) -> list[str]:
    """Overrides of `csv_small` for thirty pictures."""
    rng = np.random.default_rng(0)
    (tmp_path / "films").mkdir()
    for i in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(tmp_path / "films" / f"{i:03d}.bmp")
    names = [f"{i:03d}.bmp" for i in range(COUNT)]
    split = ["train"] * 14 + ["val"] * 8 + ["test"] * 8
    table = pd.DataFrame({"image": names, "odd": np.arange(COUNT) % 2, "split": split})
    table.to_csv(tmp_path / "labels.csv", index=False)
    small = ["data.image_size=16", "train.epochs=1", "data.workers=0", "stage2.prior=uniform", MODEL]
    return [f"data.file={tmp_path / 'labels.csv'}", f"data.root={tmp_path / 'films'}", *small]


def replace_film(tmp_path: Path) -> None:
    path = tmp_path / "films" / "029.bmp"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")


def runs(tmp_path: Path) -> set[Path]:
    return {path.parent for path in (tmp_path / "runs").rglob("recipe.yaml")}


def test_other_seeds_and_rows_do_not_mix_with_runs_of_other_pictures(fields: list[str], tmp_path: Path) -> None:
    ltml.run(ltml.load_recipe("csv_small", [*fields, "method=bce"]), tmp_path / "runs")
    done = runs(tmp_path)
    replace_film(tmp_path)
    plan = plan_comparison(["csv_small"], methods=["bce", "csra"], seeds="0..1", overrides=fields)
    with pytest.raises(InputError, match=r"row 'bce' on csv_small, seed 0: \S+029.bmp has changed since stage 1"):
        ltml.compare(plan, tmp_path / "runs")
    assert runs(tmp_path) == done
    others = plan_comparison(["csv_small"], methods=["csra", "bce"], seeds="0", overrides=fields)
    with pytest.raises(InputError, match=r"row 'bce' on csv_small, seed 0: \S+029.bmp has changed since stage 1"):
        ltml.compare(others, tmp_path / "runs")


def test_a_finished_comparison_is_not_printed_as_one_of_other_pictures(fields: list[str], tmp_path: Path) -> None:
    plan = plan_comparison(["csv_small"], methods=["bce"], seeds="0..1", overrides=fields)
    first = ltml.compare(plan, tmp_path / "runs")
    assert ltml.compare(plan, tmp_path / "runs") == first
    kept = shutil.copytree(tmp_path / "films", tmp_path / "kept")
    replace_film(tmp_path)
    with pytest.raises(InputError, match=r"029.bmp has changed since stage 1"):
        ltml.compare(plan, tmp_path / "runs")
    moved = [f"data.root={kept}" if field.startswith("data.root") else field for field in fields]
    assert ltml.compare(
        plan_comparison(["csv_small"], methods=["bce"], seeds="0..1", overrides=moved), tmp_path / "runs"
    )
    shutil.rmtree(tmp_path / "films")  # the tables need no pictures
    assert ltml.compare(plan, tmp_path / "runs") == first


def test_a_sweep_does_not_mix_either(fields: list[str], tmp_path: Path) -> None:
    fixed = [*fields, "stage2.rounds=0"]
    ltml.compare(plan_sweep("csv_small", [*fixed, "train.lr=0.001,0.002"], name="one"), tmp_path / "runs")
    replace_film(tmp_path)
    with pytest.raises(InputError, match=r"029.bmp has changed since stage 1"):
        ltml.compare(plan_sweep("csv_small", [*fixed, "train.lr=0.001,0.002,0.003"], name="two"), tmp_path / "runs")


def test_unreadable_pictures_are_met_before_the_first_run(fields: list[str], tmp_path: Path) -> None:
    (tmp_path / "films" / "029.bmp").write_bytes(b"BM" + bytes(100))
    plan = plan_comparison(["csv_small"], methods=["bce", "csra"], seeds="0..1", overrides=fields)
    with pytest.raises(InputError, match=r"cannot read the image \S+029.bmp: .*data.unreadable=skip"):
        ltml.compare(plan, tmp_path / "runs")
    assert runs(tmp_path) == set()
