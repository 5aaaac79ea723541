from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures.datasets.odir5k import NAME, build

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.datasets.odir5k import LABELS, eye_codes, join_eyes, label_of
from ltml.data.faults import Faults
from ltml.data.table import load_dataset
from ltml.errors import InputError

NOTES_ALONE = {"24_right", "27_left", "30_left", "30_right", "33_left"}


def _context(root: Path | None, **more: object) -> DataContext:
    return DataContext(root=root, size=16, channels=3, ratio=(7, 1, 2), seed=0, **more)


def _load(root: Path, **options: object) -> Dataset:
    return load_dataset("odir5k", _context(root), **options)


def _labels(dataset: Dataset, name: str) -> str:
    row = dataset.table.index[dataset.table["id"] == name][0]
    assert dataset.known[row].all()
    return "".join(n for n, y in zip(LABELS, dataset.targets[row], strict=True) if y)


def _official(dataset: Dataset, name: str) -> str:
    assert dataset.units is not None
    codes = dataset.units.codes[dataset.units.ids.tolist().index(name)]
    return "".join(n for n, y in zip(LABELS, codes, strict=True) if y == 1)


def _edit(root: Path, row: int, column: str, value: object) -> None:
    table = pd.read_excel(root / f"{NAME}.xlsx").astype(object)
    table.loc[row, column] = value
    table.to_excel(root / f"{NAME}.xlsx", index=False)


@pytest.mark.parametrize(
    ("keyword", "label"),
    [
        ("normal fundus", "N"),
        ("suspected diabetic retinopathy", "D"),
        ("severe nonproliferative retinopathy", "D"),
        ("severe proliferative diabetic retinopathy", "D"),
        ("suspected glaucoma", "G"),
        ("cataract", "C"),
        ("wet age-related macular degeneration", "A"),
        ("hypertensive retinopathy", "H"),
        ("pathological myopia", "M"),
        ("myopic maculopathy", "M"),
        ("maculopathy", "O"),
        ("retinitis pigmentosa", "O"),
        ("diabetic retinopathy with cataract", "D"),  # the first rule
    ],
)
def test_rules_of_keywords(keyword: str, label: str) -> None:
    assert label_of(keyword) == label


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("laser spot，moderate non proliferative retinopathy", "DO"),
        ("hypertensive retinopathy,diabetic retinopathy", "DH"),
        ("Normal Fundus ， lens dust", "N"),
        ("normal fundus，drusen", "O"),
        ("low image quality，image offset，cataract", "C"),
        ("no fundus image", None),
        ("anterior segment image", None),
        ("optic disk photographically invisible", None),
        ("low image quality", None),
        ("image offset", None),
        ("lens dust，image offset", None),
    ],
)
def test_labels_of_an_eye(text: str, labels: str | None) -> None:
    expected = [-1] * 8 if labels is None else [int(label in labels) for label in LABELS]
    assert eye_codes([text]).tolist() == [expected]


@pytest.mark.parametrize(
    ("left", "right", "normal", "cataract"),
    [
        ("normal fundus", "normal fundus", 1, 0),
        ("normal fundus", "cataract", 0, 1),
        ("cataract", "cataract", 0, 1),
        ("cataract", "glaucoma", 0, 1),
        ("lens dust", "normal fundus", -1, -1),
        ("glaucoma", "lens dust", 0, -1),
        ("lens dust", "cataract", 0, 1),
        ("lens dust", "lens dust", -1, -1),
    ],
)
def test_joined_eyes(left: str, right: str, normal: int, cataract: int) -> None:
    joined = join_eyes(eye_codes([left]), eye_codes([right]))
    assert joined[0, [0, 3]].tolist() == [normal, cataract]
    np.testing.assert_array_equal(joined, join_eyes(eye_codes([right]), eye_codes([left])))


def test_eyes_have_the_labels_of_their_keywords(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path), unit="image")
    assert dataset.label_names == LABELS
    assert dataset.units is None
    assert len(dataset.table) == 59
    assert dataset.left_out == {"eye whose keywords are quality notes alone (quality=drop)": 5}
    assert not NOTES_ALONE & set(dataset.table["id"])
    expected = {"0_left": "C", "0_right": "N", "3_left": "N", "6_left": "DO", "9_left": "O", "9_right": "D"}
    expected |= {"12_left": "G", "12_right": "N", "15_left": "DH", "15_right": "G", "18_left": "A", "21_right": "M"}
    expected |= {"24_left": "O", "27_right": "N", "33_right": "C", "36_left": "O", "39_left": "N", "39_right": "O"}
    assert {name: _labels(dataset, name) for name in expected} == expected
    row = dataset.table.iloc[1]
    assert row[["id", "group", "source", "image"]].tolist() == ["0_right", "0", "odir5k", "0_right.jpg"]
    assert row[["line", "age", "sex"]].tolist() == [2, "40", "Female"]
    assert dataset.table["line"].iloc[-1] == 33
    groups = [set(dataset.table["group"].iloc[rows]) for rows in dataset.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 31
    assert dataset.images.read(0).shape == (16, 16, 3)
    assert int(dataset.images.read(1)[..., 2].mean()) == pytest.approx(180, abs=3)


def test_patients_are_scored_with_their_official_labels(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path))
    assert len(dataset.table) == 59  # the rows are eyes
    assert _labels(dataset, "0_right") == "N"
    assert dataset.units is not None
    assert len(dataset.units.ids) == 31  # 30 has no eye left
    assert "30" not in dataset.units.ids
    np.testing.assert_array_equal(dataset.units.ids[dataset.units.of_row], dataset.table["group"])
    expected = {"0": "C", "3": "N", "15": "DGH", "27": "O", "33": "C", "39": "N"}
    assert {name: _official(dataset, name) for name in expected} == expected


