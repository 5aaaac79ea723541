from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures.datasets import nih
from PIL import Image


def _stats(cli, *arguments: object) -> dict:
    result = cli("data", "stats", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_counts_are_those_of_the_table(cli, image_table: Callable[..., Path]) -> None:
    split = ["train"] * 40 + ["val"] * 8 + ["test"] * 12
    file = image_table(split=split, source=["north", "south"] * 30, group=[f"p{i // 2}" for i in range(60)])
    table = pd.read_csv(file)
    found = _stats(cli, "csv_small", f"data.file={file}")
    assert found["rows"] == {"train": 40, "val": 8, "test": 12}
    assert found["patients"] == {"train": 20, "val": 4, "test": 6}
    for name, rows in table.groupby("split"):
        for label in ("bright", "odd"):
            known, positive = int(rows[label].notna().sum()), int((rows[label] == 1).sum())
            expected = {"known": known, "positive": positive, "unknown": len(rows) - known}
            assert found["splits"][name][label] == expected
    north = table[table["source"] == "north"]
    assert found["sources"]["north"]["rows"] == 30
    assert found["sources"]["north"]["labels"]["odd"]["unknown"] == int(north["odd"].isna().sum())
    train = table[table["split"] == "train"]
    counts = [(train[label] == 1).sum() for label in ("bright", "odd")]
    assert found["imbalance_ratio"] == pytest.approx(max(counts) / min(counts))
    both = int(((train["bright"] == 1) & (train["odd"] == 1)).sum())
    assert found["cooccurrence"] == [[counts[0], both], [both, counts[1]]]
    assert found["sizes"] == {"16×16": 60}
    per_row = ((train[["bright", "odd"]] == 1).sum(axis=1)).value_counts()
    assert found["labels_per_row"] == {str(n): c for n, c in sorted(per_row.items())}


def test_the_table_names_groups_and_sources(cli, image_table: Callable[..., Path]) -> None:
    result = cli("data", "stats", "csv_small", f"data.file={image_table(source=['north', 'south'] * 30)}")
    for words in (
        "bright",
        "head",
        "north",
        "south",
        "imbalance ratio",
        "most often together",
        "image sizes: 16×16 60",
    ):
        assert words in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 200


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_is_drawn(cli, tmp_path: Path, ending: str) -> None:
    picture = tmp_path / f"stats.{ending}"
    assert cli("data", "stats", "digits_tiny", "--picture", picture).exit_code == 0
    if ending == "png":
        pixels = np.asarray(Image.open(picture).convert("RGB"))
        assert min(pixels.shape[:2]) > 300
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    else:
        assert "<svg" in picture.read_text()


def test_a_picture_needs_an_ending_of_a_picture(cli, tmp_path: Path) -> None:
    result = cli("data", "stats", "digits_tiny", "--picture", tmp_path / "stats.xyz")
    assert result.exit_code == 2
    assert "must end in .png" in result.stderr


def test_the_assembled_table_comes_back_as_the_same_data(cli, tmp_path: Path) -> None:
    root = nih.build(tmp_path / "nih", folders=True)
    result = cli("data", "assemble", "nih", f"data.root={root}", "--out", tmp_path / "labels.csv")
    assert result.exit_code == 0, result.output
    assert f"relative to {root}" in result.stdout
    table = pd.read_csv(tmp_path / "labels.csv")
    assert table.columns[:8].tolist() == ["image", "id", "group", "source", "split", "view", "age", "sex"]
    assert all((root / image).is_file() for image in table["image"])
    ours = _stats(cli, "csv", f"data.file={tmp_path / 'labels.csv'}", f"data.root={root}")
    theirs = _stats(cli, "nih", f"data.root={root}")
    for part in ("labels", "rows", "patients", "splits", "cooccurrence", "sizes"):
        assert ours[part] == theirs[part]


def test_unknown_is_empty_in_the_assembled_table(cli, image_table: Callable[..., Path], tmp_path: Path) -> None:
    file = image_table()
    cli("data", "assemble", "csv_small", f"data.file={file}", "--out", tmp_path / "out.csv")
    before = pd.read_csv(file).set_index("image")["odd"]
    after = pd.read_csv(tmp_path / "out.csv").set_index("id")["odd"]
    pd.testing.assert_series_equal(after, before, check_names=False)


def test_the_assembled_table_goes_to_a_csv(cli, tmp_path: Path) -> None:
    result = cli("data", "assemble", "digits_tiny", "--out", tmp_path / "labels.txt")
    assert result.exit_code == 2
    assert "give the name of a .csv file" in result.stderr


def test_nothing_is_written_over(cli, image_table: Callable[..., Path]) -> None:
    file = image_table()
    before = file.read_bytes()
    result = cli("data", "assemble", "csv_small", f"data.file={file}", "--out", file)
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert file.read_bytes() == before


def test_a_union_of_files_and_arrays_has_rows_without_an_image(
    cli, image_table: Callable[..., Path], tmp_path: Path
) -> None:
    sources = f"[{{type: csv, file: {image_table()}}}, {{type: digits, train_size: 50, val_size: 20, test_size: 20}}]"
    result = cli("data", "assemble", "cxr_union", f"data.sources={sources}", "--out", tmp_path / "all.csv")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "all.csv")
    assert table["image"].notna().tolist() == (table["source"] == "csv").tolist()


def test_any_character_can_be_in_a_label_of_a_picture(cli, image_table: Callable[..., Path], tmp_path: Path) -> None:
    file = image_table(**{"a$x^^2$": "1", "b_{": "0"})
    result = cli("data", "stats", "csv_small", f"data.file={file}", "--picture", tmp_path / "a.png")
    assert result.exit_code == 0, result.output


def test_patients_are_only_counted_where_there_are_groups(cli, image_table: Callable[..., Path]) -> None:
    plain = cli("data", "stats", "csv_small", f"data.file={image_table()}").stdout
    assert "patients: no groups given" in plain
    grouped = cli("data", "stats", "csv_small", f"data.file={image_table(group=[f'g{i // 2}' for i in range(60)])}")
    assert "patients: train 21, val 3, test 6" in grouped.stdout


@pytest.mark.parametrize(
    ("recipe", "module"),
    [
        ("nih", "nih"),
        ("chexpert", "chexpert"),
        ("mimic", "mimic"),
        ("covidx", "covidx"),
        ("padchest", "padchest"),
        ("cxr_lt", "cxr_lt"),
        ("odir5k", "odir5k"),
    ],
)
def test_labels_are_looked_at_without_any_image(cli, tmp_path: Path, recipe: str, module: str) -> None:
    root = importlib.import_module(f"fixtures.datasets.{module}").build(tmp_path) or tmp_path
    options = ["data.min_images=1"] if recipe == "padchest" else []
    name = {"mimic": "mimic", "cxr_lt": "cxr_lt"}.get(recipe, recipe)
    before = _stats(cli, name, f"data.root={root}", *options)
    for file in root.rglob("*"):
        if file.suffix.lower() in (".png", ".jpg", ".jpeg"):
            file.unlink()
    for folder in sorted(root.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    after = _stats(cli, name, f"data.root={root}", *options)
    assert set(after["sizes"]) == {"missing"}
    assert after | {"sizes": 0} == before | {"sizes": 0}
    result = cli("data", "check", name, f"data.root={root}", *options, "--labels-only", "--json")
    assert {fault["kind"] for fault in json.loads(result.stdout)["faults"]} <= {"label never known"}, result.output
    assert "missing image" in cli("data", "check", name, f"data.root={root}", *options).output or recipe == "nih"
