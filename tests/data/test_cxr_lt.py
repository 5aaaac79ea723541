from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.datasets.cxr_lt import TASK_1, TASK_2, TASK_3, build
from fixtures.datasets.mimic import dicom_id

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.faults import Faults
from ltml.data.table import load_dataset
from ltml.errors import InputError
from ltml.registry import DATASETS, create


def _load(root: Path, faults: Faults | None = None, **options: object) -> Dataset:
    context = DataContext(root=root, size=16, channels=1, ratio=(7, 1, 2), seed=0, faults=faults or Faults())
    return load_dataset("cxr_lt", context, **options)


def _positives(dataset: Dataset, name: str) -> list[str]:
    row = dataset.table.index[dataset.table["id"] == name][0]
    return [n for n, y in zip(dataset.label_names, dataset.targets[row], strict=True) if y]


def test_labels_and_the_official_split(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path))
    assert list(dataset.label_names) == TASK_1
    assert len(dataset.label_names) == 40
    assert dataset.known.all()
    assert _positives(dataset, dicom_id(1, 0)) == ["Azygos Lobe", "Lobar Atelectasis"]
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 40, "val": 10, "test": 10}
    assert sorted(set(dataset.table["group"].iloc[dataset.splits["test"]])) == [f"100000{n}" for n in range(26, 31)]
    assert sorted(set(dataset.table["group"].iloc[dataset.splits["val"]])) == [f"100000{n}" for n in range(21, 26)]
    row = dataset.table.set_index("id").loc[dicom_id(1, 1)]
    assert row[["group", "source", "line", "view"]].tolist() == ["10000001", "cxr_lt", 3, ""]
    assert row["image"] == f"files/p10/p10000001/s50000001/{dicom_id(1, 1)}.jpg"
    assert dataset.images.read(0).shape == (16, 16, 1)


def test_task_2_has_the_labels_of_its_test_set(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path), task=2)
    assert list(dataset.label_names) == TASK_2
    assert _positives(dataset, dicom_id(1, 0)) == []  # both of its labels are those of task 1 alone
    assert _positives(dataset, dicom_id(30, 0)) == ["Lung Lesion", "Support Devices"]
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 40, "val": 10, "test": 10}


def test_the_label_files_may_lie_elsewhere(tmp_path: Path) -> None:
    build(tmp_path, folder="cxr-lt-2024")
    assert len(_load(tmp_path, labels=tmp_path / "cxr-lt-2024").table) == 60
    with pytest.raises(InputError, match="has neither train_labeled.csv nor train_labeled.csv.gz"):
        _load(tmp_path)


def test_task_3_is_not_offered() -> None:
    with pytest.raises(InputError, match="task = 3"):
        create(DATASETS, "cxr_lt", {"task": 3})


def _edit(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("train_labeled.csv", ",0.0", ",0.5", "train_labeled.csv, line 2, column 'Adenopathy': label value '0.5'"),
        ("train_labeled.csv", ",0.0", ",", "label value ''"),
        ("train_labeled.csv", "Tuberculosis", "Atelectasis", "Atelectasis appear more than once"),
        ("train_labeled.csv", "Tuberculosis", "TB", "train_labeled.csv has no column Tuberculosis"),
        ("test_labeled_task1.csv", ",fpath", ",path", "has no column fpath"),
        ("test_labeled_task1.csv", "Tuberculosis", "TB", "has no column TB"),
        ("train_labeled.csv", dicom_id(1, 1), dicom_id(1, 0), r"on line \d+ already"),
        ("test_labeled_task1.csv", dicom_id(26, 0), dicom_id(1, 0), "line 2.*another split's label file lists it"),
    ],
)
def test_faults_are_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    _edit(build(tmp_path), file, old, new)
    with pytest.raises(InputError, match=message):
        _load(tmp_path)


def test_faults_are_collected(tmp_path: Path) -> None:
    build(tmp_path)
    _edit(tmp_path, "train_labeled.csv", ",0.0", ",0.5")
    _edit(tmp_path, "test_labeled_task1.csv", dicom_id(26, 0), dicom_id(1, 0))
    faults = Faults(collect=True)
    dataset = _load(tmp_path, faults)
    assert {fault.kind for fault in faults.found} == {"unknown label value", "image in two splits"}
    assert len(dataset.table) == 59
    assert (~dataset.known).sum() == 1


def test_a_file_of_another_task_is_refused(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "test_labeled_task1.csv").write_text((tmp_path / "test_labeled_task3.csv").read_text())
    with pytest.raises(InputError, match=f"has 5 label columns .{', '.join(TASK_3)}.; task 1 of CXR-LT 2024 has 40"):
        _load(tmp_path)
