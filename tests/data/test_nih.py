from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltml.data.context import DataContext
from ltml.data.table import load_dataset
from ltml.errors import InputError
from ltml.types import Dataset

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
FINDINGS = ("No Finding", "Hernia|Effusion", "Pleural_Thickening", "No Finding", "Mass|Nodule|Edema", "Pneumonia")


def _tree(root: Path, *, patients: int = 20, comma: bool = False, folders: bool = False, sex: str = "Gender") -> Path:
    """Two films a patient; the last quarter of the patients are the test set."""
    rows, names = [], []
    for patient in range(patients):
        for film in range(2):
            name = f"{patient + 1:08d}_{film:03d}.png"
            names.append(name)
            finding = FINDINGS[(2 * patient + film) % len(FINDINGS)]
            age = f"{20 + patient:03d}Y" if comma else str(20 + patient)
            row = f"{name},{finding},{film},{patient + 1},{age},M,PA,2682,2749,0.143,0.143"
            rows.append(row + ("," if comma else ""))
            place = root / (f"images_{1 + patient % 2:03d}/images" if folders else "images")
            place.mkdir(parents=True, exist_ok=True)
            Image.new("L", (24, 24), 5 * patient).save(place / name)
    header = HEADER.replace("Gender", sex)
    name = "Data_Entry_2017.csv" if comma else "Data_Entry_2017_v2020.csv"
    (root / name).write_text("\n".join([header, *rows]) + "\n")
    cut = 2 * (patients * 3 // 4)
    (root / "train_val_list.txt").write_text("\n".join(names[:cut]))
    (root / "test_list.txt").write_text("\n".join(names[cut:]))
    return root


def _load(root: Path, seed: int = 0, **options: object) -> Dataset:
    return load_dataset("nih", DataContext(root=root, size=16, channels=1, ratio=(7, 1, 2), seed=seed), **options)


@pytest.mark.parametrize("quirks", [{}, {"comma": True}, {"folders": True}, {"sex": "Sex"}])
def test_labels_and_the_official_split(tmp_path: Path, quirks: dict) -> None:
    dataset = _load(_tree(tmp_path, **quirks))
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
    _tree(tmp_path)
    first, again, other = (_load(tmp_path, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.splits["val"], again.splits["val"])
    assert not np.array_equal(first.splits["val"], other.splits["val"])


def test_other_lists(tmp_path: Path) -> None:
    _tree(tmp_path)
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
        ("Data_Entry_2017_v2020.csv", "No Finding", "No Finding|Mass", "No Finding alone"),
        ("Data_Entry_2017_v2020.csv", "Patient ID", "Patient", "has no column Patient ID"),
        ("Data_Entry_2017_v2020.csv", "00000001_001.png", "00000001_000.png", "listed more than once"),
        ("train_val_list.txt", "00000001_000.png", "00000099_000.png", "which is not in the label file"),
        ("test_list.txt", "00000016_000.png", "00000001_000.png", "in more than one of the lists"),
        ("test_list.txt", "00000016_000.png", "", "left out"),
        ("test_list.txt", "00000016_000.png", "00000001_001.png", "in more than one of the lists"),
    ],
)
def test_faults_are_named(
    tmp_path: Path, file: str, old: str, new: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    _edit(_tree(tmp_path), file, old, new)
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
    _tree(tmp_path)
    (tmp_path / "images" / "00000003_001.png").unlink()
    with pytest.raises(InputError, match="1 of 40 images.*00000003_001.png"):
        _load(tmp_path)


def test_the_recipe_runs_on_a_tree_in_the_official_layout(cli, tmp_path: Path) -> None:
    small = ["data.image_size=32", "data.resize=32", "train.epochs=1", "head.prompt_query.width=32"]
    small += ["backbone={name: resnet18, pretrained: false}", "text={encoder: none}", "stage2.rounds=0"]
    root = f"data.root={_tree(tmp_path / 'nih', patients=60, folders=True)}"
    result = cli("run", "nih", root, *small, "--out", str(tmp_path / "runs"))
    assert result.exit_code == 0, result.stderr
    assert "Hernia" in result.stdout
