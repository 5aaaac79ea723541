from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ltml.errors import InputError
from ltml.recipe.catalog import copy_recipe, method_names, read_shipped, recipe_names
from ltml.recipe.load import identity, load_recipe, recipe_from_dict
from ltml.recipe.schema import Recipe
from ltml.recipe.show import annotated_yaml
from ltml.stages.checks import check_recipe


def test_every_shipped_recipe_and_method_is_valid_and_described() -> None:
    assert {"digits", "digits_tiny", "nih", "odir5k", "cxr_union", "csv", "csv_small"} <= set(recipe_names())
    assert len(method_names()) > 0
    for folder in ("", "methods", "experiments"):
        for name, content in read_shipped(folder).items():
            assert len(content["description"]) > 20, name
    for name in recipe_names():
        check_recipe(load_recipe(name))
        of_several = load_recipe(name).data.type == "union"
        for method in sorted({*method_names()} - (set() if of_several else {"multi_task"})):
            recipe = load_recipe(name, [f"method={method}"])
            assert recipe.method == method


def test_heads_per_source_need_several_sources() -> None:
    with pytest.raises(InputError, match=r"data.separate is for data.type=union only .method=multi_task sets it"):
        load_recipe("digits", ["method=multi_task"])


def test_shipped_recipes_follow_the_order_of_the_layers() -> None:
    """A preset sets the head's type, loss, objectives and stage-2 method; a recipe none of those."""
    import importlib.resources

    root = importlib.resources.files("ltml_recipes")
    for name in method_names():
        preset = yaml.safe_load((root / "methods" / f"{name}.yaml").read_text())
        of_sources = {"single_source": {"train_on"}, "multi_task": {"separate"}}.get(name, set())  # what they are
        assert set(preset.get("data", {})) == of_sources, name
        assert set(preset) - {"data"} == {"description", "head", "loss", "objectives", "stage2"}, name
        assert set(preset["stage2"]) <= {"method", "solver", "gaussian", "restore_prior", "e_step"}, name
        assert set(preset["stage2"].get("e_step", {})) <= {"loss"}, name
    for name in recipe_names():
        recipe = yaml.safe_load((root / f"{name}.yaml").read_text())
        assert recipe["name"] == name
        assert not {"loss", "objectives"} & set(recipe)
        assert "type" not in recipe.get("head", {})
        assert not {"method", "solver", "gaussian", "prior", "restore_prior"} & set(recipe.get("stage2", {}))
        assert "loss" not in recipe.get("stage2", {}).get("e_step", {})


def test_defaults_then_preset_then_recipe_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmethod: bce\ndata: {type: digits, image_size: 32}\ntrain: {epochs: 7}\n")
    recipe = load_recipe(str(file), ["train.lr=0.5"])
    assert (recipe.train.epochs, recipe.train.lr, recipe.train.batch_size) == (7, 0.5, 32)
    assert recipe.head.type == "linear"
    assert recipe.head.options == {"pool": "avg"}
    replaced = load_recipe(str(file), ["method=ldrnet", "head.prompt_query.depth=2"])
    assert replaced.head.type == "prompt_query"
    assert replaced.head.options["depth"] == 2
    assert replaced.stage2.method == "gaussian"


