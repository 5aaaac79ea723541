from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.datasets.covidx import build

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.faults import Faults
from ltml.data.table import load_dataset
from ltml.errors import InputError


def _load(root: Path, faults: Faults | None = None) -> Dataset:
    context = DataContext(root=root, size=16, channels=1, ratio=(7, 1, 2), seed=0, faults=faults or Faults())
    return load_dataset("covidx", context)


def test_file_names_with_blanks_and_the_official_split(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path))
    assert dataset.label_names == ("COVID-19",)
    assert dataset.known.all()
    rows = dataset.table.set_index("id")
    assert rows.loc["train/second COVID 4 (1).png", ["group", "source", "image", "line"]].tolist() == [
        "sirm/4",
        "covidx",
        "train/second COVID 4 (1).png",
        12,
    ]
    targets = dict(zip(dataset.table["id"], dataset.targets[:, 0].tolist(), strict=True))
    assert targets["train/COVID 4 (1).png"] == 1
    assert targets["train/COVID 5 (1).png"] == 0
    assert targets["train/0004-scan.jpg"] == 0
    assert len(dataset.splits["test"]) == 12
    assert dataset.table["id"].iloc[dataset.splits["test"]].str.startswith("test/").all()
    assert len(dataset.splits["train"]) + len(dataset.splits["val"]) == 38
    assert dataset.images.read(0).shape == (16, 16, 1)


def test_patients_of_two_sources_with_one_number_are_two(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path))
    assert dataset.table["group"].nunique() == 40
    groups = [set(dataset.table["group"].iloc[rows]) for rows in dataset.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_equal_file_names_of_two_sources_are_two_films(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "test" / "0001-scan.jpg").write_bytes((tmp_path / "train" / "0001-scan.jpg").read_bytes())
    (tmp_path / "test.txt").write_text((tmp_path / "test.txt").read_text() + "1 0001-scan.jpg negative cohen\n")
    assert len(_load(tmp_path).table) == 51


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("train.txt", "positive", "pneumonia", "line 2?.*'class': label value 'pneumonia'; allowed: 'positive'"),
        ("train.txt", "0 0000-scan.jpg positive rsna", "0000-scan.jpg positive rsna", "line 3: .* is not 'patient_id"),
        ("train.txt", "0 0000-scan.jpg positive rsna", "rsna", "line 3: 'rsna' is not 'patient_id"),
        ("train.txt", "1 0001-scan.jpg", "1 0000-scan.jpg", r"on line \d+ already"),
        ("test.txt", "15 000f-scan.jpg", "0 0000-scan.jpg", "it is in train.txt as well"),
        ("test.txt", "15 000f-scan.jpg", "0 000f-scan.jpg", "group 'rsna/0'.*one split"),
        ("test.txt", "000f-scan.jpg", "000e-scan.png", "000e-scan.png"),
    ],
)
def test_faults_are_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    path = build(tmp_path) / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        _load(tmp_path)


def test_faults_are_collected(tmp_path: Path) -> None:
    build(tmp_path)
    path = tmp_path / "test.txt"
    path.write_text(path.read_text().replace("15 000f-scan.jpg", "0 0000-scan.jpg").replace("positive", "yes", 1))
    faults = Faults(collect=True)
    dataset = _load(tmp_path, faults)
    assert {fault.kind for fault in faults.found} == {"image in two splits", "unknown label value"}
    assert len(dataset.table) == 49


def test_missing_lists_are_named(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "test.txt").write_text("\n")
    with pytest.raises(InputError, match="test.txt has no content"):
        _load(tmp_path)
    (tmp_path / "train.txt").unlink()
    with pytest.raises(InputError, match=r"cannot read the list .*train.txt"):
        _load(tmp_path)
