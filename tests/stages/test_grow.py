from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ltml.models.context import PairCounts
from ltml.recipe.load import load_recipe
from ltml.stages.build import build_dataset, build_loader, build_model, rebuild_model
from ltml.stages.run_directory import read_run
from ltml.stages.warm_start import extend_classes, load_initial_weights
from ltml.training.checkpoint import load_weights

FEW = "[two, zero, one]"
SOURCES = "data.sources=[{type: digits, train_size: 120, val_size: 60, test_size: 40, imbalance_ratio: 3.0}]"
SMALL = ("data.image_size=32", "data.resize=null", "data.channels=1", "data.views={}", "train.epochs=1")
BACKBONE = "backbone={name: resnet18, pretrained: false, options: {layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}}"


def _train(cli, out: Path, *more: str):
    return cli("stage1", "cxr_union", SOURCES, *SMALL, BACKBONE, *more, "--out", out)


@pytest.fixture(scope="module", params=["label_adapter", "bce"])
def small_run(request: pytest.FixtureRequest, cli, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A run with three classes."""
    out = tmp_path_factory.mktemp("grow")
    assert _train(cli, out, f"data.labels={FEW}", f"method={request.param}").exit_code == 0
    return request.param, next(out.rglob("seed0"))


def test_old_classes_keep_their_answers_when_new_ones_are_appended(small_run: tuple[str, Path]) -> None:
    method, run_dir = small_run
    names = ("one", "five", "zero", "two", "nine")
    shared = (SOURCES, *SMALL, BACKBONE, f"method={method}")
    old_recipe = load_recipe("cxr_union", [*shared, f"data.labels={FEW}"])
    recipe = load_recipe("cxr_union", [*shared, f"data.labels=[{', '.join(names)}]"])
    old_data, dataset = build_dataset(old_recipe), build_dataset(recipe)
    weights, _ = load_weights(read_run(run_dir)[0].checkpoint1)
    before = rebuild_model(old_recipe, old_data, weights, stage=1).eval()
    torch.manual_seed(3)
    after = build_model(recipe, names, None, pretrained=False)
    load_initial_weights(after, names, run_dir)
    after.eval()
    (batch, *_) = build_loader(recipe, dataset, "test", torch.device("cpu")).epoch()
    with torch.no_grad():
        old, new = before(batch.images).logits, after(batch.images).logits
    for c, name in enumerate(("two", "zero", "one")):
        torch.testing.assert_close(new[:, names.index(name)], old[:, c], rtol=0, atol=1e-6)
    assert new.shape[1] == 5
    assert not torch.allclose(new[:, 1], new[:, 4])  # new classes have weights of their own


def test_a_fresh_start_over_one_that_was_cut_off_starts_from_the_other_run_again(
    cli, small_run: tuple[str, Path], tmp_path: Path
) -> None:
    method, run_dir = small_run
    start = (f"data.labels={FEW}", f"init_from={run_dir}", f"method={method}", "train.lr=0", "train.weight_decay=0")
    assert _train(cli, tmp_path, *start).exit_code == 0
    run, _ = read_run(next(tmp_path.rglob("seed0")))
    first, _ = load_weights(run.checkpoint1)
    (run.shared / "state.pt").write_bytes(b"of a training that was cut off")
    assert _train(cli, tmp_path, *start, "--fresh").exit_code == 0
    again, _ = load_weights(run.checkpoint1)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_training_goes_on_from_another_run(cli, small_run: tuple[str, Path], tmp_path: Path) -> None:
    method, run_dir = small_run
    result = _train(cli, tmp_path, "data.labels=[zero, one, two, three]", f"init_from={run_dir}", f"method={method}")
    assert result.exit_code == 0, result.output
    assert "with new classes three" in result.stderr
    again = _train(cli, tmp_path, "data.labels=[zero, one, two, three]", f"init_from={run_dir}", f"method={method}")
    assert "stage 1, epoch" not in again.stderr


def test_what_cannot_be_continued_is_named(cli, small_run: tuple[str, Path], tmp_path: Path) -> None:
    method, run_dir = small_run
    start = (f"init_from={run_dir}", f"method={method}")
    result = _train(cli, tmp_path, "data.labels=[zero, one, three]", *start)
    assert result.exit_code == 2
    assert "its class two is not among the labels" in result.stderr
    result = _train(
        cli, tmp_path, f"data.labels={FEW}", f"init_from={run_dir}", "method=ldrnet", "text={encoder: none}"
    )
    assert result.exit_code == 2
    assert "its model differs from this recipe's in" in result.stderr
    result = _train(cli, tmp_path, f"data.labels={FEW}", *start, BACKBONE.replace("8, 8, 8, 8", "8, 8, 8, 16"))
    assert result.exit_code == 2
    assert "has shape" in result.stderr
    result = _train(cli, tmp_path, f"data.labels={FEW}", f"init_from={tmp_path}", f"method={method}")
    assert result.exit_code == 2
    assert "is not a run" in result.stderr
    assert not list(tmp_path.rglob("checkpoint.safetensors"))


def test_heads_that_cannot_grow_take_the_same_labels_in_the_same_order_only(cli, tmp_path: Path) -> None:
    luo = ("method=luo_tw", "data.labels=[zero, one, two]")
    assert _train(cli, tmp_path / "a", *luo).exit_code == 0
    run_dir = next((tmp_path / "a").rglob("seed0"))
    start = f"init_from={run_dir}"
    assert _train(cli, tmp_path / "b", *luo, start).exit_code == 0
    for labels in ("[two, zero, one]", "[zero, one, two, three]"):
        result = _train(cli, tmp_path / "c", "method=luo_tw", f"data.labels={labels}", start)
        assert result.exit_code == 2
        assert "the labels must be the same in the same order (zero, one, two)" in result.stderr
    shutil.rmtree(tmp_path / "a")  # what started from it is finished, and stays readable
    assert _train(cli, tmp_path / "b", *luo, start).exit_code == 0


def test_an_unfinished_run_is_no_start(cli, small_run: tuple[str, Path], tmp_path: Path) -> None:
    method, run_dir = small_run
    copy = tmp_path / "run" / "a" / "b"
    shutil.copytree(run_dir, copy)
    result = _train(cli, tmp_path / "runs", f"data.labels={FEW}", f"init_from={copy}", f"method={method}")
    assert result.exit_code == 2
    assert "its stage 1 is not finished" in result.stderr


def test_prompts_are_those_of_the_new_recipe() -> None:
    recipe = load_recipe("digits_tiny")
    names = tuple(build_dataset(recipe).label_names)
    old, new = (build_model(recipe, names, torch.full((10, 6), value), pretrained=False) for value in (1.0, 2.0))
    state = extend_classes(new, old.state_dict(), names, names, Path("old"))
    assert (state["head.words"] == 2).all()
    torch.testing.assert_close(state["head.project.weight"], old.state_dict()["head.project.weight"])


def test_the_label_graph_is_that_of_the_new_recipe() -> None:
    names = ("a", "b", "c")
    counts = torch.tensor([[8.0, 4, 0], [4, 5, 0], [0, 0, 3]]).double()
    pairs = PairCounts(counts, counts.diagonal()[:, None].expand(3, 3))
    recipes = [load_recipe("digits_tiny", ["method=ml_gcn", f"head.ml_gcn.threshold={t}"]) for t in (0.4, 0.9)]
    old, new = (build_model(recipe, names, None, pretrained=False, pairs=pairs) for recipe in recipes)
    state = extend_classes(new, old.state_dict(), names, names, Path("old"))
    assert not torch.equal(old.head.classifier.graph, torch.eye(3))
    torch.testing.assert_close(state["head.classifier.graph"], torch.eye(3))  # nothing is linked at 0.9
    torch.testing.assert_close(state["head.classifier.first"], old.head.classifier.first.data)
