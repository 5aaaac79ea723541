from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures.datasets.mimic import build, dicom_id

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.faults import Faults
from ltml.data.table import load_dataset
from ltml.errors import InputError


def _load(root: Path, faults: Faults | None = None, **options: object) -> Dataset:
    context = DataContext(root=root, size=16, channels=1, ratio=(7, 1, 2), seed=0, faults=faults or Faults())
    return load_dataset("mimic", context, **options)


def _labels(dataset: Dataset, patient: int, film: int = 0) -> tuple[set[str], set[str]]:
    """Positive and unknown labels of an image."""
    row = dataset.table.index[dataset.table["id"] == dicom_id(patient, film)][0]
    names = list(dataset.label_names)
    positive = {n for n, y in zip(names, dataset.targets[row], strict=True) if y}
    return positive, {n for n, known in zip(names, dataset.known[row], strict=True) if not known}


@pytest.mark.parametrize("packed", [True, False])
def test_labels_of_studies_hold_for_their_films(tmp_path: Path, packed: bool) -> None:
    dataset = _load(build(tmp_path, packed=packed))
    assert len(dataset.label_names) == 14
    assert list(dataset.label_names) == sorted(dataset.label_names)
    certain = {"Atelectasis", "Lung Opacity", "Support Devices"}
    doubtful = {"Cardiomegaly", "Edema", "Pleural Effusion"}
    for film in (0, 1):
        assert _labels(dataset, 4, film) == (certain | doubtful, set())
    assert _labels(dataset, 3) == ({"No Finding"}, set())
    row = dataset.table.set_index("id").loc[dicom_id(4, 0)]
    assert row[["group", "source", "line", "view"]].tolist() == ["10000004", "mimic", 8, "LL"]
    assert row["image"] == f"files/p10/p10000004/s50000004/{dicom_id(4, 0)}.jpg"
    assert any(name.startswith("files/p19/p19000021/s50000021/") for name in dataset.table["image"])
    assert dataset.images.read(0).shape == (16, 16, 1)


def test_the_official_split(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path))
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 37, "val": 4, "test": 4}
    groups = {split: sorted(set(dataset.table["group"].iloc[rows])) for split, rows in dataset.splits.items()}
    assert groups["val"] == ["19000021", "19000022"]
    assert groups["test"] == ["19000023", "19000024"]


def test_films_left_out_are_counted(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path))
    assert dict(dataset.left_out) == {
        "in no list of the split": 1,
        "no row in the metadata": 1,
        "study without labels of chexpert": 2,
    }
    assert dicom_id(2, 1) not in set(dataset.table["id"])
    assert "10000001" not in set(dataset.table["group"])


@pytest.mark.parametrize(("films", "views"), [("frontal", {"PA", "AP"}), ("lateral", {"LATERAL", "LL"})])
def test_views(tmp_path: Path, films: str, views: set) -> None:
    dataset = _load(build(tmp_path, patients=40), films=films)
    assert set(dataset.table["view"]) == views
    assert dataset.left_out[f"other views than {films}"] + len(dataset.table) == 77


@pytest.mark.parametrize(
    ("options", "positive", "unknown"),
    [
        ({"uncertain": "zeros"}, set(), set()),
        ({"uncertain": "mixed"}, {"Edema"}, set()),
        ({"uncertain": "ignore"}, set(), {"Cardiomegaly", "Edema", "Pleural Effusion"}),
    ],
)
def test_uncertain_labels(tmp_path: Path, options: dict, positive: set, unknown: set) -> None:
    certain = {"Atelectasis", "Lung Opacity", "Support Devices"}
    assert _labels(_load(build(tmp_path), **options), 4) == (certain | positive, unknown)


def test_blank_labels_and_no_finding(tmp_path: Path) -> None:
    build(tmp_path)
    dataset = _load(tmp_path, blank="unknown", no_finding=False)
    assert len(dataset.label_names) == 13
    assert "No Finding" not in dataset.label_names
    positive = {"Atelectasis", "Lung Opacity", "Support Devices", "Cardiomegaly", "Edema", "Pleural Effusion"}
    assert _labels(dataset, 4) == (positive, set(dataset.label_names) - positive - {"Pneumothorax"})


def test_the_other_labeler(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path), labeler="negbio")
    assert _labels(dataset, 4) == ({"No Finding"}, set())
    assert dataset.left_out["study without labels of negbio"] == 2


