from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.faults import Faults
from ltml.data.table import load_dataset
from ltml.errors import InputError


def load(file: Path, root: Path | None = None, seed: int = 0, **options: object) -> Dataset:
    context = DataContext(root=root, size=16, channels=1, ratio=(7, 1, 2), seed=seed)
    return load_dataset("csv", context, file=file, **options)


def edit(file: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    change(table).to_csv(file, index=False)
    return file


def test_labels_unknowns_ids_and_groups(image_table: Callable[..., Path]) -> None:
    groups = [f"{i // 2:04d}" for i in range(60)]
    file = image_table(id=[f"{i:05d}" for i in range(60)], group=groups, source="clinic")
    dataset = load(file)
    assert dataset.label_names == ("bright", "odd")
    assert dataset.table["id"].iloc[7] == "00007"  # leading zeros stay
    assert dataset.table["group"].iloc[7] == "0003"
    assert dataset.known[:, 0].all()
    np.testing.assert_array_equal(dataset.known[:, 1], np.arange(60) % 4 != 0)
    np.testing.assert_array_equal(dataset.targets[dataset.known[:, 1], 1], (np.arange(60) % 2)[dataset.known[:, 1]])
    for rows in dataset.splits.values():
        inside = set(dataset.table["group"].iloc[rows])
        assert len(rows) == sum(dataset.table["group"].isin(inside))


def test_paths_are_relative_to_the_csv_or_to_the_root(image_table: Callable[..., Path], tmp_path: Path) -> None:
    file = image_table()
    moved = tmp_path / "elsewhere" / "labels.csv"
    moved.parent.mkdir()
    moved.write_text(file.read_text())
    assert load(file).images.read(0).shape == (16, 16, 1)
    with pytest.raises(InputError, match="60 × missing image.*60 of 60 images listed in .* are missing"):
        load(moved)
    assert load(moved, root=tmp_path).images.read(0).shape == (16, 16, 1)
    with pytest.raises(InputError, match=r"data.root .*nowhere is not a folder"):
        load(moved, root=tmp_path / "nowhere")


def test_a_given_split_is_kept(image_table: Callable[..., Path]) -> None:
    split = ["train"] * 40 + ["val"] * 8 + ["test"] * 12
    dataset = load(image_table(split=split))
    assert [len(dataset.splits[name]) for name in ("train", "val", "test")] == [40, 8, 12]


def test_a_byte_order_mark_and_commas_in_names(image_table: Callable[..., Path]) -> None:
    file = edit(image_table(), lambda table: table.rename(columns={"bright": "bright, shiny"}))
    file.write_text("\ufeff" + file.read_text(), encoding="utf-8")
    assert load(file).label_names == ("bright, shiny", "odd")


def test_labels_can_be_chosen(image_table: Callable[..., Path]) -> None:
    file = image_table(notes="free text")
    assert load(file, labels=("odd",)).label_names == ("odd",)
    with pytest.raises(InputError, match="'od', which is not a label column .* did you mean 'odd'"):
        load(file, labels=("od",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.assign(bright=["1", "-1"] + ["0"] * 58),
            r"line 3, column 'bright': label value '-1'; allowed: '1', '0'",
        ),
        (lambda t: t.assign(notes="x"), r"column 'notes': 60 × 'x'; allowed.*data.labels"),
        (lambda t: t.assign(id="same"), r"59 × listed twice, the first: .*line 3, 'same'"),
        (lambda t: t.assign(image=t["image"].iloc[0]), r"59 × listed twice"),
        (lambda t: t.assign(group=["a", ""] + ["b"] * 58), r"line 3: the group is empty"),
        (lambda t: t.assign(split="dev"), r"line 2: split is 'dev'; allowed: train, val, test"),
        (lambda t: t.assign(split="train"), r"cannot take a validation set out of|no images for test"),
        (
            lambda t: t.assign(group="p7", split=["train"] * 40 + ["val"] * 10 + ["test"] * 10),
            r"'p7' in train and val and test|'p7'.*train and val and test",
        ),
        (lambda t: t.assign(group="p7"), r"60 images of 1 group\(s\)"),
        (lambda t: t.drop(columns="image"), r"no column image"),
        (lambda t: t[["image"]], r"no label column"),
        (lambda t: t.iloc[:0], r"a header but no rows"),
        (
            lambda t: t.assign(image=[*t["image"].iloc[:-1], "gone.png"]),
            r"gone.png: there is no such file \(line 61\). 1 of 60 images",
        ),
    ],
)
def test_faults_are_named(
    image_table: Callable[..., Path], change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(edit(image_table(), change))


def test_rows_that_do_not_fit_the_header_are_refused_with_their_line(image_table: Callable[..., Path]) -> None:
    text = image_table().read_text()
    lines = text.splitlines()
    file = image_table()
    for change, message in [
        (lambda: [*lines[:5], lines[5] + ",1", *lines[6:]], r"line 6: 4 cells under a header of 3"),
        (lambda: [*lines[:5], lines[5].rpartition(",")[0], *lines[6:]], r"line 6: 2 cells under a header of 3"),
        (lambda: [line + "," for line in lines], r"column 4 has no name"),
        (lambda: [*lines[:3], "", *lines[3:5], lines[5].replace(",", ",7", 1), *lines[6:]], r"line 7, column 'bright'"),
        (lambda: [*lines, ",1,1"], r"line 62: the column 'image' is empty"),
    ]:
        file.write_text("\n".join(change()))
        with pytest.raises(InputError, match=message):
            load(file)
    file.write_text(text.replace("image,bright,odd", "image, bright , odd"))
    assert load(file, labels=("odd",)).label_names == ("odd",)
    with pytest.raises(InputError, match="more than once"):
        load(file, labels=("odd", "odd"))


def test_another_image_for_a_row_is_other_data(image_table: Callable[..., Path]) -> None:
    ids = [f"i{i}" for i in range(60)]
    before = load(image_table(id=ids)).fingerprint()
    swapped = edit(image_table(id=ids), lambda t: t.assign(image=t["image"].to_list()[::-1]))
    assert load(swapped).fingerprint() != before


def test_repeated_columns_and_missing_files(image_table: Callable[..., Path], tmp_path: Path) -> None:
    file = image_table()
    file.write_text(file.read_text().replace("image,bright,odd", "image,odd,odd"))
    with pytest.raises(InputError, match=r"column\(s\) odd appear more than once"):
        load(file)
    with pytest.raises(InputError, match=r"cannot read data.file .*nothing.csv"):
        load(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match=r"needs data.file"):
        load(None)  # type: ignore[arg-type]


def test_validation_is_taken_by_ratio_where_the_split_column_names_none(image_table: Callable[..., Path]) -> None:
    dataset = load(image_table(split=["train"] * 48 + ["test"] * 12))
    assert [len(dataset.splits[name]) for name in ("train", "val", "test")] == [42, 6, 12]


def test_parquet_is_read_like_csv(image_table: Callable[..., Path], tmp_path: Path) -> None:
    file = image_table()
    table = pd.read_csv(file).astype({"bright": bool})
    table.to_parquet(tmp_path / "labels.parquet")
    dataset, plain = load(tmp_path / "labels.parquet"), load(file)
    np.testing.assert_array_equal(dataset.targets, plain.targets)
    np.testing.assert_array_equal(dataset.known, plain.known)
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match=r"cannot read data.file .*bad.parquet"):
        load(tmp_path / "bad.parquet")


