from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures.datasets.mnist import build

from ltml.data.arrays import array_table
from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.datasets.mnist_multi import compose
from ltml.data.label_codes import one_hot
from ltml.data.table import load_dataset
from ltml.errors import InputError

DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def _load(name: str, root: Path | None, seed: int = 0, options: dict | None = None, **more: object) -> Dataset:
    context = DataContext(root=root, size=28, channels=1, ratio=(7, 1, 2), seed=seed, **more)
    return load_dataset(name, context, **(options or {}))


def _greys(dataset: Dataset, split: str) -> np.ndarray:
    return np.array([dataset.images.read(int(row))[14, 3, 0] for row in dataset.splits[split]])


def test_mnist_has_the_official_test_part(tmp_path: Path) -> None:
    dataset = _load("mnist", build(tmp_path))
    assert dataset.label_names == DIGITS
    assert dataset.known.all()
    assert (dataset.targets.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(_greys(dataset, "test"), 2 * np.arange(40) + 1)
    np.testing.assert_array_equal(dataset.targets[dataset.splits["test"]].argmax(axis=1), np.arange(40) % 10)
    assert (_greys(dataset, "val") % 2 == 0).all()  # out of the training part
    assert 5 <= len(dataset.splits["val"]) <= 10
    train = np.concatenate([dataset.splits["train"], dataset.splits["val"]])
    np.testing.assert_array_equal(np.sort(train), np.arange(60))
    assert dataset.targets[13].argmax() == 3
    assert dataset.table["id"].iloc[[0, 60]].tolist() == ["train-000000", "test-000000"]
    assert dataset.images.read(0).shape == (28, 28, 1)


def test_pairs_are_made_of_the_test_part_alone(tmp_path: Path) -> None:
    dataset = _load("mnist_multi", build(tmp_path), options={"test_size": 200})
    assert {split: len(rows) for split, rows in dataset.splits.items() if split != "val"}["test"] == 200
    assert len(dataset.splits["train"]) + len(dataset.splits["val"]) == 60
    assert (dataset.targets[:60].sum(axis=1) == 1).all()
    assert (_greys(dataset, "train") % 2 == 0).all()
    numbers = dataset.targets[dataset.splits["test"]].sum(axis=1)
    assert set(numbers) == {1, 2}
    for row in dataset.splits["test"]:
        pixels = dataset.images.read(int(row))[..., 0]
        assert pixels.shape == (28, 28)
        left, right = int(pixels[0, 0]), int(pixels[0, 27])
        assert (pixels[:, :14] == left).all()
        assert (pixels[:, 14:] == right).all()
        assert left != right  # never a scan beside itself
        assert left % 2 == right % 2 == 1
        digits = {(left - 1) // 2 % 10, (right - 1) // 2 % 10}
        assert set(np.flatnonzero(dataset.targets[row])) == digits


def test_pairs_follow_the_split_seed(tmp_path: Path) -> None:
    build(tmp_path)
    first, again, other = (_load("mnist_multi", tmp_path, seed, {"test_size": 30}) for seed in (0, 0, 1))
    assert first.fingerprint() == again.fingerprint()
    np.testing.assert_array_equal(_greys(first, "test"), _greys(again, "test"))
    assert not np.array_equal(_greys(first, "test"), _greys(other, "test"))


def test_each_digit_is_squeezed_to_half_its_width() -> None:
    ramp = np.tile(np.arange(0, 252, 9, dtype=np.uint8), (28, 1))
    scans = np.stack([ramp, ramp.T])
    pixels, codes = compose(scans, one_hot(np.array([3, 5]), 10), 8, np.random.default_rng(0))
    assert pixels.shape == (8, 28, 28)
    assert pixels.dtype == np.uint8
    assert codes.dtype == np.int8
    assert (codes.sum(axis=1) == 2).all()
    halves = [pixels[0][:, :14], pixels[0][:, 14:]]
    flat = next(half for half in halves if (half[0] == half[-1]).all())  # the ramp from left to right
    assert flat[0, 0] < 15
    assert flat[0, 13] > 235
    assert (np.diff(flat[0].astype(int)) > 0).all()
    upright = next(half for half in halves if (half[:, :1] == half).all())
    np.testing.assert_array_equal(upright[:, 0], ramp[0])  # its height is as it was


@pytest.mark.parametrize("more", [{"given_split": False}, {"split_file": Path("split.csv")}])
def test_pairs_have_no_other_split(tmp_path: Path, more: dict) -> None:
    with pytest.raises(InputError, match=r"leave data\.split\.use and data\.split\.file as they are"):
        _load("mnist_multi", build(tmp_path), **more)


@pytest.mark.parametrize("name", ["mnist", "mnist_multi"])
def test_missing_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"add data\.root"):
        _load(name, None)
    with pytest.raises(InputError, match=r"does not hold mnist.*as torchvision.*MNIST.*data\.download=true"):
        _load(name, tmp_path)
    build(tmp_path)
    labels = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-3])
    with pytest.raises(InputError, match="does not hold mnist"):
        _load(name, tmp_path)
    labels.write_bytes(whole[:-1] + b"\x0b")
    with pytest.raises(InputError, match="train, row 59: class 11; allowed: 0 to 9"):
        _load(name, tmp_path)


def test_download_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST.download", _no_network)
    with pytest.raises(InputError, match="Check the network"):
        _load("mnist", tmp_path, options={"download": True})
    monkeypatch.setattr("torchvision.datasets.MNIST.download", lambda self: self.train and build(Path(self.root)))
    assert len(_load("mnist", tmp_path, options={"download": True}).table) == 100


def _no_network(self: object) -> None:
    raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried one mirror")


def test_images_and_labels_must_be_as_many(tmp_path: Path) -> None:
    images = np.zeros((3, 4, 4), dtype=np.uint8)
    with pytest.raises(InputError, match="train has 3 images but labels for 2"):
        array_table("made", ("a", "b"), {"train": (images, np.zeros((2, 2), dtype=np.int8))}, tmp_path)
