"""Every kind of fault, planted one at a time in a clean tree, is found; none is invented."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.datasets import nih
from PIL import Image

from ltml.data import inspection
from ltml.data.inspection import inspect_images
from ltml.report.tables.data import check_text
from ltml.stages.data import check_data

LABELS = "Data_Entry_2017_v2020.csv"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of NIH; with a stratified split every label has positives in every split."""
    return nih.build(tmp_path_factory.mktemp("clean") / "nih", patients=60)


@pytest.fixture
def tree(clean: Path, tmp_path: Path) -> Path:
    """A copy to plant faults in."""
    return Path(shutil.copytree(clean, tmp_path / "nih"))


def _check(cli, root: Path, *more: str) -> tuple[int, dict]:
    small = ("data.resize=null", "data.image_size=16", "data.split.stratify=true")
    result = cli("data", "check", "nih", f"data.root={root}", *small, "--json", *more)
    return result.exit_code, json.loads(result.stdout)


def _edit(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_clean_copy_has_no_faults(cli, clean: Path) -> None:
    code, report = _check(cli, clean)
    assert code == 0
    assert report["faults"] == []
    assert {w["kind"] for w in report["warnings"]} == {"unexpected size", "unexpected mode", "unpublished counts"}
    assert report["sizes"] == {"24×24": 120}
    assert report["modes"] == {"L": 118, "RGBA": 2}
    assert sum(report["rows"].values()) == 120
    assert report["versions"] == {"nih": "unknown"}


def _copy(source: str, target: str) -> Callable[[Path], object]:
    return lambda root: shutil.copy(root / "images" / source, root / "images" / target)


def _truncate(root: Path) -> None:
    path = root / "images" / "00000002_000.png"
    path.write_bytes(path.read_bytes()[:-300])


def _move_out(root: Path) -> None:
    shutil.copy(root / "images" / "00000002_000.png", root.parent / "out.png")
    for file in (LABELS, "train_val_list.txt"):
        _edit(root, file, "00000002_000.png", "../../out.png")


@pytest.mark.parametrize(
    ("plant", "kind", "where"),
    [
        (lambda root: (root / "images/00000002_000.png").unlink(), "missing image", "00000002_000.png"),
        (lambda root: (root / "images/00000002_000.png").write_bytes(b""), "empty image file", "00000002_000.png"),
        (lambda root: (root / "images/00000002_000.png").write_text("no"), "unreadable image", "00000002_000.png"),
        (_truncate, "truncated image", "00000002_000.png"),
        (_copy("00000001_000.png", "00000060_000.png"), "same pixels in two splits", "00000001_000.png"),
        (lambda root: _edit(root, LABELS, "Hernia|Effusion", "Hernya"), "unknown label value", "line 3"),
        (lambda root: _edit(root, LABELS, "00000001_001.png", "00000001_000.png"), "listed twice", "line 3"),
        (lambda root: _edit(root, LABELS, ",1,60,79,", ",1,1,79,"), "group in two splits", "group '1'"),
        (lambda root: _edit(root, "test_list.txt", "00000060_001", "00000001_001"), "image in two splits", "0001_001"),
        (lambda root: _edit(root, "test_list.txt", "00000060_001", "00000099_001"), "unknown id", "test_list.txt"),
        (_move_out, "path outside the root", "out.png"),
    ],
)
def test_each_planted_fault_is_found_and_nothing_else(
    cli, tree: Path, plant: Callable[[Path], object], kind: str, where: str
) -> None:
    plant(tree)
    code, report = _check(cli, tree)
    assert code == 1
    kinds = Counter(fault["kind"] for fault in report["faults"])
    consequences = {"listed twice": {"unknown id": 1}}  # the other name is gone from the label file
    assert kinds == Counter({kind: 1} | consequences.get(kind, {}))
    assert any(where in fault["where"] for fault in report["faults"] if fault["kind"] == kind)


def test_several_faults_are_all_in_the_table(cli, tree: Path) -> None:
    (tree / "images" / "00000002_000.png").unlink()
    _edit(tree, LABELS, "Hernia|Effusion", "Hernya")
    result = cli("data", "check", "nih", f"data.root={tree}")
    assert result.exit_code == 1
    assert "faults: 2" in result.stdout
    for words in ("missing image: 1", "00000002_000.png: there is no such file (line", "Finding Labels 'Hernya'"):
        assert words in result.stdout


def test_copies_within_a_split_are_a_warning(cli, tree: Path) -> None:
    _copy("00000060_000.png", "00000059_000.png")(tree)
    code, report = _check(cli, tree)
    assert code == 0
    (warning,) = (w for w in report["warnings"] if w["kind"] == "same pixels in one split")
    assert "00000059_000.png" in warning["where"]
    assert "00000060_000.png" in warning["message"]


def test_a_class_without_positives_is_a_warning_for_its_split(cli, tree: Path) -> None:
    text = (tree / LABELS).read_text()
    (tree / LABELS).write_text(text.replace("Emphysema|Fibrosis", "Fibrosis"))
    code, report = _check(cli, tree)
    assert code == 0
    found = [w for w in report["warnings"] if w["kind"] == "no positive in a split"]
    assert [w["where"] for w in found] == ["Emphysema"] * 3
    assert any("no known positive in train: it cannot be learned" in w["message"] for w in found)


def test_a_label_that_nobody_knows_is_a_fault(cli, image_table: Callable[..., Path]) -> None:
    result = cli("data", "check", "csv_small", f"data.file={image_table(ghost='')}", "--json")
    assert result.exit_code == 1
    (fault,) = json.loads(result.stdout)["faults"]
    assert (fault["kind"], fault["where"]) == ("label never known", "ghost")


def test_one_file_on_rows_of_two_splits(cli, image_table: Callable[..., Path]) -> None:
    file = image_table(id=[f"r{i}" for i in range(60)], split=["train"] * 40 + ["val"] * 8 + ["test"] * 12)
    file.write_text(file.read_text().replace("images/050.png", "images/000.png"))
    result = cli("data", "check", "csv_small", f"data.file={file}", "--json")
    assert [fault["kind"] for fault in json.loads(result.stdout)["faults"]] == ["file on several rows in two splits"]


def test_too_large_and_too_small_images(cli, tree: Path) -> None:
    Image.fromarray(np.zeros((30, 24), dtype=np.uint8)).save(tree / "images" / "00000002_000.png")
    code, report = _check(cli, tree, "data.max_pixels=600")
    assert code == 1
    assert [(f["kind"], "30" in f["message"]) for f in report["faults"]] == [("too large image", True)]


def test_published_counts_name_the_version(cli, clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltml.data.datasets import nih as loader
    from ltml.data.table import LabelVersion

    found = LabelVersion("as built", 120, 60, {"Hernia": 14, "No Finding": 27})
    monkeypatch.setattr(loader, "VERSIONS", (LabelVersion("other", 120, 60, {"Hernia": 15}), found))
    _, report = _check(cli, clean)
    assert report["versions"] == {"nih": "as built"}
    assert "unpublished counts" not in {w["kind"] for w in report["warnings"]}
    monkeypatch.setattr(loader, "VERSIONS", (LabelVersion("other", 120, 60, {"Hernia": 15}),))
    _, report = _check(cli, clean)
    (warning,) = (w for w in report["warnings"] if w["kind"] == "unpublished counts")
    assert "against other: positives of Hernia 14 (published 15)" in warning["message"]


def test_files_are_not_decoded_twice(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((clean / "images").iterdir())
    first = inspect_images(paths)
    opened: list[Path] = []
    real = inspection.open_picture
    monkeypatch.setattr(inspection, "open_picture", lambda path, limit: opened.append(path) or real(path, limit))
    assert inspect_images(paths).pictures == first.pictures
    assert opened == []
    store = next((Path(inspection.cache_folder()) / "inspections").iterdir())
    lines = store.read_text().splitlines()
    store.write_text("\n".join(lines[:50]) + "\n" + lines[50][:20])  # as a killed process leaves it
    assert inspect_images(paths).pictures == first.pictures
    assert len(opened) == 70
    assert inspect_images(paths, fresh=True).pictures == first.pictures
    assert len(opened) == 70 + 120


def test_arrays_are_compared_too(cli) -> None:
    result = cli("data", "check", "digits_tiny", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["faults"] == []


def test_what_cannot_be_loaded_at_all_is_bad_input(cli, tmp_path: Path) -> None:
    result = cli("data", "check", "nih", f"data.root={tmp_path}")
    assert result.exit_code == 2
    assert "Data_Entry_2017" in result.stderr


def test_unreadable_images_can_be_skipped(cli, tree: Path, tmp_path: Path) -> None:
    _truncate(tree)
    (tree / "images" / "00000004_001.png").unlink()
    small = ["data.image_size=32", "data.resize=32", "train.epochs=1", "method=bce", f"data.root={tree}"]
    small += ["backbone={name: resnet18, pretrained: false}", "--out", str(tmp_path / "runs")]
    result = cli("run", "nih", *small)
    assert result.exit_code == 2
    result = cli("run", "nih", "data.unreadable=skip", *small)
    assert result.exit_code == 0, result.stderr
    assert "2 image(s) skipped" in result.stderr
    assert "00000004_001.png" in result.stderr
    split = next((tmp_path / "runs").rglob("split.csv")).read_text()
    assert "00000002_000" not in split
    assert "00000002_001" in split


def test_the_python_front_door(clean: Path) -> None:
    import ltml

    report = check_data(ltml.load_recipe("nih", [f"data.root={clean}"]))
    assert report == check_data(ltml.load_recipe("nih", [f"data.root={clean}"]))
    assert not report.faults


def test_advice_is_in_the_table_once_and_with_every_fault(cli, tree: Path) -> None:
    _edit(tree, LABELS, "Hernia|Effusion", "Hernya")
    _edit(tree, LABELS, "Pneumonia", "Pneumonya")
    result = cli("data", "check", "nih", f"data.root={tree}")
    assert result.stdout.count("→ Allowed: No Finding alone, or names out of") == 1
    _, report = _check(cli, tree)
    assert all("Allowed: No Finding" in fault["advice"] for fault in report["faults"])


def test_faults_come_in_the_order_of_the_file(cli, tree: Path) -> None:
    text = (tree / LABELS).read_text().splitlines()
    for line in (2, 9, 10, 11):
        text[line] = text[line].replace(".png,", f".png,x{line}|", 1)
    (tree / LABELS).write_text("\n".join(text))
    _, report = _check(cli, tree)
    assert [fault["where"].rpartition(" ")[2] for fault in report["faults"]] == ["3", "10", "11", "12"]


def test_arrays_beside_files_are_compared_too(cli, clean: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 24, 24)).astype(np.uint8)
    images[29] = images[0]
    split = np.array(["train"] * 20 + ["val"] * 5 + ["test"] * 5)
    targets = np.arange(60).reshape(30, 2) % 2.0
    np.savez(tmp_path / "a.npz", images=images, targets=targets, label_names=["Mass", "Edema"], split=split)
    sources = f"[{{type: nih}}, {{type: npz, file: {tmp_path / 'a.npz'}}}]"
    union = ("cxr_union", f"data.sources={sources}", f"data.roots.nih={clean}", "--json")
    report = json.loads(cli("data", "check", *union).stdout)
    assert [fault["kind"] for fault in report["faults"]] == ["same pixels in two splits"]
    assert "npz:" in report["faults"][0]["message"]


def test_faults_met_before_loading_had_to_stop_are_not_lost(cli, tree: Path) -> None:
    _edit(tree, LABELS, "Hernia|Effusion", "Hernya")
    (tree / "test_list.txt").write_text("\n")
    result = cli("data", "check", "nih", f"data.root={tree}")
    assert result.exit_code == 2
    assert "no images for test" in result.stderr
    assert "Without them: " in result.stderr
    assert "Hernya" in result.stderr


def test_a_lower_limit_looks_at_large_images_again(clean: Path) -> None:
    paths = sorted((clean / "images").iterdir())
    assert not inspect_images(paths, max_pixels=600).unreadable
    assert len(inspect_images(paths, max_pixels=500).unreadable) == 120


def test_the_same_pixels_in_another_shape_are_another_picture(tmp_path: Path) -> None:
    for name, shape in (("a.png", (4, 9)), ("b.png", (9, 4))):
        Image.fromarray(np.arange(36, dtype=np.uint8).reshape(shape)).save(tmp_path / name)
    found = inspect_images([tmp_path / "a.png", tmp_path / "b.png"]).pictures
    assert len({picture.digest for picture in found.values()}) == 2


def test_an_unusable_cache_folder_does_not_stop_the_check(
    cli, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LTML_CACHE", str(tmp_path / "file"))
    code, report = _check(cli, clean)
    assert (code, report["faults"]) == (0, [])
    result = cli("data", "cache", "nih", f"data.root={clean}")
    assert result.exit_code == 1
    assert "LTML_CACHE names another folder" in result.stderr


def test_label_files_are_known_by_their_hash(cli, clean: Path) -> None:
    import hashlib

    _, report = _check(cli, clean)
    assert report["label_files"] == {LABELS: hashlib.sha256((clean / LABELS).read_bytes()).hexdigest()}


@pytest.mark.parametrize("content", ["", None])
def test_label_files_without_rows_are_said_to_be_so(cli, tree: Path, content: str | None) -> None:
    (tree / LABELS).write_text((tree / LABELS).read_text().splitlines()[0] if content is None else content)
    result = cli("data", "check", "nih", f"data.root={tree}")
    assert result.exit_code == 2
    assert ("a header but no rows" if content is None else "no content") in result.stderr


def test_pictures_of_one_value_or_few_levels_are_doubted_by_name(cli, tree: Path) -> None:
    rng = np.random.default_rng(0)
    marked = np.full((64, 64), 1000) + rng.integers(0, 100, (64, 64))
    marked[0, :10] = 65535  # a burnt-in letter
    pictures = {
        "00000002_000.png": np.full((24, 24), 7, np.uint8),
        "00000003_000.png": np.full((24, 24, 3), (200, 60, 30), np.uint8),
        "00000004_000.png": rng.integers(100, 140, (24, 24)).astype(np.uint8),
        "00000005_000.png": marked.astype(np.uint16),
        "00000006_000.png": rng.integers(0, 4096, (24, 24)).astype(np.uint16),  # uses all of its own range
    }
    for name, pixels in pictures.items():
        assert (tree / "images" / name).is_file()
        Image.fromarray(pixels).save(tree / "images" / name)
    code, report = _check(cli, tree)
    assert code == 0
    found = Counter(
        (w["kind"], Path(w["where"]).name) for w in report["warnings"] if w["kind"].startswith("picture of")
    )
    assert found == Counter(
        [
            ("picture of one value", "00000002_000.png"),
            ("picture of one value", "00000003_000.png"),
            ("picture of few levels", "00000004_000.png"),
            ("picture of few levels", "00000005_000.png"),
        ]
    )
    _, again = _check(cli, tree)  # from what was seen before
    assert again["warnings"] == report["warnings"]


def test_arrays_are_doubted_too(cli, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    images[3] = 9
    labels = np.arange(40)[:, None] % 2
    parts = {"train": slice(0, 20), "val": slice(20, 30), "test": slice(30, 40)}
    arrays = {f"{split}_images": images[part] for split, part in parts.items()}
    arrays |= {f"{split}_targets": labels[part] for split, part in parts.items()}
    np.savez(tmp_path / "a.npz", label_names=np.array(["odd"]), **arrays)
    result = cli("data", "check", "npz", f"data.file={tmp_path / 'a.npz'}", "data.image_size=8", "--json")
    warnings = [w for w in json.loads(result.stdout)["warnings"] if w["kind"].startswith("picture of")]
    assert [(w["kind"], w["where"]) for w in warnings] == [("picture of one value", "a, 'train-000003'")]


def test_many_sizes_are_told_by_the_commonest_and_their_range() -> None:
    sizes = {"1024×1024": 50} | {f"{width}×{2 * width}": 1 for width in range(100, 190)}
    report = {"faults": [], "warnings": [], "rows": {}, "left_out": {}, "label_files": {}, "versions": {}}
    shown = check_text(report | {"sizes": sizes, "modes": {"L": 140}})
    assert (
        "image sizes: 1024×1024 50, 100×200 1, 101×202 1 and 88 more; widths 100 to 1024, heights 200 to 1024" in shown
    )
    assert "150×300" not in shown