def test_both_eyes_as_one_input(tmp_path: Path) -> None:
    dataset = _load(build(tmp_path), eyes="concat")
    assert dataset.units is None
    assert dataset.images_per_row == 2
    assert dataset.left_out == {"patient with an eye whose keywords are quality notes alone (quality=drop)": 4}
    assert not {"24", "27", "30", "33"} & set(dataset.table["id"])
    assert len(dataset.table) == 28
    assert _labels(dataset, "15") == "DGH"
    assert _labels(dataset, "39") == "N"
    assert dataset.table["image"].iloc[1] == "3_left.jpg 3_right.jpg"
    pixels = dataset.images.read(1)
    assert pixels.shape == (16, 16, 6)
    assert pixels.mean(axis=(0, 1)).tolist() == pytest.approx([7, 248, 60, 7, 248, 180], abs=3)


def test_eyes_with_notes_alone_can_be_kept(tmp_path: Path) -> None:
    build(tmp_path)
    dataset = _load(tmp_path, unit="image", quality="keep")
    assert len(dataset.table) == 64
    assert not dataset.left_out
    unknown = dataset.table["id"][~dataset.known.any(axis=1)]
    assert set(unknown) == NOTES_ALONE
    both = _load(tmp_path, eyes="concat", quality="keep")
    assert len(both.table) == 32
    assert both.known.all()
    assert _labels(both, "30") == "O"
    units = _load(tmp_path, quality="keep").units
    assert units is not None
    assert len(units.ids) == 32


def test_published_counts_are_compared_where_they_can_be(tmp_path: Path) -> None:
    build(tmp_path)
    (eyes,) = _load(tmp_path).published
    assert eyes.expected == {"images": 7000}
    assert eyes.found["images"] == 64
    assert not _load(tmp_path, eyes="concat").published
    for options in ({}, {"eyes": "concat"}):
        (kept,) = _load(tmp_path, quality="keep", **options).published
        assert kept.expected == {"images": 7000, "patients": 3500}
        assert (kept.found["images"], kept.found["patients"]) == (64, 32)


def test_disagreement_with_the_official_labels_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _edit(build(tmp_path), 20, "G", 1)
    _load(tmp_path)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith("2 × labels of patient and eyes differ, the first: ")
    assert "line 15, ID 39: " in warnings[0]
    assert warnings[0].endswith("line 22, ID 60")


@pytest.mark.parametrize(
    "quirks",
    [
        {"csv": True},
        {"folder": "ODIR-5K_Training_Images"},
        {"folder": "ODIR-5K_Training_Images/ODIR-5K_Training_Dataset"},
        {"folder": "Training Images", "name": "data"},
        {"folder": "."},
    ],
)
def test_other_copies(tmp_path: Path, quirks: dict) -> None:
    usual = _load(build(tmp_path / "usual"))
    other = _load(build(tmp_path / "other", **quirks))
    assert other.fingerprint() == usual.fingerprint()
    np.testing.assert_array_equal(other.images.read(5), usual.images.read(5))


def test_a_label_file_elsewhere(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / f"{NAME}.xlsx").rename(tmp_path / "mine.xlsx")
    with pytest.raises(InputError, match="has none of ODIR-5K_Training_Annotations"):
        _load(tmp_path)
    assert len(_load(tmp_path, labels_file=tmp_path / "mine.xlsx").table) == 59


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (2, "C", 2, "line 4, column 'C': label value '2'; allowed: '0', '1'"),
        (3, "ID", 6, r"line 5, '6': it is on line \d+ already"),
        (4, "Left-Diagnostic Keywords", " ，", "line 6, column 'Left-Diagnostic Keywords': it has no keyword"),
        (5, "Right-Fundus", "99_right.jpg", "99_right.jpg: there is no such file"),
    ],
)
def test_faults_are_named(tmp_path: Path, row: int, column: str, value: object, message: str) -> None:
    _edit(build(tmp_path), row, column, value)
    with pytest.raises(InputError, match=message):
        _load(tmp_path)
    faults = Faults(collect=True)
    load_dataset("odir5k", _context(tmp_path, faults=faults))
    assert len(faults.found) == 1


def test_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"add data\.root"):
        load_dataset("odir5k", _context(None))
    build(tmp_path)
    table = pd.read_excel(tmp_path / f"{NAME}.xlsx")
    table.drop(columns="H").to_excel(tmp_path / "short.xlsx", index=False)
    with pytest.raises(InputError, match="has no column H"):
        _load(tmp_path, labels_file=tmp_path / "short.xlsx")
    table[:0].to_excel(tmp_path / "none.xlsx", index=False)
    with pytest.raises(InputError, match="has no rows"):
        _load(tmp_path, labels_file=tmp_path / "none.xlsx")
    (tmp_path / "text.xlsx").write_text("ID")
    with pytest.raises(InputError, match="cannot read the annotations"):
        _load(tmp_path, labels_file=tmp_path / "text.xlsx")


def test_the_recipe_trains_on_a_tree_in_the_official_layout(cli, tmp_path: Path) -> None:
    small = ["data.image_size=32", "data.resize=32", "train.epochs=1", "head.prompt_query.width=32"]
    small += ["backbone={name: resnet18, pretrained: false}", "text={encoder: none}", "data.unit=image"]
    root = f"data.root={build(tmp_path / 'odir5k', patients=60)}"
    result = cli("stage1", "odir5k", root, *small, "--out", str(tmp_path / "runs"))
    assert result.exit_code == 0, result.stderr
