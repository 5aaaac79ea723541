from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ltml
from ltml.errors import InputError
from ltml.gaussians import GaussianResampler
from ltml.recipe.load import load_recipe
from ltml.stages.build import build_dataset, rebuild_model
from ltml.stages.features import load_features
from ltml.stages.run_directory import read_run
from ltml.stages.stage2 import Epoch, Stage2Training, plan_epochs
from ltml.training.checkpoint import load_weights, save_weights
from ltml.training.devices import choose_compute


@pytest.fixture
def training(tiny_run: Path) -> Stage2Training:
    run, recipe = read_run(tiny_run)
    return Stage2Training(recipe, build_dataset(recipe), run, choose_compute("cpu", "float32"))


def _snapshot(training: Stage2Training) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in training.model.state_dict().items()}


def _moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_the_m_step_moves_the_classifier_alone(training: Stage2Training) -> None:
    before = _snapshot(training)
    training.run_epoch(Epoch(0, "M", 0, ends_round=True))
    assert _moved(before, _snapshot(training)) == {"head.classifier.weight", "head.classifier.bias"}


def test_the_e_step_moves_encoder_and_backbone_and_not_the_classifier(training: Stage2Training) -> None:
    before = _snapshot(training)
    training.e_step(Epoch(1, "E", 0, ends_round=False))
    moved = _moved(before, _snapshot(training))
    trained = {name for name, _ in training.model.named_parameters() if "classifier" not in name}
    assert trained <= moved  # the graph through the frozen classifier reaches every one of them
    assert not any("classifier" in name for name in moved)