def test_labels_of_the_radiologist_hold_for_the_test_set_alone(tmp_path: Path) -> None:
    build(tmp_path)
    labeler, dataset = _load(tmp_path), _load(tmp_path, test_labels="radiologist")
    assert _labels(labeler, 24)[0] == {"No Finding"}
    assert _labels(dataset, 24) == ({"Lung Opacity", "Lung Lesion", "Fracture"}, set())
    assert _labels(dataset, 22) == _labels(labeler, 22)
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 37, "val": 4, "test": 2}
    assert dataset.left_out["test study without a radiologist's labels"] == 2


def _edit(root: Path, file: str, change: Callable[[str], str]) -> None:
    path = root / f"mimic-cxr-2.0.0-{file}.csv.gz"
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()).decode()).encode()))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("chexpert", ",,,,,,,,1.0", ",,,,,,,,2.0", "line 3, column 'No Finding': label value '2.0'; allowed"),
        ("chexpert", "Lung Opacity", "Opacity", "chexpert.csv.gz has no column Lung Opacity"),
        ("chexpert", ",50000003,", ",50000002,", r"'50000002': it is on line \d+ already"),
        ("split", ",validate", ",valid", "line 42: split is 'valid'. Allowed: train, validate, test"),
        ("split", dicom_id(3, 1), dicom_id(3, 0), r"it is on line \d+ already"),
        ("metadata", dicom_id(3, 1), dicom_id(3, 0), r"metadata.csv.gz, line 6.* on line \d+ already"),
        ("metadata", "ViewPosition", "View", "has no column ViewPosition"),
        ("split", ",50000003,10000003,train", ",50000003,10000003", "line 6: 3 cells under a header of 4"),
        ("split", ",50000003,10000003,train", ",50000003,10000003,train,1", "line 6: 5 cells under a header of 4"),
    ],
)
def test_faults_are_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    build(tmp_path)
    _edit(tmp_path, file, lambda text: text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        _load(tmp_path)


def test_faults_are_collected(tmp_path: Path) -> None:
    build(tmp_path)
    _edit(tmp_path, "chexpert", lambda text: text.replace(",,,,,,,,1.0", ",,,,,,,,2.0", 1))
    _edit(tmp_path, "split", lambda text: text.replace(",validate", ",valid", 1))
    faults = Faults(collect=True)
    dataset = _load(tmp_path, faults)
    assert {fault.kind for fault in faults.found} == {"unknown label value", "unknown split"}
    assert _labels(dataset, 3) == (set(), {"No Finding"})
    assert dicom_id(21, 0) not in set(dataset.table["id"])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has neither mimic-cxr-2.0.0-split.csv nor mimic-cxr-2.0.0-split.csv.gz"):
        _load(tmp_path)
    build(tmp_path)
    path = tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot read the label file"):
        _load(tmp_path)
    _edit(tmp_path, "negbio", lambda text: text.splitlines()[0] + "\n")
    with pytest.raises(InputError, match="has a header but no rows"):
        _load(tmp_path, labeler="negbio")
    (tmp_path / "mimic-cxr-2.1.0-test-set-labeled.csv").unlink()
    path.unlink()
    build(tmp_path)
    (tmp_path / "mimic-cxr-2.1.0-test-set-labeled.csv").unlink()
    with pytest.raises(InputError, match="neither mimic-cxr-2.1.0-test-set-labeled.csv"):
        _load(tmp_path, test_labels="radiologist")


def test_ids_that_became_floats_are_the_same_ids(tmp_path: Path) -> None:
    plain = _load(build(tmp_path / "plain", packed=False))
    root = build(tmp_path / "floats", packed=False)
    for name, columns in (("split", ["study_id", "subject_id"]), ("chexpert", ["study_id", "subject_id"])):
        file = root / f"mimic-cxr-2.0.0-{name}.csv"
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        table[columns] = table[columns] + ".0"
        table.to_csv(file, index=False)
    found = _load(root)
    assert found.table["group"].tolist() == plain.table["group"].tolist()
    np.testing.assert_array_equal(found.known, plain.known)
    np.testing.assert_array_equal(found.targets, plain.targets)


def test_label_files_of_other_studies_are_refused(tmp_path: Path) -> None:
    root = build(tmp_path, packed=False)
    file = root / "mimic-cxr-2.0.0-chexpert.csv"
    file.write_text(file.read_text().replace(",5000", ",s5000"))
    with pytest.raises(
        InputError, match=r"no study of .* has labels of chexpert: its first study is '50000001', .*'s50000002'"
    ):
        _load(root)