def test_options_of_other_types_are_checked_and_left_out() -> None:
    recipe = load_recipe("digits", ["method=bce"])
    assert recipe.head.model_extra == {"linear": {"pool": "avg"}}
    with pytest.raises(InputError, match=r"unknown key 'head.prompt_query.dept'.*did you mean 'depth'"):
        load_recipe("digits", ["method=bce", "head.prompt_query.dept=3"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trian.epochs=3"], r"unknown key 'trian'.*did you mean 'train'"),
        (["train.epohcs=3"], r"unknown key 'train.epohcs' \(value 3\): did you mean 'epochs'"),
        (["data.train_sise=3"], r"unknown key 'data.train_sise'.*did you mean 'train_size'"),
        (["train.epochs=many"], r"train.epochs = 'many' is not allowed: input should be a valid integer"),
        (["train.epochs=true"], r"train.epochs = True is not allowed"),
        (["train.epochs=0"], r"train.epochs = 0 is not allowed: input should be greater than 0"),
        (["train.lr=fast"], r"train.lr = 'fast'"),
        (["train.optimizer=adan"], r"train.optimizer = 'adan' is not allowed.*did you mean 'adam'"),
        (["method=ldrnot"], r"unknown method 'ldrnot': did you mean 'ldrnet'"),
        (["head.type=liner"], r"head.type: unknown head 'liner': did you mean 'linear'"),
        (["head.liner.pool=max"], r"unknown key 'head.liner': did you mean 'linear'"),
        (["head.prompt_query.depth=0"], r"head.prompt_query.depth = 0 is not allowed"),
        (["head.prompt_query=3"], r"head.prompt_query must hold options"),
        (["loss.type=bse"], r"unknown loss 'bse': did you mean 'bce'"),
        (["loss.bce.reduction=avg"], r"loss.bce.reduction = 'avg'"),
        (["data.type=digitz"], r"unknown dataset 'digitz': did you mean 'digits'"),
        (["objectives=[{type: supervise}]"], r"objectives\[0\].type: unknown objective 'supervise'"),
        (["objectives=[]"], r"objectives = \[\] is not allowed"),
        (["stage2.prior=eq13"], r"stage2.prior.*'eq13'"),
        (["stage2.prior=[0.5,1.5]"], r"stage2.prior"),
        (["train=3"], r"train"),
        (["data.resize=16"], r"data.resize \(16\) must be at least data.image_size"),
        (["name=a/b"], r"name = 'a/b'"),
        (["epochs"], r"cannot read the override 'epochs': write KEY=VALUE"),
        (["=3"], r"cannot read the override '=3'"),
        (["train.epochs=[1"], r"cannot read the override"),
        (["train.lr=.inf"], r"train.lr = inf is not allowed"),
        (["train.betas=[2,3]"], r"train.betas.0 = 2"),
        (["backbone.options=[1]"], r"backbone.options = \[1\] is not allowed"),
        (["backbone.options={in_chans: 3}"], r"backbone.options cannot hold in_chans"),
        (["metrics.groups.quantiles=[0.9,0.1]"], r"tail must end below"),
        (["metrics.groups.head=[one]", "metrics.groups.medium=[one]"], r"one cannot be both"),
        (["objectives=[{type: supervised, start_epoch: 20}]"], r"no objective starts before train.epochs"),
        (["objectives=[{type: supervised, weight: -1}]"], r"^digits: objectives.0.weight = -1 is not allowed[^\n]*$"),
        (["a..b=1"], r"cannot read the override 'a..b=1'"),
        (["train.epochs="], r"train.epochs"),
        (["plugins=[no_such_module]"], r"plugins: cannot import 'no_such_module'"),
        (["train.lr=${nothing.here}"], r"nothing"),
    ],
)
def test_wrong_overrides_are_explained(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_recipe("digits", overrides)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [unclosed", "not a valid recipe file"),
        ("- a\n- b\n", "must hold keys and values"),
        ("3", "not a"),
        ("", "missing key 'name'"),
        ("just text", "must hold keys and values"),
        ("name: x\ndata: !!python/object/apply:os.system ['touch PWNED']\n", "not a valid recipe file"),
        ("name: x\ndata: {type: digits}\n", "missing key 'data.image_size'"),
        (
            "name: x\ndata:\n  type: csv\n  file: ???\n  image_size: 8\n",
            r"needs a value for data.file: add data.file=VALUE",
        ),
    ],
)
def test_broken_files_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe("broken.yaml")
    assert not (tmp_path / "PWNED").exists()


def test_unknown_recipes_and_files() -> None:
    with pytest.raises(InputError, match=r"unknown recipe 'digit': did you mean 'digits'"):
        load_recipe("digit")
    with pytest.raises(InputError, match=r"cannot read the recipe file nothing.yaml"):
        load_recipe("nothing.yaml")


def test_a_resolved_recipe_reads_back_the_same(tmp_path: Path) -> None:
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe_from_dict(recipe.to_dict()).to_dict() == recipe.to_dict()
        (tmp_path / "shown.yaml").write_text(annotated_yaml(recipe), encoding="utf-8")
        assert load_recipe(str(tmp_path / "shown.yaml")).to_dict() == recipe.to_dict()


def test_show_gives_every_field_with_its_meaning() -> None:
    text = annotated_yaml(load_recipe("digits"))
    for section in ("train", "stage2", "seeds"):
        for field, info in Recipe.model_fields[section].annotation.model_fields.items():  # type: ignore[union-attr]
            assert f"{field}:" in text
            assert info.description
            assert info.description in text
    assert "D of the class features" in text
    assert "training canvases" in text


