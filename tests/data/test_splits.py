from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltml.data.context import DataContext
from ltml.data.splits import _stratify, split_by_file, split_by_group, take_validation
from ltml.data.table import load_dataset
from ltml.errors import InputError


@given(st.integers(0, 1000), st.integers(3, 60), st.integers(1, 5))
def test_groups_stay_whole_and_nothing_is_lost(seed: int, groups: int, largest: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"p{g}" for g in range(groups) for _ in range(rng.integers(1, largest + 1))]
    splits = split_by_group(names, (7, 1, 2), seed)
    rows = np.concatenate(list(splits.values()))
    assert sorted(rows) == list(range(len(names)))
    owners = [{names[row] for row in part} for part in splits.values()]
    assert all(owners)
    assert sum(len(owner) for owner in owners) == groups


def test_shares_are_near_the_ratio_and_row_order_does_not_matter() -> None:
    names = np.array([f"p{i // 3}" for i in range(3000)])
    splits = split_by_group(names.tolist(), (7, 1, 2), 0)
    assert [len(splits[name]) for name in ("train", "val", "test")] == pytest.approx([2100, 300, 600], abs=3)
    order = np.random.default_rng(1).permutation(3000)
    shuffled = split_by_group(names[order].tolist(), (7, 1, 2), 0)
    for name in splits:
        assert set(names[splits[name]]) == set(names[order][shuffled[name]])
    assert set(split_by_group(names.tolist(), (7, 1, 2), 1)["val"]) != set(splits["val"])


def test_too_few_groups_is_an_error() -> None:
    with pytest.raises(InputError, match=r"4 images of 2 group\(s\)"):
        split_by_group(["a", "a", "b", "b"], (7, 1, 2), 0)


def _tail_labels(seed: int) -> tuple[list[str], np.ndarray]:
    """300 patients of 1 to 4 rows and labels from frequent to three positives."""
    rng = np.random.default_rng(seed)
    names = [f"p{patient}" for patient in range(300) for _ in range(rng.integers(1, 5))]
    codes = (rng.random((len(names), 5)) < [0.6, 0.2, 0.05, 0.02, 0]).astype(np.int8)
    codes[rng.choice(len(names), 3, replace=False), 4] = 1
    codes[rng.random(codes.shape) < 0.1] = -1
    return names, codes


def test_stratified_splits_spread_rare_labels_and_keep_groups_whole() -> None:
    for seed in range(20):
        names, codes = _tail_labels(seed)
        splits = split_by_group(names, (7, 1, 2), seed, codes)
        assert sorted(np.concatenate(list(splits.values()))) == list(range(len(names)))
        owners = [{names[row] for row in rows} for rows in splits.values()]
        assert sum(map(len, owners)) == 300
        shares = [len(rows) / len(names) for rows in splits.values()]
        assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.03)
        for c in range(5):
            holders = {names[row] for row in np.flatnonzero(codes[:, c] == 1)}
            counts = [(codes[rows, c] == 1).sum() for rows in splits.values()]
            if len(holders) >= 3:
                assert min(counts) > 0  # also the label with three positives
            if sum(counts) > 50:
                assert np.array(counts) / sum(counts) == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


def test_plain_splits_lose_rare_labels_where_stratified_ones_do_not() -> None:
    lost = {False: 0, True: 0}
    for seed in range(20):
        names, codes = _tail_labels(seed)
        for stratify in lost:
            splits = split_by_group(names, (7, 1, 2), seed, codes if stratify else None)
            lost[stratify] += sum((codes[rows, 4] == 1).sum() == 0 for rows in splits.values())
    assert lost[False] > 10 > lost[True]


def _labelled(holders: Sequence[Sequence[int]], rows: Sequence[int]) -> tuple[list[str], np.ndarray]:
    """Rows of patients with so many positives per label, as many rows more as that takes."""
    names, codes = [], []
    for number, (positives, extra) in enumerate(zip(holders, rows, strict=True)):
        size = max([*positives, extra])
        names += [f"p{number}"] * size
        codes.append(np.arange(size)[:, None] < np.array(positives)[None, :])
    return names, np.concatenate(codes).astype(np.int8)


def _positives(splits: Mapping[str, np.ndarray], codes: np.ndarray) -> np.ndarray:
    return np.array([(codes[rows] == 1).sum(axis=0) for rows in splits.values()])