PATIENTS = [f"p{i // 2}" for i in range(60)]


@pytest.mark.parametrize(
    "name",
    ["patient", "Group", "PatientID", "anon_patient_id", "study_id", "pid", "fold", "Split", "ID", "site", "known"],
)
@pytest.mark.parametrize("labels", [("bright", "odd"), None])
def test_columns_that_are_almost_another_are_asked_for(
    image_table: Callable[..., Path], name: str, labels: tuple[str, ...] | None
) -> None:
    file = image_table(**{name: PATIENTS})
    with pytest.raises(InputError, match=rf"column '{name}': it looks like .*data.labels .*data.ignore=\[{name}\]"):
        load(file, labels=labels)
    assert load(file, labels=labels, ignore=(name,)).label_names == ("bright", "odd")
    faults = Faults(collect=True)
    context = DataContext(root=None, size=16, channels=1, ratio=(7, 1, 2), seed=0, faults=faults)
    assert load_dataset("csv", context, file=file, labels=labels).label_names == ("bright", "odd")
    assert [fault.kind for fault in faults.found] == ["column that is almost another"]


def test_a_label_may_have_the_name_of_a_patient(image_table: Callable[..., Path]) -> None:
    file = image_table(case=[i % 2 for i in range(60)])
    assert load(file, labels=("odd", "case")).label_names == ("odd", "case")