def test_the_variant_names_what_was_overridden_and_matters() -> None:
    plain = load_recipe("digits").variant
    assert plain == ""
    unchanged = [
        [], ["train.epochs=20"], ["method=bce"], ["seeds.train=4", "seeds.sample=4"], ["train.device=cpu"],
        ["data.root=/x"], ["name=other"],
    ]  # fmt: skip
    for overrides in unchanged:
        assert load_recipe("digits", overrides).variant == "", overrides
    one, two = (load_recipe("digits", [f"train.epochs={n}"]).variant for n in (3, 4))
    assert len(one) == 8
    assert one != two
    assert load_recipe("digits", ["seeds.split=1"]).variant
    assert load_recipe("digits", ["seeds.sample=1"]).variant


def test_an_override_sets_what_it_names_and_a_mapping_replaces() -> None:
    assert load_recipe("digits", ["backbone.options={}"]).backbone.options == {}
    assert load_recipe("digits", ["backbone.options.output_stride=16"]).backbone.options["layers"] == [1, 1, 1, 1]
    assert load_recipe("digits", ["train.epochs=3", "train.epochs=4"]).train.epochs == 4
    assert load_recipe("digits", ["objectives[0].weight=2.0"]).objectives[0].weight == 2.0


def test_a_runs_own_recipe_is_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("digits", ["train.epochs=3"])
    about = {"stage1": "../x", "data_fingerprint": "0"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.to_dict() | about))
    assert identity(load_recipe(str(tmp_path / "recipe.yaml"))) == identity(recipe)  # its variant too
    assert load_recipe(str(tmp_path / "recipe.yaml"), ["train.epochs=4"]).variant not in ("", recipe.variant)


def test_a_recipe_is_valid_whatever_machine_checks_it() -> None:
    check_recipe(load_recipe("digits", ["train.device=cuda:99"]))


def test_paths_are_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("csv_small", ["data.file=here/labels.csv", "data.root=~/x", "backbone.weights=w.pth"])
    assert recipe.data.options["file"] == tmp_path / "here" / "labels.csv"
    assert recipe.data.root == Path.home() / "x"
    assert recipe.backbone.weights == tmp_path / "w.pth"


def test_identity_leaves_the_machine_out() -> None:
    a = identity(load_recipe("digits"))
    assert a == identity(load_recipe("digits", ["train.device=cpu", "data.workers=3"]))
    assert "train.device" not in a


def test_copies_take_their_own_name(tmp_path: Path) -> None:
    path = copy_recipe("digits", tmp_path / "mine.yaml")
    assert load_recipe(str(path)).name == "mine"
    assert "# No prompts" in path.read_text()  # comments stay
    assert copy_recipe("digits", tmp_path) == tmp_path / "digits.yaml"
    with pytest.raises(InputError, match="exists already"):
        copy_recipe("digits", path)
    with pytest.raises(InputError, match=r"ends in .yaml"):
        copy_recipe("digits", tmp_path / "mine.txt")
    with pytest.raises(InputError, match=r"holds letters, digits"):
        copy_recipe("digits", tmp_path / "my recipe.yaml")
    for name in ("123", "on", "null"):
        assert load_recipe(str(copy_recipe("digits", tmp_path / f"{name}.yaml"))).name == name
    (tmp_path / "sub").mkdir()
    assert copy_recipe(str(path), tmp_path / "sub") == tmp_path / "sub" / "mine.yaml"


def test_plugins_bring_components(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_plugin_loss.py").write_text(
        "from torch import nn\nfrom ltml.losses.bce import bce_loss\nfrom ltml.registry import LOSSES\n\n"
        "@LOSSES.register('my_loss')\nclass MyLoss(nn.Module):\n"
        "    '''A loss from outside.'''\n"
        "    def __init__(self, *, scale: float = 1.0):\n        super().__init__()\n        self.scale = scale\n"
        "    def forward(self, logits, targets, known=None):\n"
        "        return self.scale * bce_loss(logits, targets, known)\n"
    )
    monkeypatch.chdir(tmp_path)
    overrides = ["plugins=[my_plugin_loss]", "loss.type=my_loss", "loss.my_loss.scale=2.0"]
    assert load_recipe("digits", overrides).loss.options == {"scale": 2.0}