@pytest.mark.parametrize("ratio", [(7, 1, 2), (8, 1, 1), (6, 2, 2), (1, 1, 1), (70, 10, 20), (14, 3, 3)])
def test_the_largest_patient_of_a_label_is_in_train_whatever_the_total(ratio: tuple[int, int, int]) -> None:
    for total in [*range(13, 200), 227, *range(200, 2000, 61)]:
        sizes = np.array([[8, 8], *[[1, 1]] * (total - 8)])
        assert _stratify(sizes, ratio)[0] == 0


def test_no_patient_overfills_a_part() -> None:
    """52 positives of 7:1:2, 20 and 9 of them of two patients, and a third patient of 200 of 600 rows."""
    names, codes = _labelled([[20], [9], *[[1]] * 23, [0], *[[0]] * 200], [20, 9, *[1] * 23, 200, *[1] * 200])
    for seed in range(10):
        splits = split_by_group(names, (7, 1, 2), seed, codes)
        assert np.abs(_positives(splits, codes)[:, 0] - [36.4, 5.2, 10.4]).max() < 1
        assert [len(rows) for rows in splits.values()] == pytest.approx(np.array([0.7, 0.1, 0.2]) * len(names), abs=2)


def test_a_patient_with_many_of_another_label_stays_in_train() -> None:
    """The rarest label would send it to val, where its other label would be four times val's share."""
    names, codes = _labelled([[1, 1], [1, 20], [1, 1], *[[0, 1]] * 30, *[[0, 0]] * 200], [1] * 233)
    for seed in range(10):
        splits = split_by_group(names, (7, 1, 2), seed, codes)
        counts = _positives(splits, codes)
        assert "p1" in {names[row] for row in splits["train"]}
        assert counts[:, 0].tolist() == [1, 1, 1]
        assert counts[:, 1] == pytest.approx(np.array([0.7, 0.1, 0.2]) * 52, abs=1)


@given(
    st.integers(0, 2**16),
    st.lists(st.integers(1, 30), min_size=2, max_size=40),
    st.lists(st.integers(1, 5), min_size=3, max_size=30),
    st.sampled_from([(7, 1, 2), (8, 1, 1), (6, 2, 2), (3, 1, 1)]),
)
def test_one_label_is_off_its_share_by_little_more_than_its_largest_patient(
    seed: int, positives: list[int], others: list[int], ratio: tuple[int, int, int]
) -> None:
    names, codes = _labelled([[n] for n in positives] + [[0]] * len(others), [1] * len(positives) + others)
    counts = _positives(split_by_group(names, ratio, seed, codes), codes)[:, 0]
    share = np.array(ratio) / sum(ratio) * sum(positives)
    assert np.abs(counts - share).max() < max(positives) + 1
    assert counts[0] > 0


@given(st.integers(0, 2**16), st.integers(12, 60), st.integers(1, 6), st.integers(1, 12))
def test_no_label_of_two_patients_or_more_lacks_training_positives(
    seed: int, groups: int, labels: int, largest: int
) -> None:
    rng = np.random.default_rng(seed)
    holders = rng.integers(1, largest + 1, (groups, labels)) * (rng.random((groups, labels)) < rng.random(labels) / 4)
    names, codes = _labelled(holders.tolist(), rng.integers(1, 6, groups).tolist())
    splits = split_by_group(names, (7, 1, 2), seed, codes)
    counts, patients = _positives(splits, codes), (holders > 0).sum(axis=0)
    assert (counts[0] > 0).tolist() == (patients > 0).tolist()
    most = np.where(patients > 0, holders.max(axis=0) / np.maximum(holders.sum(axis=0), 1), 0)
    assert (counts[0] >= np.where(most > 0.5, holders.max(axis=0), 0)).all()
    again = take_validation({"train": np.arange(len(names))}, names, (7, 1, 2), seed, codes)
    assert (_positives(again, codes)[0] > 0).tolist() == (patients > 0).tolist()


@pytest.mark.parametrize("rows", [[1, 1, 1], [5, 1, 1], [1, 1, 500], [200, 1, 300], [1, 2, 2, 900], [10] * 8])
def test_few_patients_of_any_size_fill_every_part_and_the_largest_is_in_train(rows: list[int]) -> None:
    for seed in range(10):
        for stratify in (False, True):
            names, codes = _labelled([[n] for n in rows], rows)
            splits = split_by_group(names, (7, 1, 2), seed, codes if stratify else None)
            assert all(len(part) for part in splits.values())
            assert len(splits["train"]) >= max(rows)


