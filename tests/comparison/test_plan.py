"""What a comparison consists of, and the shipped experiments."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest
import yaml
from fixtures.datasets import chexpert, nih

from ltml.comparison.compare import dry_run
from ltml.comparison.plan import ClaimSection, load_experiment, plan_comparison, recipe_of
from ltml.errors import InputError
from ltml.metrics.groups import make_groups
from ltml.recipe.catalog import experiment_names, recipe_names
from ltml.recipe.load import load_recipe
from ltml.stages.build import build_dataset, text_modes

PLACES = [(name, place) for name in experiment_names() for place in load_experiment(name).data]


NEEDS_TEXT_ENCODERS = {"ldrnet_table5"}
"""Experiments whose every row reads prompts, for which nothing ships: the only ones that digits cannot run."""


def test_every_experiment_runs_on_digits_first_and_is_no_recipe() -> None:
    assert len(experiment_names()) >= 8
    assert not set(experiment_names()) & set(recipe_names())
    root = importlib.resources.files("ltml_recipes") / "experiments"
    for name in experiment_names():
        experiment = load_experiment(name)
        assert experiment.name == name
        first = next(iter(yaml.safe_load((root / f"{name}.yaml").read_text())["data"]))
        assert (first == "digits") == (name not in NEEDS_TEXT_ENCODERS)
        assert len(plan_comparison([name]).seeds) >= 5


@pytest.mark.parametrize(("name", "place"), [pair for pair in PLACES if pair[0] in NEEDS_TEXT_ENCODERS])
def test_what_digits_cannot_run_reads_prompts_in_every_row(name: str, place: str) -> None:
    recipes = [recipe_of(row, 0) for row in plan_comparison([name], on=place).rows]
    assert all(text_modes(recipe) for recipe in recipes)
    assert len({recipe.text.encoder for recipe in recipes} - {"none"}) == len(recipes) == 3


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_every_row_of_every_experiment_is_a_valid_recipe_of_its_own(name: str, place: str, tmp_path: Path) -> None:
    """No two rows are the same run, which would compare a thing with itself."""
    cells = dry_run(plan_comparison([name], on=place, seeds="0"), tmp_path)
    assert len({cell["run"] for cell in cells}) == len(cells) > 1
    assert not list(tmp_path.iterdir())


LUO_TABLE6 = {
    "common": (0.8128, 0.8251, 0.8273, 0.8284, 0.8285, 0.8137, 0.8285, 0.8198, 0.8205),
    "internal only": (0.8272, 0.8286, 0.8339, 0.8297, 0.8321, 0.8317, 0.8354, 0.8271, 0.8297),
    None: (0.8200, 0.8268, 0.8306, 0.8291, 0.8303, 0.8227, 0.8320, 0.8234, 0.8251),
}
"""Means of the paper's Table VI, columns a to i; None: over all 14 classes."""


def test_the_claims_of_luo_s_table_are_what_the_table_shows() -> None:
    """The paper's text swaps the names of its two group means; the classes' own rows give these means."""
    experiment = load_experiment("luo_table6")
    columns = [row.name for row in experiment.rows]

    def gain(claim: ClaimSection, mean: str | None) -> float:
        return LUO_TABLE6[mean][columns.index(claim.better)] - LUO_TABLE6[mean][columns.index(claim.than)]

    about_groups = [claim for claim in experiment.claims if claim.mean is not None]
    assert len(about_groups) == 2
    for claim in experiment.claims:
        assert gain(claim, claim.mean) > 0
    for claim in about_groups:
        (other,) = {"common", "internal only"} - {claim.mean}
        assert gain(claim, claim.mean) > 2 * gain(claim, other)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cxr")
    nih.build(folder / "nih")
    chexpert.build(folder / "chexpert")
    return folder


BUILT = [pair for pair in PLACES if pair[1] in ("digits", "cxr", "nih", "chexpert")]


@pytest.mark.parametrize(("name", "place"), BUILT)
def test_labels_that_an_experiment_names_are_those_of_its_data(name: str, place: str, roots: Path) -> None:
    plan = plan_comparison([name], on=place)
    named = {label for labels in (plan.means or {}).values() for label in labels}
    named |= {row.adds for row in plan.rows if row.adds} | ({plan.interest} if plan.interest else set())
    there: set[str] = set()
    for row in (plan.rows[0], plan.rows[-1]):
        of_union = load_recipe(row.recipe, row.overrides).data.type == "union"
        root = f"data.root={roots if of_union else roots / place}"
        small = (root, "data.image_size=32", "data.resize=null", "data.views={}", "method=joint")
        recipe = load_recipe(row.recipe, (*row.overrides, *(() if place == "digits" else small)))
        dataset = build_dataset(recipe)
        make_groups(dataset.label_names, dataset.class_counts().tolist(), recipe.metrics.groups.model_dump())
        there |= set(dataset.label_names)
    assert named <= there