def test_a_patient_beside_groups_is_harmless_unless_groups_tear_it_apart(image_table: Callable[..., Path]) -> None:
    assert len(load(image_table(group=PATIENTS, patient_id=PATIENTS), labels=("odd",)).table) == 60
    file = image_table(group=PATIENTS, patient_id=[f"q{i // 4}" for i in range(60)])
    with pytest.raises(InputError, match="'patient_id': rows that share one of its values are in several groups"):
        load(file, labels=("odd",))


def test_what_is_ignored_must_be_there(image_table: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"data.ignore names 'nots', .*did you mean 'notes'"):
        load(image_table(notes="x"), ignore=("nots",))


def test_columns_that_are_not_read_and_unknown_patients_are_said(
    image_table: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="ltml")
    load(image_table(notes="x", report="y"), labels=("odd",))
    assert "columns that are not read: bright, notes, report" in caplog.text
    assert "no patients are known" in caplog.text
    caplog.clear()
    load(image_table(group=PATIENTS))
    assert "no patients are known" not in caplog.text


@pytest.mark.parametrize("other", ["P{}", "p{} x", "{}.0", "00{}", "p\u200b{}"])
def test_a_patient_spelt_two_ways_is_refused(image_table: Callable[..., Path], other: str) -> None:
    plain = "{}" if other[0] in "{0" else other.lower().replace("\u200b", "").replace(" ", "")
    groups = [(other if i % 2 else plain).format(i // 2 + 1) for i in range(60)]
    with pytest.raises(InputError, match=r"30 × patient spelt two ways, the first: .*line 3, group .*would be in two"):
        load(image_table(group=groups))


@pytest.mark.parametrize("nobody", ["", "nan", "None", "N/A", "unknown", "-"])
def test_rows_of_nobody_are_not_one_patient(image_table: Callable[..., Path], nobody: str) -> None:
    with pytest.raises(InputError, match=r"2 × row without a patient, the first: .*line 2: the group is"):
        load(image_table(group=[nobody, nobody, *PATIENTS[2:]]))


def test_wrong_values_are_told_by_column(image_table: Callable[..., Path]) -> None:
    file = edit(
        image_table(),
        lambda t: t.assign(bright=np.where(t["bright"] == "1", "Yes", "No"), odd=["2"] + ["1"] * 59),
    )
    with pytest.raises(InputError, match=r"'bright': 60 × 'No'/'Yes'; allowed: .*; also .*'odd': label value '2'"):
        load(file)
    file = edit(image_table(), lambda t: t.assign(odd=[f"x{i}" for i in range(60)]))
    with pytest.raises(InputError, match=r"column 'odd': 60 × 'x0'/'x1'/'x2' and 57 other values; allowed"):
        load(file)
    with pytest.raises(InputError, match=r"a decimal comma is not read"):
        load(edit(image_table(), lambda t: t.assign(odd="1,0")))


def test_every_program_s_true_and_false_are_read(image_table: Callable[..., Path], tmp_path: Path) -> None:
    spelled = [("TRUE", "FALSE"), ("True", "False"), ("true", "false"), ("1.0", "0.0"), ("1", "0")]
    expected = load(image_table()).targets[:, 0]
    for yes, no in spelled:
        file = edit(image_table(), lambda t, yes=yes, no=no: t.assign(bright=np.where(t["bright"] == "1", yes, no)))
        np.testing.assert_array_equal(load(file).targets[:, 0], expected)
        pd.read_csv(file, dtype=str, keep_default_na=False).to_parquet(tmp_path / "labels.parquet")
        np.testing.assert_array_equal(load(tmp_path / "labels.parquet").targets[:, 0], expected)


def test_the_index_of_parquet_is_read(image_table: Callable[..., Path], tmp_path: Path) -> None:
    table, file = pd.read_csv(image_table()), tmp_path / "labels.parquet"
    table.assign(group=PATIENTS).set_index("group").to_parquet(file)
    assert load(file).table["group"].tolist() == PATIENTS
    table.assign(patient=PATIENTS).set_index("patient").to_parquet(file)
    with pytest.raises(InputError, match="column 'patient': it looks like 'group'"):
        load(file, labels=("odd",))
    table.set_axis(PATIENTS).to_parquet(file)
    with pytest.raises(InputError, match="its index is text and has no name"):
        load(file)
    table[table.index != 3].to_parquet(file)
    assert len(load(file).table) == 59


def test_numbers_of_parquet_are_text_without_a_point(image_table: Callable[..., Path], tmp_path: Path) -> None:
    table, file = pd.read_csv(image_table()), tmp_path / "labels.parquet"
    odd = table["odd"].to_numpy(dtype=np.float32)
    table.assign(odd=odd, id=np.arange(60), group=np.arange(60.0) // 2, age=np.float32(63)).to_parquet(file)
    found = load(file)
    np.testing.assert_array_equal(found.known[:, 1], ~np.isnan(odd))
    assert found.table.loc[7, ["id", "group", "age"]].tolist() == ["7", "3", "63"]


@pytest.mark.parametrize(
    ("listed", "hint"),
    [
        ("images\\003.png", "there is 'images/003.png': paths are written with / in place of"),
        ("Images/003.PNG", "there is 'images/003.png': capital and small letters differ"),
        ("images/003.jpg", "there is 'images/003.png': its ending differs"),
        ("images/003", "there is 'images/003.png': its ending differs"),
        ("images/\u200b003.png", "there is 'images/003.png': a blank or an invisible letter differs"),
        (
            "/data/films/images/003.png",
            "lies outside of .*; there is 'images/003.png': the folders before it",
        ),
        ("C:\\films\\images\\003.png", "there is 'images/003.png': paths are written with /"),
        ("https://host/003.png", "addresses are not read"),
        ("images/e\u0301.png", r"there is 'images/é.png': its accents .*NFC and NFD differ"),
        ("images", "it is a folder"),
    ],
)
def test_a_missing_image_names_its_near_twin(image_table: Callable[..., Path], listed: str, hint: str) -> None:
    file = image_table()
    (file.parent / "images" / "\u00e9.png").write_bytes((file.parent / "images" / "000.png").read_bytes())
    edit(file, lambda t: t.assign(image=[*t["image"][:3], listed, *t["image"][4:]]))
    faults = Faults(collect=True)
    context = DataContext(root=None, size=16, channels=1, ratio=(7, 1, 2), seed=0, faults=faults)
    load_dataset("csv", context, file=file)
    (fault,) = faults.found
    assert re.search(hint, fault.message)


def test_paths_that_no_file_can_have_are_named_and_the_check_goes_on(image_table: Callable[..., Path]) -> None:
    file = edit(image_table(), lambda t: t.assign(image=["a\0b.png", "x" * 5000 + ".png", "gone.png", *t["image"][3:]]))
    faults = Faults(collect=True)
    context = DataContext(root=None, size=16, channels=1, ratio=(7, 1, 2), seed=0, faults=faults)
    assert len(load_dataset("csv", context, file=file).table) == 58
    assert [fault.where.rpartition(", ")[2] for fault in faults.found[:2]] == ["line 2", "line 3"]
    assert "NUL byte" in faults.found[0].message
    assert "a name of 5,004 bytes, where file systems allow 255" in faults.found[1].message
    assert [fault.kind for fault in faults.found[2:]] == ["missing image"]
    with pytest.raises(InputError, match="line 2: its name holds a NUL byte") as caught:
        load(file)
    assert len(str(caught.value)) < 600
