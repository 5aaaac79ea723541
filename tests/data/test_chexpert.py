from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fixtures.datasets.chexpert import build

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.faults import Faults
from ltml.data.table import load_dataset
from ltml.errors import InputError

FRONTAL_2 = "train/patient00002/study1/view1_frontal.jpg"  # cells of CELLS[2]
FRONTAL_1 = "train/patient00001/study1/view1_frontal.jpg"  # cells of CELLS[1]


def _load(root: Path, seed: int = 0, faults: Faults | None = None, **options: object) -> Dataset:
    context = DataContext(root=root, size=16, channels=1, ratio=(7, 1, 2), seed=seed, faults=faults or Faults())
    return load_dataset("chexpert", context, **options)


def _labels(dataset: Dataset, name: str) -> tuple[set[str], set[str]]:
    """Positive and unknown labels of an image."""
    row = dataset.table.index[dataset.table["id"] == name][0]
    names = list(dataset.label_names)
    positive = {n for n, y in zip(names, dataset.targets[row], strict=True) if y}
    return positive, {n for n, known in zip(names, dataset.known[row], strict=True) if not known}


@pytest.mark.parametrize("prefix", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
@pytest.mark.parametrize("folder", ["CheXpert-v1.0-small", "CheXpert-v1.0", ""])
def test_the_root_may_hold_the_folder_or_be_it(tmp_path: Path, prefix: str, folder: str) -> None:
    build(tmp_path, prefix=prefix, folder=folder)
    for root in {tmp_path, tmp_path / folder}:
        dataset = _load(root)
        assert len(dataset.table) == 52
        assert dataset.table["id"].iloc[0] == FRONTAL_1
        assert dataset.images.read(0).shape == (16, 16, 1)


def test_label_files_may_lie_beside_the_folder_of_the_images(tmp_path: Path) -> None:
    build(tmp_path)
    for name in ("train.csv", "valid.csv"):
        (tmp_path / "CheXpert-v1.0-small" / name).rename(tmp_path / name)
    assert len(_load(tmp_path).table) == 52


def test_labels_views_and_patients(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path))
    assert len(dataset.label_names) == 14
    assert dataset.label_names[0] == "No Finding"
    assert dataset.label_names[10] == "Pleural Effusion"
    rows = dataset.table.set_index("id")
    assert rows.loc[FRONTAL_2, ["group", "source", "line", "view", "age", "sex"]].tolist() == [
        "patient00002",
        "chexpert",
        4,
        "Frontal AP",
        "42",
        "Female",
    ]
    assert rows.loc[FRONTAL_2, "image"] == f"CheXpert-v1.0-small/{FRONTAL_2}"
    assert rows.loc[FRONTAL_2.replace("view1_frontal", "view2_lateral"), "view"] == "Lateral"
    assert rows.loc[FRONTAL_1, "view"] == "Frontal PA"
    assert (rows["sex"] == "Unknown").sum() == 2
    assert (rows["age"] == "0").sum() == 6


@pytest.mark.parametrize(
    ("uncertain", "positive", "unknown"),
    [
        ("ones", {"Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion"}, set()),
        ("zeros", set(), set()),
        ("mixed", {"Edema", "Atelectasis"}, set()),
        ("ignore", set(), {"Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion"}),
    ],
)
def test_uncertain_labels(tmp_path: Path, uncertain: str, positive: set, unknown: set) -> None:
    dataset = _load(build(tmp_path), uncertain=uncertain)
    assert _labels(dataset, FRONTAL_1) == (positive | {"Lung Opacity", "Fracture"}, unknown)


def test_blank_labels(tmp_path: Path) -> None:
    build(tmp_path)
    certain = {"Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Lesion", "Edema", "Pneumonia", "Pneumothorax"}
    certain |= {"Pleural Other"}
    assert _labels(_load(tmp_path), FRONTAL_2) == (certain, set())
    dataset = _load(tmp_path, blank="unknown")
    assert _labels(dataset, FRONTAL_2) == (certain, set(dataset.label_names) - certain)
    patient = "train/patient00003/study1/view1_frontal.jpg"  # two labels are 0.0
    assert not {"Enlarged Cardiomediastinum", "Edema"} & set.union(*_labels(dataset, patient))


def test_without_no_finding(tmp_path: Path) -> None:
    build(tmp_path)
    whole, dataset = _load(tmp_path), _load(tmp_path, no_finding=False)
    assert dataset.label_names == whole.label_names[1:]
    assert (dataset.targets == whole.targets[:, 1:]).all()


@pytest.mark.parametrize(("films", "kept", "left"), [("frontal", 28, 24), ("lateral", 24, 28)])
def test_views_left_out_are_counted(tmp_path: Path, films: str, kept: int, left: int) -> None:
    build(tmp_path)
    if films == "lateral":  # valid.csv has none in the tree
        _edit(tmp_path, "valid.csv", "Frontal,AP", "Lateral,")
        kept, left = 25, 27
    dataset = _load(tmp_path, films=films)
    assert len(dataset.table) == kept
    assert dataset.table["view"].str.startswith(films.capitalize()).all()
    assert dict(dataset.left_out) == {f"other views than {films}": left}


