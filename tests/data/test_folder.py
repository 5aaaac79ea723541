from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.table import load_dataset
from ltml.errors import InputError


def _load(root: Path | None) -> Dataset:
    return load_dataset("folder", DataContext(root=root, size=16, channels=3, ratio=(7, 1, 2), seed=0))


def _fill(folder: Path, count: int, shade: int = 0) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        ending = ("png", "JPG", "jpeg", "bmp", "tif")[number % 5]
        Image.new("RGB", (9, 7), (10 * number, shade, 0)).save(folder / f"{number}.{ending}")


def _classes(root: Path) -> Path:
    for shade, name in enumerate(("owl", "cat", "dog")):
        _fill(root / name, 10, 40 * shade)
    return root


def _splits(root: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    for shade, split in enumerate(splits):
        for name in ("owl", "cat"):
            _fill(root / split / name, 6, 40 * shade)
    return root


def test_one_folder_per_class(tmp_path: Path) -> None:
    dataset = _load(_classes(tmp_path / "birds"))
    assert dataset.name == "birds"
    assert dataset.label_names == ("cat", "dog", "owl")
    assert len(dataset.table) == 30
    assert dataset.known.all()
    assert (dataset.targets.sum(axis=1) == 1).all()
    row = dataset.table.index[dataset.table["id"] == "owl/3.bmp"][0]
    assert dataset.targets[row].tolist() == [0, 0, 1]
    assert dataset.table.loc[row, ["group", "source", "image"]].tolist() == ["owl/3.bmp", "birds", "owl/3.bmp"]
    assert dataset.images.read(int(row))[0, 0].tolist() == [30, 0, 0]
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 21, "val": 3, "test": 6}
    assert not dataset.left_out


def test_one_folder_per_split(tmp_path: Path) -> None:
    _splits(tmp_path)
    _fill(tmp_path / "train" / "bat", 3)  # a class need not be in every split
    dataset = _load(tmp_path)
    assert dataset.label_names == ("bat", "cat", "owl")
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 15, "val": 12, "test": 12}
    for split, rows in dataset.splits.items():
        assert all(dataset.table["id"].iloc[row].startswith(f"{split}/") for row in rows)


def test_validation_comes_out_of_train(tmp_path: Path) -> None:
    dataset = _load(_splits(tmp_path, ("train", "test")))
    assert len(dataset.splits["test"]) == 12
    assert len(dataset.splits["train"]) + len(dataset.splits["val"]) == 12
    assert len(dataset.splits["val"]) in (1, 2)


def test_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    _classes(tmp_path)
    (tmp_path / "README.txt").write_text("birds")
    (tmp_path / "cat" / "notes.csv").write_text("a")
    (tmp_path / "cat" / "._1.png").write_text("a")
    _fill(tmp_path / "dog" / "old", 2)
    _fill(tmp_path / ".thumbs", 1)
    (tmp_path / "dog" / "x.png").mkdir()
    dataset = _load(tmp_path)
    assert dataset.left_out == {"file that is no image in a class's folder": 6}
    assert len(dataset.table) == 30
    assert dataset.label_names == ("cat", "dog", "owl")


def test_dicom_files_are_images(tmp_path: Path) -> None:
    _classes(tmp_path)
    (tmp_path / "cat" / "scan.DCM").write_bytes(b"x")
    assert "cat/scan.DCM" in set(_load(tmp_path).table["id"])


def test_dicom_files_of_any_name_are_images_and_other_files_are_not(tmp_path: Path) -> None:
    _classes(tmp_path)
    for name in ("1.2.826.0.1.3680043.8.498", "IM0001", "scan.IMA", "film.img"):
        (tmp_path / "cat" / name).write_bytes(bytes(128) + b"DICM")
    (tmp_path / "dog" / "disk.img").write_bytes(bytes(200))
    dataset = _load(tmp_path)
    assert {name.partition("/")[2] for name in dataset.table["id"] if name.startswith("cat/")} >= {
        "1.2.826.0.1.3680043.8.498", "IM0001", "scan.IMA", "film.img",
    }  # fmt: skip
    assert dataset.left_out == {"file that is no image in a class's folder": 1}


def test_folders_of_wrong_form_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"add data\.root"):
        _load(None)
    with pytest.raises(InputError, match=r"has 0 class folder\(s\) \(none\); it needs two or more"):
        _load(tmp_path)
    _fill(tmp_path / "cat", 5)
    with pytest.raises(InputError, match=r"has 1 class folder\(s\) \(cat\)"):
        _load(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(InputError, match=r"class folder\(s\) dog hold no image directly; classes are cat, dog"):
        _load(tmp_path)


def test_splits_beside_another_folder_are_no_classes(tmp_path: Path) -> None:
    _splits(tmp_path)
    (tmp_path / "unlabelled").mkdir()
    with pytest.raises(InputError, match=r"test, train, unlabelled, val hold no image directly.*only if all are"):
        _load(tmp_path)


def test_train_without_test_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no images for test"):
        _load(_splits(tmp_path, ("train", "val")))
