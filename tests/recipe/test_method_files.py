"""A method preset by path: a file of the user's own beside the shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ltml.comparison.plan import plan_comparison, recipe_of
from ltml.errors import InputError
from ltml.recipe.load import identity, load_recipe
from ltml.stages.run_directory import run_folder

MINE = """
description: mine
head: {type: linear, linear: {pool: max}}
loss: {type: focal, focal: {gamma: 3.0}}
objectives: [{type: supervised}]
stage2: {method: none}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(MINE)


def test_a_file_is_a_method_called_by_its_name() -> None:
    recipe = load_recipe("digits_tiny", ["method=mine.yaml", "train.lr=0.5"])
    plain = load_recipe("digits_tiny", ["method=bce"])
    assert (recipe.method, recipe.description, recipe.train.lr) == ("mine", plain.description, 0.5)
    assert (recipe.head.options["pool"], recipe.loss.options["gamma"]) == ("max", 3.0)
    assert run_folder(load_recipe("digits_tiny", ["method=mine.yaml"]), Path("runs")).parts[2] == "mine"
    by_full_path = load_recipe("digits_tiny", [f"method={Path('mine.yaml').absolute()}"])
    assert by_full_path == load_recipe("digits_tiny", ["method=mine.yaml"])


def test_a_recipe_file_names_a_method_file() -> None:
    Path("recipe.yaml").write_text("name: r\nmethod: mine.yaml\ndata: {type: digits, image_size: 32}\n")
    recipe = load_recipe("recipe.yaml")
    assert (recipe.method, recipe.variant, recipe.loss.type) == ("mine", "", "focal")


def test_a_saved_recipe_needs_no_method_file() -> None:
    recipe = load_recipe("digits_tiny", ["method=mine.yaml"])
    saved = recipe.to_dict() | {"stage1": ".", "data_fingerprint": "1"}
    Path("saved.yaml").write_text(yaml.safe_dump(saved))
    Path("mine.yaml").unlink()
    assert load_recipe("saved.yaml") == recipe
    assert load_recipe("saved.yaml", ["train.epochs=1"]).variant


def test_a_changed_method_file_is_another_run() -> None:
    before = load_recipe("digits_tiny", ["method=mine.yaml"])
    Path("mine.yaml").write_text(MINE.replace("3.0", "2.0"))
    after = load_recipe("digits_tiny", ["method=mine.yaml"])
    assert run_folder(before, Path("runs")) == run_folder(after, Path("runs"))
    changed = {key for key, value in identity(after).items() if identity(before)[key] != value}
    assert changed == {"loss.focal.gamma"}


def test_a_comparison_takes_method_files() -> None:
    plan = plan_comparison(["digits_tiny"], methods=["bce", "mine.yaml"], seeds="0..1")
    assert [row.name for row in plan.rows] == ["bce", "mine"]
    assert recipe_of(plan.rows[1], 1).loss.type == "focal"
    with pytest.raises(InputError, match="names one more than once"):
        plan_comparison(["digits_tiny"], methods=["mine.yaml", "./mine.yaml"])


@pytest.mark.parametrize(
    ("method", "text", "message"),
    [
        ("nine.yaml", None, "cannot read the method file nine.yaml"),
        ("mien", None, r"unknown method 'mien'.*A method is one of these names or the path of a .yaml file"),
        ("ldrnot", None, "unknown method 'ldrnot': did you mean 'ldrnet'"),
        ("a.yaml", "head: {type: linear", "a.yaml is not a valid method file: .*line 2"),
        ("a.yaml", "- head", "a.yaml is not a method: it must hold keys and values"),
        (
            "a.yaml",
            "train: {epochs: 2}",
            "a.yaml sets 'train', which a method preset does not: .*Allowed: description, head",
        ),
        ("a.yaml", "los: {type: bce}", "a.yaml sets 'los', which a method preset does not: did you mean 'loss'"),
        ("a.yaml", "data: {root: x}", "a.yaml sets 'data.root', which a method preset does not"),
        ("a.yaml", "loss: {type: fcal}", "fcal.*did you mean 'focal'"),
        ("bce.yaml", MINE, "bce.yaml has the name of the shipped method 'bce': rename the file"),
        ("my method.yaml", MINE, "my method.yaml: its name may hold letters"),
        ("labels.csv", "id,a\n1,0\n", "labels.csv is .*, not a method"),
        (".", None, "unknown method '.'"),
    ],
)
def test_what_is_no_method_is_refused(method: str, text: str | None, message: str) -> None:
    if text is not None:
        Path(method).write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe("digits_tiny", [f"method={method}"])
