from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures.datasets import chexpert, covidx, nih, odir5k
from PIL import Image

from ltml.data.context import DataContext
from ltml.data.dataset import Dataset
from ltml.data.datasets.union import UnionSource
from ltml.data.label_names import Vocabulary
from ltml.data.table import load_dataset
from ltml.errors import InputError
from ltml.recipe.load import load_recipe

SPLIT = ["train"] * 12 + ["val"] * 4 + ["test"] * 4


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Two clinics that label different findings under different names; patient p7 is in both."""
    rng = np.random.default_rng(0)
    columns = {
        "north": {"Pleural_Thickening": [1, 0] * 10, "Effusion": [0, 0, 1, 1] * 5, "Mass": [0] * 10 + [1] * 10},
        "south": {"pleural effusion": [1] * 5 + [0] * 15, "Edema": ["", 1, 0, 0] * 5, "Normal": [0, 0, 0, 1] * 5},
    }
    for clinic, labels in columns.items():
        folder = tmp_path / clinic
        folder.mkdir()
        names = [f"{i:02d}.png" for i in range(20)]
        for name in names:
            Image.fromarray(rng.integers(0, 255, (12, 12)).astype(np.uint8)).save(folder / name)
        groups = [f"p{i // 2}" for i in range(20)]
        pd.DataFrame({"image": names, "group": groups, "split": SPLIT, **labels}).to_csv(
            folder / "labels.csv", index=False
        )
    return tmp_path


def source(root: Path, clinic: str, **more: object) -> UnionSource:
    return UnionSource.model_validate(
        {"type": "csv", "name": clinic, "file": str(root / clinic / "labels.csv"), **more}
    )


def load(root: Path, *sources: UnionSource, seed: int = 0, context: dict | None = None, **options: object) -> Dataset:
    told = DataContext(root=root, size=12, channels=1, ratio=(7, 1, 2), seed=seed, **(context or {}))
    return load_dataset("union", told, sources=sources, **options)


def column(dataset: Dataset, name: str, source: str) -> list[float]:
    """Labels of one source, NaN where unknown, as -1."""
    c = dataset.label_names.index(name)
    rows = dataset.table["source"] == source
    return np.where(dataset.known[rows, c], dataset.targets[rows, c].astype(int), -1).tolist()


def test_one_vocabulary_and_unknown_where_a_source_never_labels(tables: Path) -> None:
    union = load(tables, source(tables, "north"), source(tables, "south"))
    assert union.label_names == ("Pleural Thickening", "Effusion", "Mass", "Edema", "No Finding")
    assert column(union, "Effusion", "north") == [0, 0, 1, 1] * 5
    assert column(union, "Effusion", "south") == [1] * 5 + [0] * 15
    assert column(union, "Edema", "south") == [-1, 1, 0, 0] * 5
    for label, other in (
        ("Mass", "south"),
        ("Pleural Thickening", "south"),
        ("Edema", "north"),
        ("No Finding", "north"),
    ):
        assert column(union, label, other) == [-1] * 20


def test_no_finding_of_one_source_does_not_rule_out_what_it_never_labels(tables: Path) -> None:
    union = load(tables, source(tables, "north"), source(tables, "south"))
    normal = union.targets[:, union.label_names.index("No Finding")] == 1
    assert normal.sum() == 5
    assert not union.known[normal][:, union.label_names.index("Mass")].any()


def test_sources_keep_their_splits_ids_and_images(tables: Path) -> None:
    union = load(tables, source(tables, "north"), source(tables, "south"))
    assert {split: len(rows) for split, rows in union.splits.items()} == {"train": 24, "val": 8, "test": 8}
    assert union.ids("val")[:5].tolist() == [
        "north:12.png",
        "north:13.png",
        "north:14.png",
        "north:15.png",
        "south:12.png",
    ]
    row = int(np.flatnonzero(union.table["id"] == "south:03.png")[0])
    assert union.images.files(row) == [tables / "south" / "03.png"]
    np.testing.assert_array_equal(union.images.read(row)[..., 0], np.asarray(Image.open(tables / "south" / "03.png")))


def test_a_label_budget_masks_train_and_val_but_not_test(tables: Path) -> None:
    union = load(tables, source(tables, "north", labels_kept=["Effusion"]), source(tables, "south"))
    assert column(union, "Effusion", "north") == [0, 0, 1, 1] * 5
    assert column(union, "Mass", "north") == [-1] * 16 + [1] * 4
    with pytest.raises(InputError, match="labels_kept of source 'north' names 'Efusion'.*did you mean 'Effusion'"):
        load(tables, source(tables, "north", labels_kept=["Efusion"]))


def test_disjoint_parts_and_limits_of_the_training_images(tables: Path) -> None:
    halves = [load(tables, source(tables, "north", part=[k, 2])) for k in (1, 2)]
    ids = [set(half.ids("train")) for half in halves]
    assert not ids[0] & ids[1]
    assert len(ids[0] | ids[1]) == 12
    groups = [set(half.table["group"].iloc[half.splits["train"]]) for half in halves]
    assert not groups[0] & groups[1]
    assert all(len(half.splits["test"]) == 4 for half in halves)
    few = load(tables, source(tables, "north", images=5))
    assert len(few.splits["train"]) == 5
    assert set(few.ids("train")) == set(load(tables, source(tables, "north", images=5)).ids("train"))
    assert set(few.ids("train")) != set(load(tables, source(tables, "north", images=5), seed=1).ids("train"))


def test_labels_can_be_chosen_and_named(tables: Path) -> None:
    both = (source(tables, "north"), source(tables, "south"))
    assert load(tables, *both, labels=("Edema", "pleural_effusion")).label_names == ("Edema", "Effusion")
    assert "Nodule" in load(tables, *both, aliases={"mass": "Nodule"}).label_names
    with pytest.raises(InputError, match="data.labels names 'Oedema'.*did you mean 'Edema'"):
        load(tables, *both, labels=("Oedema",))


def test_two_labels_of_a_source_with_one_canonical_name_become_one(tables: Path) -> None:
    union = load(tables, source(tables, "south"), aliases={"Edema": "Fluid", "Pleural Effusion": "Fluid"})
    effusion, edema = np.array([1] * 5 + [0] * 15), np.array([-1, 1, 0, 0] * 5)
    expected = np.where((effusion == 1) | (edema == 1), 1, np.where(edema == 0, 0, -1))
    assert column(union, "Fluid", "south") == expected.tolist()


def test_what_a_subclass_says_of_its_parent(tables: Path, caplog: pytest.LogCaptureFixture) -> None:
    both = (source(tables, "north"), source(tables, "south"))
    with caplog.at_level("INFO", logger="ltml"):
        union = load(tables, *both, subclass_of={"Edema": "Effusion"})
    assert column(union, "Edema", "north") == [0, 0, -1, -1] * 5  # no effusion, so no edema; effusion says nothing
    assert column(union, "Effusion", "south") == [1] * 5 + [0] * 15  # what a source says itself stays
    assert "4 row(s) have Edema but not Effusion" in caplog.text
    assert "made 13 unknown labels known" in caplog.text


def test_sources_that_share_patients_may_not_split_them(tables: Path) -> None:
    moved = tables / "south" / "labels.csv"
    moved.write_text(moved.read_text().replace("train", "x").replace("test", "train").replace("x", "test"))
    load(tables, source(tables, "north"), source(tables, "south"))  # groups of their own
    with pytest.raises(InputError, match="group in two splits.*'clinic:p0'.*train and test"):
        load(tables, source(tables, "north", patients="clinic"), source(tables, "south", patients="clinic"))


def test_a_stored_split_is_that_of_the_union(tables: Path) -> None:
    both = (source(tables, "north"), source(tables, "south"))
    union = load(tables, *both)
    stored = union.split_table()
    stored["split"] = stored["split"].map({"train": "test", "test": "train", "val": "val"})
    stored.to_csv(tables / "split.csv", index=False)
    again = load(tables, *both, context={"split_file": tables / "split.csv"})
    assert sorted(again.ids("train")) == sorted(union.ids("test"))


def test_wrong_sources_are_named(tables: Path) -> None:
    with pytest.raises(InputError, match="north appears more than once"):
        load(tables, source(tables, "north"), source(tables, "north"))
    with pytest.raises(InputError, match="data.roots names 'nort'.*did you mean 'north'"):
        load(tables, source(tables, "north"), context={"roots": {"nort": tables}})
    with pytest.raises(InputError, match="needs the folder of its files: add data.roots.nih=FOLDER"):
        load(tables, UnionSource(type="nih"))


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("[{type: nhi}]", "unknown dataset 'nhi': did you mean 'nih'"),
        ("[{type: digits, train_sise: 5}]", "train_sise = 5: did you mean 'train_size'"),
        ("[{type: digits, train_size: many}]", "train_size = 'many'"),
        ("[{type: digits, part: [3, 2]}]", r"must be \[k, n\] with 1 ≤ k ≤ n"),
        ("[{type: digits, name: 'a:b'}]", "':' and '/' are not allowed"),
        ("[]", "data.sources"),
    ],
)
def test_a_recipe_with_wrong_sources_is_refused_when_it_is_read(sources: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe("cxr_union", [f"data.sources={sources}"])


def test_spellings_are_one_label() -> None:
    words = Vocabulary({"Airspace Disease": "Lung Opacity"})
    assert words.canonical("Pleural_Thickening") == words.canonical("pleural thickening") == "Pleural Thickening"
    assert words.canonical("Airspace Opacity") == words.canonical("airspace disease") == "Lung Opacity"
    assert words.canonical("Normal") == "No Finding"
    assert words.names() == ("Pleural Thickening", "Lung Opacity", "No Finding")


def test_a_stored_split_keeps_label_budgets_where_they_belong(tables: Path) -> None:
    both = (source(tables, "north", labels_kept=["Effusion"]), source(tables, "south"))
    swapped = load(tables, *both).split_table()
    swapped["split"] = swapped["split"].map({"train": "test", "test": "train", "val": "val"})
    swapped.to_csv(tables / "split.csv", index=False)
    union = load(tables, *both, context={"split_file": tables / "split.csv"})
    mass = union.label_names.index("Mass")
    north = (union.table["source"] == "north").to_numpy()
    for split, known in {"train": False, "val": False, "test": True}.items():
        rows = union.splits[split]
        assert (union.known[rows[north[rows]], mass] == known).all()
    swapped.assign(id="west:" + swapped["id"]).to_csv(tables / "split.csv", index=False)
    with pytest.raises(InputError, match="the id 'west:.*' is of no source"):
        load(tables, *both, context={"split_file": tables / "split.csv"})


def test_parts_of_one_dataset_are_disjoint_tested_once_and_share_patients(tables: Path) -> None:
    file = tables / "north" / "labels.csv"
    halves = [
        UnionSource.model_validate({"type": "csv", "name": name, "file": str(file), "part": [k, 2]})
        for k, name in ((1, "first"), (2, "second"))
    ]
    union = load(tables, *halves)
    images = union.table["image"]
    train = images.iloc[union.splits["train"]]
    assert len(train) == len(set(train)) == 12
    assert images.iloc[union.splits["test"]].tolist() == ["16.png", "17.png", "18.png", "19.png"]
    assert set(union.table["group"]) == {f"first:p{i}" for i in range(10)}
    assert union.left_out == {
        "first: not in part 1 of 2": 6,
        "second: not in part 2 of 2": 6,
        "second: tested as another source already": 4,
    }


def test_aliases_of_aliases_and_wrong_ones(tables: Path) -> None:
    both = (source(tables, "north"), source(tables, "south"))
    assert load(tables, *both, aliases={"Edema": "Pleural Effusion"}).label_names == (
        "Pleural Thickening",
        "Effusion",
        "Mass",
        "No Finding",
    )
    with pytest.raises(InputError, match="data.aliases form a circle"):
        load(tables, *both, aliases={"Edema": "Mass", "Mass": "Edema"})
    with pytest.raises(InputError, match="data.aliases names 'Edma', which no source labels: did you mean 'Edema'"):
        load(tables, *both, aliases={"Edma": "Mass"})
    with pytest.raises(InputError, match="data.labels names one label more than once"):
        load(tables, *both, labels=("Effusion", "Pleural Effusion"))


@pytest.mark.parametrize("order", [("Mass", "Effusion"), ("Effusion", "Mass")])
def test_sub_classes_of_sub_classes_do_not_depend_on_their_order(tables: Path, order: tuple[str, str]) -> None:
    parents = {"Mass": "Effusion", "Effusion": "Edema"}
    union = load(
        tables, source(tables, "north"), source(tables, "south"), subclass_of={child: parents[child] for child in order}
    )
    effusion, mass = np.array([0, 0, 1, 1] * 5), np.array([0] * 10 + [1] * 10)
    assert column(union, "Edema", "north") == np.where(effusion == 1, 1, -1).tolist()
    assert column(union, "Mass", "north") == mass.tolist()


def test_separate_labels_are_two_classes_where_two_sources_have_them(tables: Path) -> None:
    both = (source(tables, "north", labels_kept=["Effusion"]), source(tables, "south"))
    union = load(tables, *both, separate=True)
    assert union.label_names == ("north: Effusion", "south: pleural effusion", "south: Edema", "south: Normal")
    assert column(union, "north: Effusion", "north") == [0, 0, 1, 1] * 5
    assert column(union, "north: Effusion", "south") == [-1] * 20
    file = str(tables / "north" / "labels.csv")
    twice = [UnionSource.model_validate({"type": "csv", "name": name, "file": file}) for name in ("a", "b")]
    assert len(load(tables, *twice, separate=True).splits["test"]) == 8  # each has classes of its own to be tested on
    assert len(load(tables, *twice).splits["test"]) == 4


def test_labels_of_units_are_masked_and_inferred_too(tmp_path: Path) -> None:
    odir5k.build(tmp_path / "odir5k")
    eyes = UnionSource.model_validate({"type": "odir5k", "labels_kept": ["D", "O"]})
    union = load(tmp_path, eyes)
    assert union.units is not None
    cataract = union.label_names.index("C")
    for split, known in {"train": False, "val": False, "test": True}.items():
        codes = union.units.codes[np.unique(union.units.of_row[union.splits[split]])]
        assert ((codes[:, cataract] >= 0) == known).all()
    parent = load(tmp_path, eyes, subclass_of={"D": "G"})
    assert parent.units is not None
    train = np.unique(parent.units.of_row[parent.splits["train"]])
    codes = parent.units.codes[train]
    assert (codes[codes[:, parent.label_names.index("D")] == 1, parent.label_names.index("G")] == 1).all()


def test_a_folder_that_is_not_there_is_named(tables: Path) -> None:
    with pytest.raises(InputError, match=r"data.root .*nope is not a folder"):
        load(tables / "nope", UnionSource(type="nih"))
    with pytest.raises(InputError, match="add data.roots.nih=FOLDER, or a folder 'nih' in data.root"):
        load(tables, UnionSource(type="nih"))
    with pytest.raises(InputError, match="data.roots is for data.type=union"):
        load_recipe_data("nih", tables)


def load_recipe_data(name: str, root: Path) -> Dataset:
    context = DataContext(root=None, size=12, channels=1, ratio=(7, 1, 2), seed=0, roots={"nih": root})
    return load_dataset(name, context)


SMALL = ("data.image_size=32", "data.resize=32", "train.epochs=1", "backbone={name: resnet18, pretrained: false}")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``data.root`` of cxr_union_covid names: nih/, chexpert/, covidx/."""
    root = tmp_path_factory.mktemp("films")
    nih.build(root / "nih")
    chexpert.build(root / "chexpert")
    covidx.build(root / "covidx")
    return root


