from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.faults import Faults
from ltml.data.table import load_dataset
from ltml.errors import InputError

NAMES = np.array(["cat", "dog", "owl"])


def _targets(count: int) -> np.ndarray:
    targets = (np.arange(count)[:, None] % np.array([2, 3, 5]) == 0).astype(np.float32)
    targets[::4, 2] = np.nan
    return targets


def _pixels(count: int, start: int = 0, shape: tuple[int, ...] = (12, 10)) -> np.ndarray:
    greys = np.arange(start, start + count, dtype=np.uint8).reshape(-1, *[1] * len(shape))
    return np.broadcast_to(greys, (count, *shape))


def _all(count: int = 40) -> dict[str, Any]:
    return {"images": _pixels(count), "targets": _targets(count), "label_names": NAMES}


def _by_split() -> dict[str, Any]:
    arrays: dict[str, Any] = {"label_names": NAMES}
    for split, count, start in (("train", 20, 0), ("val", 6, 100), ("test", 8, 200)):
        arrays |= {f"{split}_images": _pixels(count, start), f"{split}_targets": _targets(count)}
    return arrays


def _load(root: Path, arrays: dict[str, Any], faults: Faults | None = None) -> Dataset:
    file = root / "mine.npz"
    np.savez_compressed(file, **{name: array for name, array in arrays.items() if array is not None})
    context = DataContext(root=None, size=12, channels=1, ratio=(7, 1, 2), seed=0, faults=faults or Faults())
    return load_dataset("npz", context, file=file)


def test_all_rows_together(tmp_path: Path) -> None:
    dataset = _load(tmp_path, _all())
    assert dataset.name == "mine"
    assert dataset.label_names == ("cat", "dog", "owl")
    np.testing.assert_array_equal(dataset.targets[:6], np.nan_to_num(_targets(6)))
    np.testing.assert_array_equal(dataset.known, ~np.isnan(_targets(40)))
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 28, "val": 4, "test": 8}
    assert dataset.table.iloc[3].tolist() == ["000003", "000003", "mine", 4]
    pixels = dataset.images.read(7)
    assert pixels.shape == (12, 12, 1)
    assert (pixels == 7).all()