def test_one_huge_patient_does_not_become_the_test() -> None:
    names = [f"p{i}" for i in range(100)] + ["huge"] * 500
    for seed in range(20):
        sizes = [len(rows) for rows in split_by_group(names, (7, 1, 2), seed).values()]
        assert sizes == [500, 1, 99]  # cut at 420 and 480 of 600, the nearest ends of patients


def test_validation_is_taken_out_of_train_alone() -> None:
    names = [f"p{i // 2}" for i in range(200)]
    given_ = {"train": np.arange(0, 160), "test": np.arange(160, 200)}
    splits = take_validation(given_, names, (7, 1, 2), 0)
    np.testing.assert_array_equal(splits["test"], given_["test"])
    assert sorted(np.concatenate([splits["train"], splits["val"]])) == list(range(160))
    assert len(splits["val"]) == pytest.approx(160 / 8, abs=2)
    assert {names[row] for row in splits["val"]}.isdisjoint(names[row] for row in splits["train"])


def test_a_stored_split_comes_back(tmp_path: Path) -> None:
    ids = pd.Series([f"i{n}" for n in range(10)])
    table = pd.DataFrame({"id": ids, "split": ["test"] * 3 + ["train"] * 4 + ["val"] * 1 + ["test_more"] * 2})
    file = tmp_path / "split.csv"
    table.sample(frac=1, random_state=0).to_csv(file, index=False)
    splits = split_by_file(file, ids)
    assert {name: rows.tolist() for name, rows in splits.items()} == {
        "train": [3, 4, 5, 6],
        "val": [7],
        "test": [0, 1, 2],
        "test_more": [8, 9],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"split": "part"}), "no column split"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "'i0' is listed more than once"),
        (lambda t: t.assign(id=["x9", *t["id"].iloc[1:]]), r"line 2: the id 'x9' is not in the data"),
        (lambda t: t.assign(split="train"), "no rows for val, test"),
        (lambda t: t.rename(columns={"id": "ID"}), "'ID' must be called 'id'"),
        (lambda t: t.assign(split=t["split"].str.title()), "line 2: the split 'Train' must be called 'train'"),
        (
            lambda t: t.assign(split=t["split"].replace("val", "valid")),
            "line 4: the split 'valid' must be called 'val'",
        ),
        (lambda t: t.assign(split=["", *t["split"].iloc[1:]]), "line 2: the split is empty"),
        (lambda t: t.assign(id=t["id"].str.upper()), r"'I0' is not in the data \(6 such .*'I0' is 'i0' in them"),
    ],
)
def test_wrong_stored_splits_are_refused(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    ids = [f"i{n}" for n in range(6)]
    table = pd.DataFrame({"id": ids, "split": ["train", "train", "val", "val", "test", "test"]})
    change(table).to_csv(tmp_path / "split.csv", index=False)
    with pytest.raises(InputError, match=message):
        split_by_file(tmp_path / "split.csv", pd.Series(ids))


def test_the_split_of_a_run_is_reused_and_rows_it_does_not_list_are_left_out(
    image_table: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = image_table(group=[f"g{i // 2}" for i in range(60)])
    context = DataContext(root=None, size=16, channels=1, ratio=(7, 1, 2), seed=0)
    first = load_dataset("csv", context, file=file)
    first.split_table().iloc[1:].to_csv(tmp_path / "split.csv", index=False)
    other = replace(context, seed=9, split_file=tmp_path / "split.csv")
    with caplog.at_level("INFO", logger="ltml"):
        again = load_dataset("csv", other, file=file)
    assert sorted(again.ids("test")) == sorted(first.ids("test"))
    assert sorted(again.ids("train")) == sorted(first.ids("train")[1:])
    assert "1 row(s) left out: in no list of the split" in caplog.text
    assert len(again.table) == 59
    for row in range(59):  # images moved along with their rows
        assert again.images.files(row)[0].name == Path(again.table["image"].iloc[row]).name


def test_the_ratio_can_be_preferred_to_the_given_split(image_table: Callable[..., Path]) -> None:
    file = image_table(split=["train"] * 20 + ["val"] * 20 + ["test"] * 20)
    context = DataContext(root=None, size=16, channels=1, ratio=(7, 1, 2), seed=0)
    assert len(load_dataset("csv", context, file=file).splits["train"]) == 20
    assert len(load_dataset("csv", replace(context, given_split=False), file=file).splits["train"]) == 42