def test_methods_over_recipes() -> None:
    methods, changes = ["bce", "ldrnet"], ["train.epochs=1"]
    plan = plan_comparison(["digits", "digits_tiny"], methods=methods, seeds="0,2", overrides=changes)
    assert [(row.data, row.name) for row in plan.rows] == [
        ("digits", "bce"),
        ("digits", "ldrnet"),
        ("digits_tiny", "bce"),
        ("digits_tiny", "ldrnet"),
    ]
    assert (plan.seeds, plan.reference, plan.name) == ((0, 2), "bce", "digits+digits_tiny")
    assert plan.rows[1].overrides == ("method=ldrnet", "train.epochs=1")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["digits"], {}, "--methods is missing"),
        (["digits"], {"methods": ["bce", "bce"]}, "--methods names one more than once: bce"),
        (["digits"], {"methods": ["bec"]}, "unknown method 'bec': did you mean 'bce'"),
        (["digits"], {"methods": ["bce"], "seeds": "4..0"}, "--seeds 4..0: write a range such as 0..4"),
        (["digits"], {"methods": ["bce"], "seeds": "0,0"}, "distinct numbers"),
        (["digits"], {"methods": ["bce"], "overrides": ["seeds.train=3"]}, "use --seeds"),
        (["digits"], {"methods": ["bce"], "on": "digits"}, "--on is for experiments"),
        (["digits"], {"methods": ["bce"], "measure": "auc"}, "--measure auc: did you mean 'auroc'"),
        (["digits"], {"methods": ["bce"], "name": "a/b"}, "--name 'a/b': letters, digits"),
        (["digits", "digits"], {"methods": ["bce"]}, "two recipes have the same name"),
        (
            ["assemble_table13"],
            {},
            "no recipe, experiment or file 'assemble_table13': did you mean 'assemble_table1",
        ),
        (["assemble_table2"], {"methods": ["bce"]}, "is an experiment with rows of its own: leave --methods out"),
        (["assemble_table2"], {"on": "imagenet"}, "--on imagenet: allowed: cifar10, cxr, digits, mnist|--on imagenet"),
        (["assemble_table2", "digits"], {"methods": ["bce"]}, "compare one at a time"),
        (
            ["assemble_table2"],
            {"overrides": ["data.train_on=all"]},
            "'data.train_on' is what the rows of this experiment",
        ),
        (["assemble_table11"], {"overrides": ["objectives[0].weight=2"]}, "is what the rows of this experiment set"),
        (["ldrnet_table5"], {"overrides": ["text.encoder=none"]}, "'text.encoder' is what the rows of this experiment"),
        (["ldrnet_table5"], {"overrides": ["text={}"]}, "'text' is what the rows of this experiment set"),
    ],
)
def test_what_does_not_go_together_is_refused(names: list[str], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_comparison(names, **options)


def test_what_a_row_asks_for_goes_to_that_row_alone() -> None:
    open_plan = plan_comparison(["ldrnet_table5"], on="nih")
    assert [[key for key, _ in row.asks] for row in open_plan.rows] == [["text.name"], [], []]
    plan = plan_comparison(["ldrnet_table5"], on="nih", overrides=["text.name=vectors.txt", "train.epochs=3"])
    assert not any(row.asks for row in plan.rows)
    given, before = ([recipe_of(row, 0) for row in rows] for rows in (plan.rows, open_plan.rows))
    assert before[0].text.name is None
    assert [recipe.text.name for recipe in given] == ["vectors.txt", *(recipe.text.name for recipe in before[1:])]
    assert [recipe.train.epochs for recipe in given] == [3, 3, 3]


GOOD = {
    "name": "mine",
    "description": "a table",
    "paper": "none",
    "data": {"digits": {"recipe": "digits_tiny"}},
    "rows": [{"name": "a", "method": "bce"}, {"name": "b", "method": "asl"}],
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": []}, "no rows for data.digits"),
        ({"rows": [{"name": "a"}, {"name": "a"}]}, "two rows of the same name"),
        ({"reference": "c"}, "reference names the row 'c'"),
        ({"claims": [{"text": "t", "better": "a", "than": "x"}]}, "names the row 'x'"),
        ({"claims": [{"text": "t", "better": "a", "than": "b", "mean": "m"}]}, "a claim names the mean 'm'"),
        ({"sedes": "0..4"}, "sedes: Extra inputs are not permitted"),
        ({"data": {}}, "data: "),
    ],
)
def test_a_wrong_experiment_file_says_what_is_wrong(tmp_path: Path, changed: dict, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changed}))
    with pytest.raises(InputError, match=message):
        plan_comparison([str(path)])


def test_an_experiment_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    plan = plan_comparison([str(path)], seeds="0..1")
    assert [row.name for row in plan.rows] == ["a", "b"]
    assert plan.name == "mine-digits"
    path.write_text("{")
    with pytest.raises(InputError, match="is not a valid experiment file|is not a valid recipe"):
        load_experiment(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "data: {digits: {recipe: digits}}\nrows: [{name: a, method: bce}, {name: b, method: asl}]\n",
        "rows:\n- {name: a, method: bce}\n- {name: b, method: asl}\ndata:\n  digits:\n    recipe: digits\n",
        "data:\n  digits:\n    rows: [{name: a, method: bce}, {name: b, method: asl}]\n    recipe: digits\n",
        "data:\n  digits: {recipe: digits, rows: [{name: a, method: bce}, {name: b, method: asl}]}\n",
    ],
)
def test_an_experiment_of_ones_own_needs_data_and_rows_alone(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    plan = plan_comparison([str(file)], seeds="0")
    assert (plan.name, plan.paper, plan.reference) == ("mine-digits", "", "a")
    assert [row.overrides for row in plan.rows] == [("method=bce",), ("method=asl",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {digits: {recipe: digits}}\n", r"no rows for data.digits: .*rows: \[\{name: BCE, method: bce\}"),
        ("rows: [{name: a, method: bce}]\n", r"the key 'data' is missing; .*data: \{digits: \{recipe: digits\}\}"),
        ("data: {digits: {set: {}}}\nrows: []\n", r"the key 'data.digits.recipe' is missing"),
        ("rows: [{method: bce}]\ndata: {digits: {recipe: digits}}\n", r"the key 'rows.0.name' is missing"),
    ],
)
def test_what_an_experiment_lacks_is_said_with_an_example(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        plan_comparison([str(tmp_path / "mine.yaml")])
