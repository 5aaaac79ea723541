from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures.datasets.padchest import NAME, build
from PIL import Image

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.datasets.padchest import parse_labels
from ltml.data.faults import Faults
from ltml.data.table import load_dataset
from ltml.errors import InputError

FILM_2 = "2168401113669640_04-094-102.png"  # patient 2, frontal


def _load(root: Path, faults: Faults | None = None, **options: object) -> Dataset:
    context = DataContext(root=root, size=16, channels=1, ratio=(7, 1, 2), seed=0, faults=faults or Faults())
    return load_dataset("padchest", context, **({"min_images": 3} | options))


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['normal']", ("normal",)),
        ("[' pleural effusion', '', ' ', 'COPD signs ']", ("pleural effusion", "COPD signs")),
        ("['pneumonia', ' pneumonia']", ("pneumonia",)),
        ("[]", ()),
        ("normal", None),
        ("['normal'", None),
        ("[1]", None),
        ("__import__('os').getcwd()", None),
    ],
)
def test_cells(cell: str, labels: tuple[str, ...] | None) -> None:
    assert parse_labels(cell) == labels


@pytest.mark.parametrize("layout", [{}, {"flat": True}, {"packed": True}])
def test_labels_by_frequency(tmp_path: Path, layout: dict) -> None:
    dataset = _load(build(tmp_path, **layout))
    assert dataset.label_names == ("normal", "pleural effusion", "COPD signs", "cardiomegaly", "pneumonia")
    assert dataset.targets.sum(axis=0).tolist() == [10, 10, 5, 5, 4]
    assert dataset.known.all()
    row = dataset.table.index[dataset.table["id"] == FILM_2][0]
    assert dataset.targets[row].tolist() == [0, 1, 1, 0, 0]
    values = dataset.table.loc[row, ["group", "source", "line", "view", "age", "sex"]].tolist()
    assert values == ["p002", "padchest", 6, "AP_horizontal", "82", "M"]
    assert dataset.table.loc[row, "image"] == (FILM_2 if "flat" in layout else f"1/{FILM_2}")
    assert dataset.table.set_index("group").loc["p001", "age"] == ""


def test_films_left_out_are_counted(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path))
    assert {rule.partition(":")[0]: count for rule, count in dataset.left_out.items()} == {
        "Projection other than PA, AP, AP_horizontal": 24,
        "label 'exclude'": 1,
        "label 'suboptimal study'": 1,
        "label 'unchanged'": 2,
        "no labels": 3,
    }
    assert len(dataset.table) == 24
    assert set(dataset.table["view"]) == {"PA", "AP", "AP_horizontal"}
    assert len(_load(tmp_path, films="all").table) == 48


def test_the_split_is_by_patient(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path), films="all")
    groups = [set(dataset.table["group"].iloc[rows]) for rows in dataset.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 24


def test_the_vocabulary_is_a_choice(tmp_path: Path) -> None:
    build(tmp_path)
    assert _load(tmp_path, min_images=5).label_names == ("normal", "pleural effusion", "COPD signs", "cardiomegaly")
    dataset = _load(tmp_path, labels=("pneumonia", "normal"))
    assert dataset.label_names == ("pneumonia", "normal")
    assert dataset.targets.sum(axis=0).tolist() == [4, 10]
    assert len(dataset.table) == 24
    with pytest.raises(InputError, match="data.min_images=50"):
        _load(tmp_path, min_images=50)
    with pytest.raises(InputError, match="names 'pnemonia'.*did you mean 'pneumonia'"):
        _load(tmp_path, labels=("pnemonia",))
    for wrong in (("normal", "normal"), ()):
        with pytest.raises(InputError, match="every label once"):
            _load(tmp_path, labels=wrong)


def test_sixteen_bits_are_scaled_by_their_true_range(tmp_path: Path) -> None:
    build(tmp_path)
    flat = np.full((16, 16), 2048, dtype=np.uint16)
    flat[0], flat[1] = 0, 4095
    Image.fromarray(flat).save(tmp_path / "1" / FILM_2)
    dataset = _load(tmp_path)
    pixels = dataset.images.read(int(dataset.table.index[dataset.table["id"] == FILM_2][0]))[..., 0]
    assert pixels[0].tolist() == [0] * 16
    assert pixels[1].tolist() == [255] * 16
    assert pixels[8].tolist() == [128] * 16


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("['normal']", "normal", "line 2: Labels 'normal'. Allowed: a list"),
        (",Labels,", ",Label,", "has no column Labels"),
        ("_01-094", "_00-094", r"_00-094-102.png': it is on line \d+ already"),
        (
            "POSTEROANTERIOR,PA,Manual review",
            "POSTEROANTERIOR,PA,x,Manual review",
            "line 2: 18 cells under a header of 17",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = build(tmp_path) / NAME
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        _load(tmp_path)


def test_faults_are_collected(tmp_path: Path) -> None:
    path = build(tmp_path) / NAME
    path.write_text(path.read_text().replace("['normal']", "normal", 1))
    faults = Faults(collect=True)
    dataset = _load(tmp_path, faults)
    assert [fault.kind for fault in faults.found] == ["unknown label value"]
    assert dataset.left_out["no labels"] == 4


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"has neither {NAME} nor {NAME}.gz"):
        _load(tmp_path)
