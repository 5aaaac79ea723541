from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixtures.datasets import chexpert

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset, Units
from ltml.data.datasets import nih
from ltml.data.faults import Faults
from ltml.data.images import ArrayImages
from ltml.data.table import LabelTable, load_dataset, to_dataset
from ltml.errors import InputError

CONTEXT = DataContext(root=None, size=4, channels=1, ratio=(7, 1, 2), seed=0)


def table(**changed: Any) -> LabelTable:
    """Twelve rows of six patients."""
    ids = [f"i{n}" for n in range(12)]
    values = {
        "name": "made",
        "label_names": ("a", "b"),
        "codes": np.tile(np.array([[1, 0], [0, -1]], dtype=np.int8), (6, 1)),
        "rows": pd.DataFrame({"id": ids, "group": [f"p{n // 2}" for n in range(12)], "source": "made"}),
        "where": "nowhere.csv",
        "pixels": np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4),
    }
    return LabelTable(**values | changed)


def rows(**columns: Any) -> pd.DataFrame:
    return table().rows.assign(**columns)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"codes": table().codes * 2}, "codes holds 2; allowed: 1, 0, or -1 where unknown"),
        ({"codes": table().codes * 0.5}, r"codes holds 0.5"),
        (
            {"codes": table().codes[:, :1]},
            r"codes has the shape \(12, 1\) where 12 rows and 2 label_names need \(12, 2\)",
        ),
        ({"codes": table().codes[1:]}, r"codes has the shape \(11, 2\)"),
        ({"codes": table().codes.tolist()}, "codes has the shape list"),
        ({"rows": rows().drop(columns="group")}, "rows has no column group; it needs id, group and source"),
        ({"rows": rows(split="train")}, "rows has a column split, which is not read"),
        ({"pixels": table().pixels[1:]}, "11 images .* where 12 rows need 12"),
        ({"label_names": ("a", "a")}, "label_names holds a name twice"),
        ({"rows": rows().iloc[:0], "codes": table().codes[:0], "pixels": table().pixels[:0]}, "no row is left to use"),
        ({"rows": rows(group=[""] + ["p1"] * 11)}, "line 0: the group is empty"),
        ({"rows": rows(id=["i0", "i0", *[f"i{n}" for n in range(2, 12)]])}, "line 1, 'i0': it is on line 0 already"),
    ],
)
def test_what_a_loader_may_not_give(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_dataset(table(**changed), CONTEXT)


def test_what_a_loader_must_return(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltml.registry import DATASETS

    monkeypatch.setitem(DATASETS._components, "nothing", lambda context: None)
    with pytest.raises(InputError, match="the loader of 'nothing' must return a LabelTable, not NoneType"):
        load_dataset("nothing", CONTEXT)


def _plain() -> Dataset:
    units = Units(np.array(["u0", "u1"], dtype=object), np.array([[1, 0], [0, 1]], dtype=np.int8), np.arange(12) % 2)
    dataset = to_dataset(table(), CONTEXT)
    return replace(dataset, units=units)


def _with_row(dataset: Dataset, name: str, value: str) -> Dataset:
    changed = dataset.table.copy()
    changed.loc[3, name] = value
    return replace(dataset, table=changed)


def _units(dataset: Dataset, **changed: Any) -> Dataset:
    assert dataset.units is not None
    return replace(dataset, units=replace(dataset.units, **changed))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: replace(d, label_names=("a", "c")),
        lambda d: _with_row(d, "id", "x"),
        lambda d: _with_row(d, "group", "x"),
        lambda d: _with_row(d, "source", "x"),
        lambda d: replace(d, targets=1 - d.targets),
        lambda d: replace(d, known=~d.known),
        lambda d: replace(d, splits={**d.splits, "train": d.splits["train"][::-1]}),
        lambda d: replace(d, images=ArrayImages(table().pixels + np.uint8(1), 4, 1)),
        lambda d: replace(d, units=None),
        lambda d: _units(d, ids=np.array(["u0", "u2"], dtype=object)),
        lambda d: _units(d, codes=np.array([[1, 0], [0, 0]], dtype=np.int8)),
        lambda d: _units(d, of_row=np.arange(12) // 6),
    ],
)
def test_everything_that_results_depend_on_is_in_the_fingerprint(change: Callable[[Dataset], Dataset]) -> None:
    assert change(_plain()).fingerprint() != _plain().fingerprint()
    assert _plain().fingerprint() == _plain().fingerprint()


def test_rows_chosen_take_their_images_and_splits_along() -> None:
    given = table(splits={"train": np.arange(6), "val": np.arange(6, 8), "test": np.arange(8, 12)})
    chosen = given.choose(np.array([11, 2, 7]), "for a test")
    assert chosen.rows["id"].tolist() == ["i11", "i2", "i7"]
    np.testing.assert_array_equal(chosen.pixels, given.pixels[[11, 2, 7]])
    assert {name: numbers.tolist() for name, numbers in chosen.splits.items()} == {
        "train": [1],
        "val": [2],
        "test": [0],
    }
    assert chosen.left_out == {"for a test": 9}


def test_the_figures_that_nih_is_compared_with_are_the_published_ones() -> None:
    v2020, v2017, of_list = nih.VERSIONS
    assert (v2020.images, v2020.patients) == (v2017.images, v2017.patients) == (112_120, 30_805)
    assert v2020.positives == {"No Finding": 60_361, "Pneumonia": 1431, "Hernia": 227}
    assert v2017.positives["Pneumonia"] == 1353
    assert (of_list.images, sum(of_list.positives.values())) == (86_524, 53_970)
    assert of_list.positives["Cardiomegaly"] == 1707


def _published(root: Path, **told: Any) -> dict[str, dict[str, tuple[int, int]]]:
    context = replace(CONTEXT, root=root, faults=Faults(collect=True), **told)
    return {entry.version: entry.differences for entry in load_dataset("chexpert", context).published}


def test_counts_are_compared_as_the_data_give_them_whatever_split_is_used(tmp_path: Path) -> None:
    root = chexpert.build(tmp_path)
    plain = _published(root)
    assert plain["v1.0 train.csv"]["images"] == (223_414, 48)
    assert plain == _published(root, given_split=False)
    some = sorted((root / "CheXpert-v1.0-small").rglob("*.jpg"))[0]
    some.unlink()
    assert plain == _published(root, skip_unreadable=True)
