from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ltml.data.context import DataContext
from ltml.data.table import load_dataset
from ltml.errors import InputError
from ltml.types import Dataset


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
        (lambda t: t.assign(notes="x"), r"column 'notes': label value 'x'.*data.labels"),
        (lambda t: t.assign(id="same"), r"59 × listed twice, the first: .*line 3, 'same'"),
        (lambda t: t.assign(image=t["image"].iloc[0]), r"59 × listed twice"),
        (lambda t: t.assign(group=["a", ""] + ["b"] * 58), r"line 3: the column 'group' is empty"),
        (lambda t: t.assign(split="dev"), r"line 2: split is 'dev'; allowed: train, val, test"),
        (lambda t: t.assign(split="train"), r"cannot take a validation set out of|no images for test"),
        (
            lambda t: t.assign(group="p7", split=["train"] * 40 + ["val"] * 10 + ["test"] * 10),
            r"'p7' in train and val and test|'p7'.*train and val and test",
        ),
        (lambda t: t.assign(group="p7"), r"60 images of 1 group\(s\)"),
        (lambda t: t.drop(columns="image"), r"no column 'image'"),
        (lambda t: t[["image"]], r"no label column"),
        (lambda t: t.iloc[:0], r"a header but no rows"),
        (
            lambda t: t.assign(image=[*t["image"].iloc[:-1], "gone.png"]),
            r"gone.png: there is no such file. 1 of 60 images",
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
