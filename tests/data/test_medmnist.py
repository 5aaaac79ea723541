from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fixtures.datasets.medmnist import build

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.faults import Faults
from ltml.data.table import load_dataset
from ltml.errors import InputError


def _load(root: Path | None, flag: str, size: int = 28, channels: int = 1, **options: object) -> Dataset:
    faults = options.pop("faults", Faults())
    context = DataContext(root=root, size=size, channels=channels, ratio=(7, 1, 2), seed=0, faults=faults)
    return load_dataset("medmnist", context, flag=flag, **options)


@pytest.mark.parametrize(
    ("flag", "first", "last", "count", "channels"),
    [
        ("dermamnist", "actinic keratoses and intraepithelial carcinoma", "vascular lesions", 7, 3),
        ("tissuemnist", "Collecting Duct, Connecting Tubule", "Thick Ascending Limb", 8, 1),
        ("organamnist", "bladder", "spleen", 11, 1),
        ("retinamnist", "0", "4", 5, 3),
    ],
)
def test_single_label_sets(tmp_path: Path, flag: str, first: str, last: str, count: int, channels: int) -> None:
    dataset = _load(build(tmp_path, flag), flag, channels=channels)
    assert dataset.name == flag
    assert len(dataset.label_names) == count
    assert (dataset.label_names[0], dataset.label_names[-1]) == (first, last)
    assert dataset.known.all()
    assert (dataset.targets.sum(axis=1) == 1).all()
    for split, number in {"train": 0, "val": 1, "test": 2}.items():
        rows = dataset.splits[split]
        assert [dataset.targets[row].argmax() for row in rows] == [i % count for i in range(len(rows))]
        for i in (0, 10):
            pixels = dataset.images.read(int(rows[i]))
            assert pixels.shape == (28, 28, channels)
            assert pixels[0, :3, 0].tolist() == [number, i, 28]
    ids = dataset.table["id"].tolist()
    assert [ids[0], ids[24], ids[49]] == ["train-000000", "val-000000", "test-000013"]
    assert dataset.table["group"].tolist() == ids
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 24, "val": 12, "test": 14}


def test_chestmnist_has_several_labels_per_image(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path, "chestmnist"), "chestmnist")
    assert dataset.label_names[0] == "atelectasis"
    assert dataset.label_names[12:] == ("pleural", "hernia")
    assert np.flatnonzero(dataset.targets[1]).tolist() == [4, 9]
    assert dataset.known.all()


