"""The library's front door: light to import, complete, and helpful when a name is wrong."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import ltml
from ltml.errors import InputError


def _modules_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_ltml_does_not_import_torch() -> None:
    assert "torch" not in _modules_after("import ltml; ltml.list_recipes(); ltml.list_methods()")


@pytest.mark.parametrize("arguments", [["--help"], ["recipes", "ls"], ["run", "--help"]])
def test_help_and_listings_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        f"from typer.testing import CliRunner\nfrom ltml_cli.main import app\nr = CliRunner().invoke(app, {arguments})"
    )
    modules = _modules_after(code + "\nassert r.exit_code == 0, r.output")
    assert "ltml_cli.main" in modules
    assert not {"torch", "pandas", "omegaconf"} & modules


def test_lists_match_wildcards() -> None:
    assert ltml.list_losses("b*") == ["bce"]
    assert {"prompt_query", "label_adapter", "linear"} <= set(ltml.list_heads())
    assert {"supervised", "pseudo_label", "consistency"} <= set(ltml.list_objectives())
    assert {"digits", "csv", "nih", "odir5k", "union"} <= set(ltml.list_datasets())
    assert "resnet50" in ltml.list_backbones("resnet5*")
    assert {"open_clip", "transformers", "word_vectors", "none"} == set(ltml.list_encoders())
    assert {"ldrnet", "bce"} <= set(ltml.list_methods())
    assert "digits" in ltml.list_recipes("dig*")


def test_create_loss_builds_a_working_loss() -> None:
    loss = ltml.create_loss("gce", q=1.0, reduction="sum")
    assert loss(torch.zeros(2, 3), torch.ones(2, 3)).item() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bec", {}, "did you mean 'bce'"),
        ("gce", {"Q": 0.5}, "has no option 'Q': did you mean 'q'"),
        ("gce", {"q": 2.0}, "q = 2.0"),
        ("bce", {"reduction": "avg"}, "reduction = 'avg'"),
    ],
)
def test_create_loss_explains_what_is_wrong(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        ltml.create_loss(name, **options)


def test_score_takes_nan_targets() -> None:
    table = ltml.score(np.array([[0.9, 0.2], [0.1, 0.7]]), np.array([[1, 0], [0, np.nan]]))
    assert table.macro["auroc"] == 1.0
    assert table.n_classes["auroc"] == 1


def test_dir_shows_what_users_need_and_nothing_internal() -> None:
    public = dir(ltml)
    needed = {"run", "score", "compare", "load_recipe", "GaussianResampler", "split", "bootstrap", "evaluate"}
    needed |= {"create_head", "create_model", "list_experiments", "list_measures", "list_rebalancing"}
    assert needed <= set(public)
    assert not {"Launch", "parse_options", "plan_search", "import_module", "version", "TYPE_CHECKING"} & set(public)
    assert len(public) <= 32
    assert public == ltml.__all__ == sorted(public)
    assert all(getattr(ltml, name).__doc__ for name in public)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("list_loses", "did you mean 'list_losses'"),
        ("Score", "did you mean 'score'"),
        ("nothing", "no attribute 'nothing'"),
    ],
)
def test_a_near_miss_names_the_right_one(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(ltml, name)


def test_a_model_by_names_scores_images() -> None:
    model = ltml.create_model("resnet18", "prompt_query", ["a", "b", "c"], image_size=64, channels=1, width=32, heads=2)
    output = model.eval()(torch.zeros(2, 1, 64, 64, dtype=torch.uint8))
    assert output.logits.shape == (2, 3)
    assert output.features.shape == (2, 3, 32)
    head = ltml.create_head("linear", 8, ["a", "b"])
    assert head.classifier(head.features(torch.randn(4, 8, 3, 3))).shape == (4, 2)
    with pytest.raises(InputError, match="has no option 'dept': did you mean 'depth'"):
        ltml.create_head("prompt_query", 8, ["a"], dept=2)
    with pytest.raises(InputError, match="did you mean 'prompt_query'"):
        ltml.create_head("prompt_quer", 8, ["a"])


def test_split_keeps_groups_whole_and_spreads_rare_labels() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 200)
    targets = (rng.random((200, 2)) < [0.5, 0.05]).astype(float)
    targets[::7, 0] = np.nan
    parts = ltml.split(groups, targets, ratio=(3, 1, 1), seed=2)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    members = [set(groups[rows]) for rows in parts.values()]
    assert not members[0] & members[1] | members[0] & members[2] | members[1] & members[2]
    assert all(np.nansum(targets[rows, 1]) > 0 for rows in parts.values())
    with pytest.raises(InputError, match="three whole numbers above 0"):
        ltml.split(groups, ratio=(0.7, 0.1, 0.2))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"one row of targets per group entry \(200\) but got 3"):
        ltml.split(groups, targets[:3])


def test_bootstrap_is_that_of_a_loop_over_resampled_rows() -> None:
    rng = np.random.default_rng(1)
    targets = np.repeat([0.0, 1.0], 40)[:, None]
    probs = np.clip(0.3 * targets + rng.random((80, 1)) * 0.7, 0, 1)
    found = ltml.bootstrap(probs, targets, resamples=2000, seed=3, label_names=["edema"])
    assert found["per_class"][0]["label"] == "edema"
    low, high = found["per_class"][0]["auroc"]
    draws = (rng.integers(0, 80, 80) for _ in range(2000))
    areas = [roc_auc_score(targets[rows, 0], probs[rows, 0]) for rows in draws if 0 < targets[rows].sum() < 80]
    assert (low, high) == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=0.02)