def test_nih_and_chexpert_have_20_classes_of_which_seven_are_shared(cli, films: Path) -> None:
    result = cli("data", "stats", "cxr_union", f"data.root={films}", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert len(found["labels"]) == 20
    known = {
        source: {name for name, counts in entry["labels"].items() if counts["known"]}
        for source, entry in found["sources"].items()
    }
    assert known["nih"] & known["chexpert"] == {
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Effusion",
        "Pneumonia",
        "Pneumothorax",
    }
    assert (len(known["nih"]), len(known["chexpert"])) == (14, 13)
    assert "No Finding" not in found["labels"]


def test_cxr_union_is_checked_trained_and_joined_by_covidx(cli, films: Path, tmp_path: Path) -> None:
    result = cli("data", "check", "cxr_union_covid", f"data.root={films}", "--json")
    report = json.loads(result.stdout)
    assert report["faults"] == []
    assert set(report["versions"]) == {"nih", "chexpert", "covidx"}
    run = ("data.draw=equal", f"data.roots.nih={films / 'nih'}", f"data.roots.chexpert={films / 'chexpert'}")
    result = cli("stage1", "cxr_union", *run, *SMALL, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "Pleural Thickening" in result.stdout
    recipe = next(tmp_path.rglob("cxr_union/label_adapter*/seed0/recipe.yaml"))
    moved = cli("stage1", str(recipe), f"data.root={films}", "data.roots={}", *SMALL, "--out", tmp_path)
    assert moved.exit_code == 0, moved.output  # where files lie is no part of what a run is
    assert "stage 1, epoch" not in moved.stderr


def test_digits_twice_with_disjoint_labels_runs(cli, tmp_path: Path) -> None:
    sizes = "train_size: 200, val_size: 60, test_size: 40, imbalance_ratio: 5.0"
    odd, even = "[one, three, five, seven, nine]", "[zero, two, four, six, eight]"
    sources = (
        f"[{{type: digits, name: odd, part: [1, 2], labels_kept: {odd}, {sizes}}}, "
        f"{{type: digits, name: even, part: [2, 2], labels_kept: {even}, {sizes}}}]"
    )
    small = ["data.image_size=32", "data.channels=1", "data.resize=null", "data.views={}", "train.epochs=1"]
    small += ["backbone={name: resnet18, pretrained: false}", "data.draw=equal"]
    result = cli("stage1", "cxr_union", f"data.sources={sources}", "data.labels=null", *small, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "nine" in result.stdout


def test_a_source_names_its_own_options(tmp_path: Path) -> None:
    root = nih.build(tmp_path)
    (root / "train_val_list.txt").unlink()
    context = DataContext(root=None, size=16, channels=1, ratio=(7, 1, 2), seed=0, roots={"nih": root})
    with pytest.raises(InputError, match=r"'lists: FOLDER' for the source 'nih' in data.sources"):
        load_dataset("union", context, sources=(UnionSource(type="nih"),))
    with pytest.raises(InputError, match=r"add 'file: labels.csv' for the source 'mine' in data.sources"):
        load_dataset("union", replace(context, roots={}), sources=(UnionSource(type="csv", name="mine"),))