def test_optional_columns(tmp_path: Path) -> None:
    split = np.repeat(["train", "val", "test"], [20, 8, 12])
    more = {"ids": np.array([f"i{i}" for i in range(40)]), "groups": np.arange(40) // 2, "split": split}
    dataset = _load(tmp_path, _all() | more | {"source": np.repeat(["a", "b"], 20)})
    assert dataset.table.iloc[21].tolist() == ["i21", "10", "b", 22]
    np.testing.assert_array_equal(dataset.splits["val"], np.arange(20, 28))
    two = _load(tmp_path, _all() | more | {"split": np.repeat(["train", "test"], [28, 12])})
    np.testing.assert_array_equal(two.splits["test"], np.arange(28, 40))
    assert len(two.splits["val"]) == 4  # out of train
    assert len(two.splits["train"]) == 24


def test_arrays_by_split(tmp_path: Path) -> None:
    groups = {"train_groups": np.arange(100, 120), "val_groups": np.arange(50, 56), "test_groups": np.arange(8) // 4}
    arrays = _by_split() | {"val_ids": np.array(list("abcdef"))} | groups
    dataset = _load(tmp_path, arrays)
    assert {split: rows.tolist() for split, rows in dataset.splits.items()} == {
        "train": list(range(20)),
        "val": list(range(20, 26)),
        "test": list(range(26, 34)),
    }
    assert dataset.table["id"].iloc[[0, 19, 20, 26]].tolist() == ["train-000000", "train-000019", "a", "test-000000"]
    assert dataset.table["group"].iloc[[20, 26, 30]].tolist() == ["50", "0", "1"]
    assert [int(dataset.images.read(row)[0, 0, 0]) for row in (0, 20, 26)] == [0, 100, 200]
    without = {name: array for name, array in _by_split().items() if not name.startswith("val")}
    assert len(_load(tmp_path, without).splits["val"]) in (2, 3)


@pytest.mark.parametrize(("shape", "kind"), [((12, 10, 1), bool), ((12, 10, 3), np.int64), ((12, 10), np.uint8)])
def test_shapes_and_types(tmp_path: Path, shape: tuple[int, ...], kind: type) -> None:
    targets = np.nan_to_num(_targets(40)).astype(kind)
    dataset = _load(tmp_path, _all() | {"images": _pixels(40, 0, shape), "targets": targets})
    assert dataset.known.all()
    np.testing.assert_array_equal(dataset.targets, targets)
    assert dataset.images.read(39).shape == (12, 12, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": None}, "has no array images; it holds targets, label_names"),
        ({"label_names": None}, "has no array label_names"),
        ({"group": np.arange(40)}, "array 'group' that is not known: did you mean 'groups'"),
        ({"train_images": _pixels(40)}, "has no array train_targets"),
        ({"images": _pixels(40).astype(float)}, "'images' is float64 of shape"),
        ({"images": _pixels(40, 0, (12, 10, 4))}, r"'images' is uint8 of shape \(40, 12, 10, 4\)"),
        ({"images": _pixels(0)}, r"'images' is uint8 of shape \(0, 12, 10\)"),
        ({"targets": _targets(39)}, r"'targets' is float32 of shape \(39, 3\); it must be numbers of shape \(40, 3\)"),
        ({"targets": _targets(40).astype(str)}, "'targets' is <U"),
        ({"label_names": NAMES[:2]}, r"of shape \(40, 2\)"),
        ({"label_names": np.array(["a", "b", "a"])}, "holds a name twice"),
        ({"label_names": np.arange(3)}, "label_names is int64"),
        ({"ids": np.arange(40) / 2}, "'ids' is float64"),
        ({"ids": np.array(["x"] * 40)}, r"'x': it is on line \d+ already"),
        ({"ids": np.array([""] + ["x"] * 39)}, "'ids' is empty in row 1"),
        ({"groups": np.arange(39)}, r"'groups' is int64 of shape \(39,\)"),
        ({"split": np.array(["train"] * 39 + ["dev"])}, "line 40: split is 'dev'; allowed: train, val, test"),
        ({"targets": np.array([[{}] * 3] * 40)}, "cannot read .*plain arrays"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _load(tmp_path, _all() | changed)


def test_arrays_by_split_must_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"images differ in shape: train_images \(12, 10\), val_images \(8, 8\)"):
        _load(tmp_path, _by_split() | {"val_images": _pixels(6, 0, (8, 8))})
    with pytest.raises(InputError, match="has groups for test_ only; give them for every split, or for none"):
        _load(tmp_path, _by_split() | {"test_groups": np.arange(8)})
    with pytest.raises(InputError, match="array 'split' that is not known"):
        _load(tmp_path, _by_split() | {"split": np.array(["train"] * 34)})


def test_wrong_targets_are_faults(tmp_path: Path) -> None:
    targets = _targets(40)
    targets[3, 1], targets[5, 0] = 2, -1
    with pytest.raises(
        InputError, match=r"2 × unknown label value, the first: .*row 4, label 'dog': target 2.0; allowed: 0, 1, NaN"
    ):
        _load(tmp_path, _all() | {"targets": targets})
    faults = Faults(collect=True)
    dataset = _load(tmp_path, _all() | {"targets": targets}, faults)
    assert [fault.kind for fault in faults.found] == ["unknown label value"] * 2
    assert not dataset.known[3, 1]
    assert not dataset.known[5, 0]
    assert dataset.known.sum() == 120 - 10 - 2


def test_the_file_is_named(tmp_path: Path) -> None:
    context = DataContext(root=None, size=12, channels=1, ratio=(7, 1, 2), seed=0)
    with pytest.raises(InputError, match=r"needs data\.file: add data\.file=images\.npz"):
        load_dataset("npz", context)
    with pytest.raises(InputError, match="there is no file"):
        load_dataset("npz", context, file=tmp_path / "none.npz")
    np.save(tmp_path / "one.npy", _pixels(4))
    with pytest.raises(InputError, match="is not an .npz file"):
        load_dataset("npz", context, file=tmp_path / "one.npy")