@pytest.mark.parametrize(
    ("sides", "size", "chosen"),
    [
        ((28, 64, 128, 224), 28, 28),
        ((28, 64, 128, 224), 29, 64),
        ((28, 64, 128, 224), 64, 64),
        ((28, 128), 64, 128),
        ((28, 64), 100, 64),
        ((64, 128), 28, 64),
        ((224,), 28, 224),
    ],
)
def test_the_file_that_suits_the_size(tmp_path: Path, sides: tuple[int, ...], size: int, chosen: int) -> None:
    for side in sides:
        build(tmp_path, "tissuemnist", side=side, scale=4)
    name = "tissuemnist.npz" if chosen == 28 else f"tissuemnist_{chosen}.npz"
    named = _load(None, "tissuemnist", size=size, file=tmp_path / name)
    found = _load(tmp_path, "tissuemnist", size=size)
    assert found.images.read(0).shape == (size, size, 1)
    np.testing.assert_array_equal(found.images.read(0), named.images.read(0))
    assert _load(None, "tissuemnist", size=chosen // 4, file=tmp_path / name).images.read(0)[0, 2, 0] == chosen


@pytest.mark.parametrize(
    ("flag", "changed", "message"),
    [
        ("dermamnist", {"val_labels": None}, "has no array val_labels; it holds train_images"),
        ("dermamnist", {"test_images": None, "test_labels": None}, "has no array test_images, test_labels"),
        ("dermamnist", {"val_labels": np.full((12, 14), 0)}, r"'val_labels' is int64 of shape \(12, 14\).*\(12, 1\)"),
        ("dermamnist", {"val_labels": np.full((11, 1), 0)}, r"'val_labels' is int64 of shape \(11, 1\)"),
        ("chestmnist", {"val_labels": np.full((12, 1), 0)}, r"chestmnist has whole numbers of shape \(12, 14\)"),
        ("chestmnist", {"val_labels": np.full((12, 14), 0.5)}, "'val_labels' is float64"),
        ("dermamnist", {"val_images": np.zeros((12, 28, 28), np.float32)}, "'val_images' is float32"),
        ("dermamnist", {"val_images": np.zeros((12, 28, 28, 2), np.uint8)}, r"'val_images' is uint8 of shape \(12,"),
        ("dermamnist", {"val_images": np.zeros((12, 64, 64, 3), np.uint8)}, "images differ in shape"),
        ("dermamnist", {"val_labels": np.array([[{}]] * 12)}, "cannot read .*plain arrays of numbers"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, flag: str, changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _load(build(tmp_path, flag, **changed), flag)


@pytest.mark.parametrize(
    ("flag", "labels", "message"),
    [
        ("dermamnist", np.eye(12, 1, dtype=int) * 7, "dermamnist.npz, val_labels, row 0: class 7; allowed: 0 to 6"),
        ("dermamnist", np.eye(12, 1, dtype=int) * -1, "row 0: class -1; allowed: 0 to 6"),
        ("chestmnist", np.eye(12, 14, k=2, dtype=int)[::-1] * 2, "row 0, label 'hernia': label value 2; allowed: 0, 1"),
    ],
)
def test_labels_outside_the_range_are_named(tmp_path: Path, flag: str, labels: np.ndarray, message: str) -> None:
    build(tmp_path, flag, val_labels=labels)
    with pytest.raises(InputError, match=message):
        _load(tmp_path, flag)
    faults = Faults(collect=True)
    dataset = _load(tmp_path, flag, faults=faults)
    assert {fault.kind for fault in faults.found} == {"unknown label value"}
    unknown = np.argwhere(~dataset.known[dataset.splits["val"]])
    assert len(faults.found) == (len(unknown) if flag == "chestmnist" else 1)
    assert unknown[0].tolist() == ([0, 13] if flag == "chestmnist" else [0, 0])


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"add data\.root"):
        _load(None, "dermamnist")
    with pytest.raises(
        InputError, match=r"no dermamnist\.npz .*download dermamnist_64\.npz from https.*data\.download=true"
    ):
        _load(tmp_path, "dermamnist", size=64)
    with pytest.raises(InputError, match="there is no file"):
        _load(tmp_path, "dermamnist", file=tmp_path / "none.npz")
    (tmp_path / "dermamnist.npz").write_text("no archive")
    with pytest.raises(InputError, match="is not an .npz file"):
        _load(tmp_path, "dermamnist")


def test_download_asks_the_package_for_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(InputError, match="pip install 'medmnist>=3'"):
        _load(tmp_path, "organamnist", download=True)

    def fetch(*, split: str, download: bool, root: str, size: int) -> None:
        assert download
        build(Path(root), "organamnist", side=size)

    monkeypatch.setitem(sys.modules, "medmnist", SimpleNamespace(OrganAMNIST=fetch))
    dataset = _load(tmp_path, "organamnist", size=60, download=True)
    assert (tmp_path / "organamnist_64.npz").is_file()
    assert len(dataset.table) == 50

    def fail(**_: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setitem(sys.modules, "medmnist", SimpleNamespace(OrganAMNIST=fail))
    assert len(_load(tmp_path, "organamnist", download=True).table) == 50  # it is there already
    (tmp_path / "organamnist_64.npz").unlink()
    with pytest.raises(InputError, match="cannot download organamnist: no network"):
        _load(tmp_path, "organamnist", download=True)
