"""The run directory: what it holds, what is shared, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import ltml
from ltml.errors import InputError
from ltml.metrics.predictions import Predictions
from ltml.models import text
from ltml.recipe.load import load_recipe
from ltml.stages.build import build_dataset, rebuild_model
from ltml.stages.features import load_features
from ltml.stages.run_directory import read_run
from ltml.training.checkpoint import load_weights

FAST = ["train.epochs=1", "data.train_size=64", "data.val_size=64", "data.test_size=32"]


def test_a_finished_run_holds_what_it_promises(tiny_run: Path) -> None:
    run, recipe = read_run(tiny_run)
    assert recipe.to_dict() == load_recipe("digits_tiny").to_dict()
    own = {str(path.relative_to(tiny_run)) for path in tiny_run.rglob("*") if path.is_file()}
    assert own == {
        "recipe.yaml", "environment.json", "checksums.json", "split.csv", "labels.json", "data.json", "changes.json",
        "gaussians.safetensors", "gaussians.json",
        "stage1/metrics.json", "stage1/metrics_val.json", "stage1/metrics_test_natural.json",
        "stage2/metrics.json", "stage2/metrics_val.json", "stage2/metrics_test_natural.json",
        "stage2/checkpoint.safetensors", "stage2/stage1.json", "stage2/log.jsonl",
        "stage2/predictions_val.csv", "stage2/predictions_test.csv", "stage2/predictions_test_natural.csv",
    }  # fmt: skip
    shared = {str(path.relative_to(run.shared)) for path in run.shared.rglob("*") if path.is_file()}
    assert shared == {
        "checkpoint.safetensors", "log.jsonl", "environment.json", "images.npy", "checksums.json",
        "features/train.npy", "features/train.npz", "features/val.npy", "features/val.npz",
        "predictions_val.csv", "predictions_test.csv", "predictions_test_natural.csv",
    }  # fmt: skip


def test_features_are_those_of_the_model_in_eval_mode(tiny_run: Path) -> None:
    run, recipe = read_run(tiny_run)
    dataset = build_dataset(recipe)
    weights, about = load_weights(run.checkpoint1)
    assert about["label_names"] == list(dataset.label_names)
    model = rebuild_model(recipe, dataset, weights, stage=1).eval()
    store = load_features(run.features, "val")
    assert store.features.dtype == np.float32
    assert store.features.shape == (160, 10, 64)
    rows = dataset.splits["val"]
    images = torch.from_numpy(np.stack([dataset.images.read(row) for row in rows[:5]]).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        features, logits, _ = model(images)
    np.testing.assert_allclose(store.features[:5], features, atol=1e-5)
    np.testing.assert_array_equal(store.targets, dataset.targets[rows])
    assert store.ids.tolist() == dataset.ids("val").tolist()
    answers = Predictions.read(run.predictions(1, "val"))
    np.testing.assert_allclose(answers.probs[:5], logits.double().sigmoid(), atol=1e-6)


def test_equal_seeds_give_equal_bytes(tiny_run: Path, tmp_path: Path) -> None:
    result = ltml.run(load_recipe("digits_tiny"), tmp_path)
    pairs = [(tiny_run, result.run_dir), (read_run(tiny_run)[0].shared, read_run(result.run_dir)[0].shared)]
    compared = 0
    for ours, theirs in pairs:
        for path in ours.rglob("*"):
            if path.is_file() and path.name not in ("environment.json", "log.jsonl"):
                assert path.read_bytes() == (theirs / path.relative_to(ours)).read_bytes(), path
                compared += 1
    assert compared > 20


def test_another_seed_gives_another_model_on_the_same_split(tiny_run: Path, tmp_path: Path) -> None:
    result = ltml.stage1(load_recipe("digits_tiny", ["seeds.train=1", "seeds.sample=1"]), tmp_path)
    assert result.run_dir == tmp_path / "digits_tiny" / "ldrnet" / "seed1"
    assert (result.run_dir / "split.csv").read_bytes() == (tiny_run / "split.csv").read_bytes()
    mine, theirs = (json.loads((path / "stage1/metrics.json").read_text()) for path in (result.run_dir, tiny_run))
    assert mine["macro"] != theirs["macro"]
    assert result.stage2 is None


def test_a_finished_run_is_not_made_again_and_fresh_makes_it_again(tmp_path: Path) -> None:
    recipe = load_recipe("digits_tiny", FAST)
    result = ltml.run(recipe, tmp_path)
    run, _ = read_run(result.run_dir)
    stamps = [run.checkpoint1.stat().st_mtime_ns, run.checkpoint2.stat().st_mtime_ns]
    assert ltml.run(recipe, tmp_path).stage2 == result.stage2
    assert [run.checkpoint1.stat().st_mtime_ns, run.checkpoint2.stat().st_mtime_ns] == stamps
    ltml.stage2(recipe, tmp_path, fresh=True)
    assert run.checkpoint1.stat().st_mtime_ns == stamps[0]
    assert run.checkpoint2.stat().st_mtime_ns > stamps[1]
    ltml.run(recipe, tmp_path, fresh=True)
    assert run.checkpoint1.stat().st_mtime_ns > stamps[0]


def test_the_stage_1_hash_covers_what_stage_1_depends_on_and_nothing_else(tmp_path: Path) -> None:
    from ltml.stages.build import build_dataset
    from ltml.stages.provenance import locate_run

    def shared(*overrides: str) -> str:
        recipe = load_recipe("digits_tiny", [*FAST, *overrides])
        return locate_run(recipe, build_dataset(recipe), tmp_path).shared.name

    same = [
        "stage2.rounds=3", "stage2.prior=natural", "seeds.sample=5", "metrics.threshold=0.3", "train.device=cpu",
        "data.workers=1", "text.template=a {LN}",
    ]  # fmt: skip
    other = [
        "train.lr=0.5",
        "seeds.train=5",
        "seeds.split=5",
        "head.prompt_query.depth=2",
        "method=bce",
        "data.val_size=70",
    ]
    plain = shared()
    assert {shared(override) for override in same} == {plain}
    assert len({plain, *(shared(override) for override in other)}) == len(other) + 1


def test_a_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    text_ = yaml.safe_dump(load_recipe("digits_tiny", FAST).to_dict())
    (tmp_path / "mine.yaml").write_text(text_.replace("name: digits_tiny", "name: mine"))
    ltml.stage1(load_recipe(str(tmp_path / "mine.yaml")), tmp_path / "runs")
    (tmp_path / "mine.yaml").write_text((tmp_path / "mine.yaml").read_text().replace("epochs: 1\n", "epochs: 2\n", 1))
    with pytest.raises(
        InputError, match=r"holds the run of another recipe, which differs in \S+epochs \(there 1, here 2\)"
    ):
        ltml.stage1(load_recipe(str(tmp_path / "mine.yaml")), tmp_path / "runs", fresh=True)


def small(file: Path, *overrides: str) -> list[str]:
    options = "backbone.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}"
    return [f"data.file={file}", "data.image_size=16", "train.epochs=1", options, *overrides]


@pytest.mark.parametrize("view", ["eval", "train"])
def test_a_view_of_another_size_is_refused_before_the_first_epoch(
    image_table: Callable[..., Path], tmp_path: Path, view: str
) -> None:
    recipe = load_recipe("csv_small", small(image_table(), f"data.views.{view}=[{{CenterCrop: {{size: 8}}}}]"))
    with pytest.raises(InputError, match="data.views gives"):
        ltml.run(recipe, tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("state.pt"))


def test_a_run_that_failed_before_its_first_epoch_does_not_block_its_mended_recipe(
    image_table: Callable[..., Path], tmp_path: Path
) -> None:
    file = image_table()
    (tmp_path / "images" / "007.png").write_bytes(b"broken")
    recipe = load_recipe("csv_small", small(file))
    with pytest.raises(InputError, match="take its row out of the table"):
        ltml.run(recipe, tmp_path / "runs")
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "007.png" not in line))
    assert ltml.run(recipe, tmp_path / "runs").stage2 is not None


def test_fresh_removes_nothing_before_the_recipe_has_been_found_good(tmp_path: Path) -> None:
    recipe = load_recipe("digits_tiny", FAST)
    result = ltml.run(recipe, tmp_path)
    bad = recipe.model_copy(update={"train": recipe.train.model_copy(update={"device": "cuda:99"})})
    with pytest.raises(InputError, match="cuda:99"):
        ltml.run(bad, tmp_path, fresh=True)
    assert ltml.evaluate(result.run_dir).stage2 == result.stage2  # type: ignore[union-attr]


def test_other_weights_at_the_same_path_are_refused(tmp_path: Path) -> None:
    import timm

    options = load_recipe("digits_tiny").backbone.options
    recipe = load_recipe("digits_tiny", [*FAST, f"backbone.weights={tmp_path}/w.pth", "method=bce"])

    def write(seed: int) -> None:
        torch.manual_seed(seed)
        torch.save(timm.create_model("resnet18", num_classes=0, in_chans=1, **options).state_dict(), tmp_path / "w.pth")

    write(0)
    result = ltml.run(recipe, tmp_path / "runs")
    (tmp_path / "w.pth").unlink()
    assert ltml.run(recipe, tmp_path / "runs").stage1 == result.stage1  # a finished stage 1 needs them no more
    write(1)
    with pytest.raises(InputError, match=r"w.pth has changed since stage 1"):
        ltml.run(recipe, tmp_path / "runs")


def test_nothing_to_learn_and_one_class_under_eq12_are_refused(
    image_table: Callable[..., Path], tmp_path: Path
) -> None:
    split = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    unknown = image_table(split=split, bright=[""] * 40 + ["0", "1"] * 10, odd="")
    with pytest.raises(InputError, match="nothing can be learned"):
        ltml.run(load_recipe("csv_small", small(unknown)), tmp_path / "runs")
    alone = load_recipe("csv_small", small(image_table(split=split, odd="")))
    with pytest.raises(InputError, match=r"only one class .* Set stage2.prior=uniform"):
        ltml.run(alone, tmp_path / "runs")


def test_own_images_with_unknown_labels(image_table: Callable[..., Path], tmp_path: Path) -> None:
    file = image_table(group=[f"p{i // 2}" for i in range(60)])
    recipe = load_recipe("csv_small", small(file))
    result = ltml.run(recipe, tmp_path / "runs")
    run, _ = read_run(result.run_dir)
    assert result.stage2 is not None
    frame = pd.read_csv(run.predictions(2, "test"), dtype=str)
    assert list(frame) == ["id", "group", "prob:bright", "prob:odd", "target:bright", "target:odd"]
    assert frame["target:odd"].isna().any()
    split = pd.read_csv(result.run_dir / "split.csv", dtype=str).set_index("id")["split"]
    assert set(split) == {"train", "val", "test"}
    file.write_text(file.read_text().replace("0.png,1", "0.png,0"))
    with pytest.raises(InputError, match=r"differs in the data \(ids, labels or split have changed"):
        ltml.run(recipe, tmp_path / "runs")


def test_classes_without_positives_warn_or_are_undefined(
    image_table: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    file = image_table(split=split, never=0, unknown="", train_only=[1, 0] * 20 + [0] * 20)
    caplog.set_level("WARNING", logger="ltml")
    import logging

    logging.getLogger("ltml").propagate = True
    result = ltml.run(load_recipe("csv_small", small(file, "stage2.rounds=0")), tmp_path / "runs")
    assert "so the class cannot be learned and is left out of all means: never, unknown" in caplog.text
    assert "no known positive in test, so the class is undefined there: never, unknown, train_only" in caplog.text
    assert result.stage2 is not None
    rows = {row["label"]: row for row in result.stage2["per_class"]}
    assert rows["train_only"]["auroc"] is None
    assert rows["unknown"]["macc"] is None
    assert rows["bright"]["auroc"] is not None
    assert result.stage2["n_classes"]["auroc"] == 2


def test_validation_that_cannot_choose_is_refused(image_table: Callable[..., Path], tmp_path: Path) -> None:
    split = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    file = image_table(split=split, bright=["0", "1"] * 20 + ["0"] * 20, odd=["0", "1"] * 20 + [""] * 20)
    with pytest.raises(InputError, match="macro auroc on val is undefined"):
        ltml.run(load_recipe("csv_small", small(file)), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_reloads_without_its_text_encoder(
    image_table: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("bright 1 2 3\nodd 3 4 5\nimage 0 0 1\n")
    prompts = ["text.encoder=word_vectors", f"text.name={vectors}"]
    recipe = load_recipe("csv_small", small(image_table(), *prompts))
    ltml.stage1(recipe, tmp_path / "runs")
    vectors.unlink()
    monkeypatch.setattr(text, "embed_prompts", None)
    assert ltml.stage2(recipe, tmp_path / "runs").stage2 is not None


def test_half_precision_features_and_bfloat16(tmp_path: Path) -> None:
    overrides = [*FAST, "train.feature_dtype=float16", "train.precision=bfloat16"]
    result = ltml.run(load_recipe("digits_tiny", overrides), tmp_path)
    run, _ = read_run(result.run_dir)
    assert load_features(run.features, "train").features.dtype == np.float16
    assert result.stage2 is not None


def test_early_stopping_and_the_best_epoch(tmp_path: Path) -> None:
    overrides = [*FAST, "train.epochs=6", "train.early_stop=1", "train.lr=0.0", "train.weight_decay=0.0", "method=bce"]
    result = ltml.run(load_recipe("digits_tiny", overrides), tmp_path)
    run, _ = read_run(result.run_dir)
    log = [json.loads(line) for line in (run.shared / "log.jsonl").read_text().splitlines()]
    values = [record["val_auroc"] for record in log]
    best = values.index(max(values))
    assert len(log) == min(best + 2, 6) or values[best + 1 :] == []
    metrics = json.loads((result.run_dir / "stage1" / "metrics_val.json").read_text())
    assert metrics["macro"]["auroc"] == pytest.approx(max(values), abs=1e-9)
    assert result.stage2 is None


def test_a_non_finite_loss_names_the_images(tmp_path: Path) -> None:
    from ltml.training.loop import NonFiniteLossError

    recipe = load_recipe("digits_tiny", [*FAST, "train.lr=1.0e+30", "train.optimizer=sgd", "train.epochs=3"])
    with pytest.raises(NonFiniteLossError, match=r"the loss is .* largest logit .*, images train-00"):
        ltml.run(recipe, tmp_path)


def test_ten_crops_are_averaged_in_the_final_predictions(cli, image_table: Callable[..., Path], tmp_path: Path) -> None:
    options = [f"data.file={image_table()}", "data.image_size=12", "data.resize=16", "train.epochs=1", "method=bce"]
    options += ["data.views={train: [{RandomCrop: {size: 12}}], eval: [{CenterCrop: {size: 12}}]}"]
    result = cli("run", "csv_small", *options, "data.ten_crop=true", "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    (run_dir,) = (tmp_path / "runs").rglob("seed0")
    run, recipe = read_run(run_dir)
    dataset = build_dataset(recipe)
    weights, _ = load_weights(run.checkpoint1)
    model = rebuild_model(recipe, dataset, weights, stage=1).eval()
    table = pd.read_csv(run.predictions(1, "test"))
    corners = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    for row, probs in zip(dataset.splits["test"], table[["prob:bright", "prob:odd"]].to_numpy(), strict=True):
        image = torch.from_numpy(dataset.images.read(int(row)).transpose(2, 0, 1).copy())[None]
        crops = [image[..., y : y + 12, x : x + 12] for y, x in corners]
        with torch.no_grad():
            slow = torch.stack([model(view).logits.double().sigmoid() for c in crops for view in (c, c.flip(-1))])
        np.testing.assert_allclose(probs, slow.mean(dim=0)[0].numpy(), atol=1e-6)
    result = cli("run", "csv_small", *options, "data.resize=null", "data.ten_crop=true", "--out", tmp_path / "x")
    assert result.exit_code == 2
    assert "data.ten_crop needs data.resize above data.image_size" in result.stderr