def test_gaussians_are_those_of_the_stored_features(training: Stage2Training) -> None:
    store = load_features(training.run.features, "train")
    training.run_epoch(Epoch(0, "M", 0, ends_round=True))
    resampler = training.refit.sampler
    assert isinstance(resampler, GaussianResampler)
    rows = np.asarray(store.features)[store.targets[:, 9] == 1, 9].astype(np.float64)
    gaussian = resampler.gaussians_[9][1]
    assert gaussian is not None
    assert 1 < len(rows) < rows.shape[1]  # the rarest digit: fewer samples than dimensions
    np.testing.assert_allclose(gaussian.mean, rows.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(gaussian.covariance(), np.cov(rows, rowvar=False), atol=1e-10)


def test_the_alternation() -> None:
    settings = load_recipe("digits", ["stage2.rounds=2", "stage2.m_step.epochs=2"]).stage2
    steps = [(e.round, e.step, e.number, e.ends_round) for e in plan_epochs(settings)]
    assert steps == [
        (0, "M", 0, False), (0, "M", 1, True),
        (1, "E", 0, False), (1, "M", 0, False), (1, "M", 1, True),
        (2, "E", 0, False), (2, "M", 0, False), (2, "M", 1, True),
    ]  # fmt: skip
    alone = plan_epochs(load_recipe("digits", ["stage2.rounds=0"]).stage2)
    assert [(e.round, e.step) for e in alone] == [(0, "M")]


def test_rounds_zero_leaves_the_encoder_of_stage_1(tiny_run: Path) -> None:
    recipe = load_recipe("digits_tiny", ["stage2.rounds=0"])
    result = ltml.stage2(recipe, tiny_run.parents[2])
    assert result.stage1 == json.loads((tiny_run / "stage1" / "metrics.json").read_text())
    run, _ = read_run(result.run_dir)
    assert run.shared == read_run(tiny_run)[0].shared  # stage 1 is shared, not trained again
    first, second = load_weights(run.checkpoint1)[0], load_weights(run.checkpoint2)[0]
    assert _moved(first, second) == {"head.classifier.weight", "head.classifier.bias"}


def test_the_best_round_on_validation_is_kept(tiny_run: Path) -> None:
    records = [json.loads(line) for line in (tiny_run / "stage2" / "log.jsonl").read_text().splitlines()]
    values = {record["round"]: record["val_auroc"] for record in records if record["ends_round"]}
    best = max(values, key=lambda round_: values[round_])
    assert load_weights(tiny_run / "stage2" / "checkpoint.safetensors")[1]["round"] == best
    metrics = json.loads((tiny_run / "stage2" / "metrics_val.json").read_text())
    assert metrics["macro"]["auroc"] == pytest.approx(values[best], abs=1e-6)


def test_a_later_round_can_win_with_its_own_encoder_and_gaussians(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.5, 0.6])
    monkeypatch.setattr("ltml.stages.stage2.validate", lambda *_: next(values))
    recipe = load_recipe("digits_tiny", ["stage2.e_step.lr=0.01"])
    run, _ = read_run(ltml.stage2(recipe, tiny_run.parents[2]).run_dir)
    weights, about = load_weights(run.checkpoint2)
    assert about["round"] == 1
    assert "backbone.net.conv1.weight" in _moved(load_weights(run.checkpoint1)[0], weights)
    dataset = build_dataset(recipe)
    model = rebuild_model(recipe, dataset, weights, stage=2).eval()
    rows = dataset.splits["train"]
    images = np.stack([dataset.images.read(row) for row in rows]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        features = model.features(torch.from_numpy(images.copy())).double().numpy()
    gaussian = GaussianResampler.load(run.gaussians).gaussians_[0][1]
    assert gaussian is not None
    expected = features[dataset.targets[rows, 0] == 1, 0].mean(axis=0)
    np.testing.assert_allclose(gaussian.mean, expected, atol=1e-4)


def test_a_stage_2_of_an_older_stage_1_starts_anew(tmp_path: Path) -> None:
    recipe = load_recipe("digits_tiny", ["train.epochs=1", "data.train_size=64", "stage2.rounds=0"])
    run, _ = read_run(ltml.run(recipe, tmp_path).run_dir)
    old = run.checkpoint2.stat().st_mtime_ns
    weights, about = load_weights(run.checkpoint1)
    save_weights(run.checkpoint1, {key: value * 1.5 for key, value in weights.items()}, about)
    ltml.stage2(recipe, tmp_path)
    assert run.checkpoint2.stat().st_mtime_ns > old
    again = run.checkpoint2.stat().st_mtime_ns
    ltml.stage2(recipe, tmp_path)
    assert run.checkpoint2.stat().st_mtime_ns == again


def test_saved_gaussians_load_by_the_library_alone(tiny_run: Path) -> None:
    resampler = GaussianResampler.load(tiny_run / "gaussians.safetensors")
    virtual, labels = resampler.sample(7, seed=0)
    assert virtual.shape == (7, 10, 64)
    assert labels.shape == (7, 10)
    about = json.loads((tiny_run / "gaussians.json").read_text())
    assert [entry["n_present"] for entry in about["labels"]] == resampler.counts_[:, 1].tolist()
    assert sum(entry["p_present"] for entry in about["labels"]) == pytest.approx(1)


@pytest.mark.parametrize("method", ["bce_gaussian", "label_adapter"])
def test_heads_with_a_shared_feature_go_through_stage_2(method: str, tmp_path: Path) -> None:
    overrides = [f"method={method}", "stage2.method=gaussian", "train.epochs=1", "data.train_size=96"]
    result = ltml.run(load_recipe("digits_tiny", overrides), tmp_path)
    run, _ = read_run(result.run_dir)
    assert load_features(run.features, "train").features.shape == (96, 128)
    assert result.stage2 is not None
    assert load_weights(run.checkpoint2)[0]["head.classifier.weight"].shape == (10, 128)


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished stage 1 .* run `ltml stage1`"):
        ltml.stage2(load_recipe("digits_tiny"), tmp_path)
    with pytest.raises(InputError, match="there is no stage 2 to run"):
        ltml.stage2(load_recipe("digits_tiny", ["method=bce"]), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_prior_of_the_wrong_length_is_bad_input(tiny_run: Path) -> None:
    with pytest.raises(InputError, match=r"stage2.prior has 2 numbers; the data have 10 classes"):
        ltml.stage2(load_recipe("digits_tiny", ["stage2.prior=[0.5,0.5]"]), tiny_run.parents[2])