def test_valid_is_the_test_set_and_val_is_taken_out_of_train(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path))
    assert dataset.table["id"].iloc[dataset.splits["test"]].str.startswith("valid/").all()
    assert len(dataset.splits["test"]) == 4
    assert len(dataset.splits["train"]) + len(dataset.splits["val"]) == 48
    groups = [set(dataset.table["group"].iloc[rows]) for rows in dataset.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 28  # no patient in two splits


@pytest.mark.parametrize("name", ["test_labels.csv", "test.csv"])
def test_with_the_test_labels_valid_is_val(tmp_path: Path, name: str) -> None:
    dataset = _load(build(tmp_path, test_file=name))
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 48, "val": 4, "test": 3}
    assert dataset.table["id"].iloc[dataset.splits["val"]].str.startswith("valid/").all()
    test = dataset.table.iloc[dataset.splits["test"]]
    assert test["group"].tolist() == ["patient64741", "patient64742", "patient64743"]
    assert test["view"].tolist() == ["Frontal"] * 3
    assert test["sex"].tolist() == [""] * 3


def _edit(root: Path, file: str, old: str, new: str) -> None:
    path = root / "CheXpert-v1.0-small" / file
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("train.csv", "PA,,,-1.0", "PA,,,-2", "train.csv, line 2, column 'Cardiomegaly': label value '-2'; allowed"),
        ("train.csv", "Fracture", "Fractures", "train.csv has no column Fracture"),
        ("valid.csv", "Sex", "Gender", "valid.csv has no column Sex"),
        ("train.csv", "patient00002/study1/view1", "patient00001/study1/view1", r"on line \d+ already"),
        ("train.csv", "patient00002", "person2", "line 4: Path 'CheXpert-v1.0-small/train/person2"),
        ("valid.csv", "valid/patient00025", "train/patient00001", "another split's label file lists it as well"),
    ],
)
def test_faults_are_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    _edit(build(tmp_path), file, old, new)
    with pytest.raises(InputError, match=message):
        _load(tmp_path)


def test_faults_are_collected(tmp_path: Path) -> None:
    build(tmp_path)
    _edit(tmp_path, "train.csv", "PA,,,-1.0", "PA,,,-2")
    _edit(tmp_path, "train.csv", "patient00002", "person2")
    _edit(tmp_path, "train.csv", "patient00005/study1/view1", "patient00004/study1/view1")
    _edit(tmp_path, "valid.csv", "valid/patient00025", "train/patient00001")
    faults = Faults(collect=True)
    dataset = _load(tmp_path, faults=faults)
    kinds = {"unknown label value", "path without a patient", "listed twice", "image in two splits"}
    assert {fault.kind for fault in faults.found} == kinds
    assert len(dataset.table) == 49
    assert _labels(dataset, FRONTAL_1)[1] == {"Cardiomegaly"}


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no train.csv"):
        _load(tmp_path)
    build(tmp_path)
    build(tmp_path, folder="CheXpert-v1.0")
    with pytest.raises(InputError, match="give one of them"):
        _load(tmp_path)


def test_the_recipe_runs_on_a_tree_in_the_official_layout(cli, tmp_path: Path) -> None:
    small = ["data.image_size=32", "data.resize=32", "train.epochs=1"]
    small += ["backbone={name: resnet18, pretrained: false}"]
    root = f"data.root={build(tmp_path / 'data')}"
    result = cli("stage1", "chexpert", root, *small, "--out", str(tmp_path / "runs"))
    assert result.exit_code == 0, result.stderr
    assert "Pleural Effusion" in result.stdout


def test_the_batches_of_the_full_release_are_read(tmp_path: Path) -> None:
    plain = build(tmp_path / "plain", prefix="CheXpert-v1.0", folder="")
    root = tmp_path / "batches"
    names = ("1 (validate & csv)", "2 (train 1)", "3 (train 2)")
    first, second, third = (root / f"CheXpert-v1.0 batch {name}" for name in names)
    shutil.copytree(plain, first)
    for number, patient in enumerate(sorted((first / "train").iterdir())):
        shutil.move(patient, (second if number < 10 else third) / patient.name)
    (first / "train").rmdir()
    expected, found = _load(plain), _load(root)
    assert found.table["id"].tolist() == expected.table["id"].tolist()
    for row in range(len(found.table)):
        (ours,), (theirs,) = found.images.files(row), expected.images.files(row)
        assert ours.read_bytes() == theirs.read_bytes()
    with pytest.raises(InputError, match="is one batch of CheXpert; give the folder that holds all batches"):
        _load(first)
