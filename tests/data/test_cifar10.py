from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures.datasets.cifar10 import NAMES, build

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.table import load_dataset
from ltml.errors import InputError


def _load(root: Path | None) -> Dataset:
    return load_dataset("cifar10", DataContext(root=root, size=32, channels=3, ratio=(7, 1, 2), seed=0))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    hashes = build(tmp_path)
    cifar = "torchvision.datasets.CIFAR10"
    train = [[name, value] for name, value in hashes.items() if name.startswith("data_batch")]
    monkeypatch.setattr(f"{cifar}.train_list", train)
    monkeypatch.setattr(f"{cifar}.test_list", [["test_batch", hashes["test_batch"]]])
    monkeypatch.setattr(
        f"{cifar}.meta", {"filename": "batches.meta", "key": "label_names", "md5": hashes["batches.meta"]}
    )
    return tmp_path


def test_the_official_test_part(root: Path) -> None:
    dataset = _load(root)
    assert dataset.label_names == NAMES
    assert len(dataset.table) == 60
    np.testing.assert_array_equal(dataset.splits["test"], np.arange(50, 60))
    train = np.concatenate([dataset.splits["train"], dataset.splits["val"]])
    np.testing.assert_array_equal(np.sort(train), np.arange(50))
    assert 4 <= len(dataset.splits["val"]) <= 9
    assert (dataset.targets.sum(axis=1) == 1).all()
    assert dataset.known.all()
    assert dataset.targets[50:].argmax(axis=1).tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    assert dataset.targets[23].argmax() == 5  # batch 3, number 3
    pixels = dataset.images.read(23)
    assert pixels.shape == (32, 32, 3)
    assert pixels[0, 5].tolist() == [3, 2, 9]
    assert pixels[5, 0].tolist() == [3, 2, 0]
    assert dataset.table["id"].iloc[[0, 50]].tolist() == ["train-000000", "test-000000"]


def test_missing_and_damaged_files_are_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"add data\.root"):
        _load(None)
    batch = root / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(batch.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"does not hold cifar10 as torchvision.*CIFAR10.*data\.download=true"):
        _load(root)
