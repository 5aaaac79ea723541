from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures.datasets.nih import build

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.table import load_dataset
from ltml.errors import InputError


def _load(root: Path, seed: int = 0, **options: object) -> Dataset:
    return load_dataset("nih", DataContext(root=root, size=16, channels=1, ratio=(7, 1, 2), seed=seed), **options)


@pytest.mark.parametrize("quirks", [{}, {"comma": True}, {"folders": True}, {"sex": "Sex"}])
def test_labels_and_the_official_split(tmp_path: Path, quirks: dict) -> None:
    dataset = _load(build(tmp_path, **quirks))
    assert len(dataset.label_names) == 14
    assert dataset.known.all()
    row = dataset.table.index[dataset.table["id"] == "00000001_001.png"][0]
    assert [n for n, y in zip(dataset.label_names, dataset.targets[row], strict=True) if y] == ["Effusion", "Hernia"]
    assert dataset.targets[dataset.table["id"] == "00000001_000.png"].sum() == 0
    assert dataset.table["age"].iloc[0] == "20"
    assert dataset.table["sex"].iloc[0] == "M"
    sizes = {split: len(rows) for split, rows in dataset.splits.items()}
    assert sizes["test"] == 10
    assert sizes["train"] + sizes["val"] == 30
    assert 2 <= sizes["val"] <= 6
    groups = [set(dataset.table["group"].iloc[rows]) for rows in dataset.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20  # no patient in two splits
    assert dataset.images.read(int(row)).shape == (16, 16, 1)


def test_validation_follows_the_split_seed(tmp_path: Path) -> None:
    build(tmp_path)
    first, again, other = (_load(tmp_path, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.splits["val"], again.splits["val"])
    assert not np.array_equal(first.splits["val"], other.splits["val"])


def test_other_lists(tmp_path: Path) -> None:
    build(tmp_path)
    lists = tmp_path / "chexnet"
    lists.mkdir()
    for split, patients in {"train": range(1, 11), "val": range(11, 13), "test": range(13, 16)}.items():
        lines = [f"{patient:08d}_{film:03d}.png 0 1 0" for patient in patients for film in range(2)]
        (lists / f"{split}_list.txt").write_text("\n".join(lines))
    dataset = _load(tmp_path, lists=lists)
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 20, "val": 4, "test": 6}
    assert len(dataset.table) == 30


def _edit(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Data_Entry_2017_v2020.csv", "Hernia|Effusion", "Hernia|Efusion", "Finding Labels 'Hernia|Efusion'"),
        ("Data_Entry_2017_v2020.csv", "No Finding", "No Finding|Mass", "Finding Labels 'No Finding|Mass'"),
        ("Data_Entry_2017_v2020.csv", "Patient ID", "Patient", "has no column Patient ID"),
        ("Data_Entry_2017_v2020.csv", "00000001_001.png", "00000001_000.png", r"is on line \d+ already"),
        ("train_val_list.txt", "00000001_000.png", "00000099_000.png", "is not in the label file"),
        ("test_list.txt", "00000016_000.png", "00000001_000.png", "in more than one of the lists"),
        ("test_list.txt", "00000016_000.png", "", "left out"),
        ("test_list.txt", "00000016_000.png", "00000001_001.png", "in more than one of the lists"),
    ],
)
def test_faults_are_named(
    tmp_path: Path, file: str, old: str, new: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    _edit(build(tmp_path), file, old, new)
    if message == "left out":
        with caplog.at_level("INFO", logger="ltml.data.table"):
            _load(tmp_path)
        assert "1 row(s) left out: in no list of the split" in caplog.text
        return
    with pytest.raises(InputError, match=message.replace("|", r"\|")):
        _load(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="add data.root"):
        load_dataset("nih", DataContext(root=None, size=16, channels=1, ratio=(7, 1, 2), seed=0))
    with pytest.raises(InputError, match="Data_Entry_2017"):
        _load(tmp_path)
    build(tmp_path)
    (tmp_path / "images" / "00000003_001.png").unlink()
    with pytest.raises(InputError, match="00000003_001.png.*1 of 40 images"):
        _load(tmp_path)


def test_the_recipe_runs_on_a_tree_in_the_official_layout(cli, tmp_path: Path) -> None:
    small = ["data.image_size=32", "data.resize=32", "train.epochs=1", "head.prompt_query.width=32"]
    small += ["backbone={name: resnet18, pretrained: false}", "text={encoder: none}", "stage2.rounds=0"]
    root = f"data.root={build(tmp_path / 'nih', patients=60, folders=True)}"
    result = cli("run", "nih", root, *small, "--out", str(tmp_path / "runs"))
    assert result.exit_code == 0, result.stderr
    assert "Hernia" in result.stdout
