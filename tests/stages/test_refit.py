"""What stage 2 can do besides the paper's procedure: the exact limit, the restored prior, the controls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ltml
from ltml.errors import InputError
from ltml.gaussians.expected import expected_loss
from ltml.metrics.predictions import Predictions
from ltml.models.classifier import PerClassLinear
from ltml.models.context import HeadContext
from ltml.models.heads.head import Head
from ltml.rebalancing.crt import reset_classifier
from ltml.rebalancing.real_resample import RealResampler
from ltml.recipe.load import load_recipe
from ltml.registry import HEADS
from ltml.stages.features import load_features
from ltml.stages.refit import _classify_samples
from ltml.stages.run_directory import RunDirectory, read_run
from ltml.stages.stage2 import plan_epochs
from ltml.training.checkpoint import load_weights

WEIGHT, BIAS = "head.classifier.weight", "head.classifier.bias"


def _stage2(tiny_run: Path, *overrides: str) -> RunDirectory:
    """A variant on the stage 1 of a finished run."""
    recipe = load_recipe("digits_tiny", overrides)
    return read_run(ltml.stage2(recipe, tiny_run.parents[2]).run_dir)[0]


def _classifier(run: RunDirectory, stage: int) -> tuple[Tensor, Tensor]:
    weights, _ = load_weights(run.checkpoint1 if stage == 1 else run.checkpoint2)
    return weights[WEIGHT].double(), weights[BIAS].double()


def _eq12_and_frequency(run: RunDirectory) -> tuple[np.ndarray, np.ndarray]:
    store = load_features(run.features, "train")
    frequency = store.targets.mean(axis=0)
    weights = (1 / (frequency + 1e-9)) ** 0.9
    return weights / weights.sum(), frequency


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


def test_bias_shift_moves_the_biases_to_the_sampling_prior_and_nothing_else(tiny_run: Path) -> None:
    run = _stage2(tiny_run, "stage2.method=bias_shift")
    chances, frequency = _eq12_and_frequency(run)
    np.testing.assert_array_equal(_classifier(run, 1)[0], _classifier(run, 2)[0])
    moved = (_classifier(run, 2)[1] - _classifier(run, 1)[1]).numpy()
    np.testing.assert_allclose(moved, _logit(chances) - _logit(frequency), atol=1e-5)
    before, after = (Predictions.read(run.predictions(stage, "test")).probs for stage in (1, 2))
    np.testing.assert_allclose(_logit(after) - _logit(before), np.tile(moved, (len(after), 1)), atol=1e-4)


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_post_hoc_logit_adjustment_takes_the_prior_out_of_the_biases(tiny_run: Path, tau: float) -> None:
    run = _stage2(tiny_run, "stage2.method=logit_adjust", f"stage2.logit_adjust.tau={tau}")
    _, frequency = _eq12_and_frequency(run)
    np.testing.assert_array_equal(_classifier(run, 1)[0], _classifier(run, 2)[0])
    moved = (_classifier(run, 2)[1] - _classifier(run, 1)[1]).numpy()
    np.testing.assert_allclose(moved, -tau * _logit(frequency), atol=1e-5)


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_tau_normalisation_divides_weights_by_a_power_of_their_norm(tiny_run: Path, tau: float) -> None:
    run = _stage2(tiny_run, "stage2.method=tau_norm", f"stage2.tau_norm.tau={tau}")
    (before, bias), (after, same) = _classifier(run, 1), _classifier(run, 2)
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1) ** (1 - tau), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(nn.functional.cosine_similarity(before, after), torch.ones(10).double())
    assert torch.equal(bias, same)
    aucs = [
        [row["auroc"] for row in json.loads(run.metrics(stage, "test").read_text())["per_class"]] for stage in (1, 2)
    ]
    assert aucs[0] == pytest.approx(aucs[1], abs=1e-9)  # the ranking within a class stays


@pytest.mark.parametrize("method", ["crt", "smote", "mixup"])
def test_methods_on_frozen_features_train_the_classifier_alone_in_one_round(tiny_run: Path, method: str) -> None:
    run = _stage2(tiny_run, f"stage2.method={method}", "stage2.m_step.epochs=2", "stage2.rounds=3")
    first, second = load_weights(run.checkpoint1)[0], load_weights(run.checkpoint2)[0]
    assert {key for key in first if not torch.equal(first[key], second[key])} == {WEIGHT, BIAS}
    log = [json.loads(line) for line in (run.path / "stage2" / "log.jsonl").read_text().splitlines()]
    assert [(line["round"], line["step"]) for line in log] == [(0, "M"), (0, "M")]
    assert not run.gaussians.exists()


def test_re_training_begins_with_a_fresh_classifier_of_the_same_seed(tiny_run: Path) -> None:
    run = _stage2(tiny_run, "stage2.method=crt", "stage2.m_step.lr=0", "stage2.m_step.weight_decay=0")
    old, fresh = _classifier(run, 1)[0], _classifier(run, 2)[0]
    assert (old - fresh).abs().min() > 0
    torch.testing.assert_close(reset_classifier(PerClassLinear(old, old[:, 0]), 0).weight.double(), fresh)


def test_restore_prior_takes_the_shift_out_of_the_biases(tiny_run: Path) -> None:
    plain = _stage2(tiny_run, "stage2.rounds=0")
    restored = _stage2(tiny_run, "stage2.rounds=0", "stage2.restore_prior=true")
    chances, frequency = _eq12_and_frequency(plain)
    np.testing.assert_array_equal(_classifier(plain, 2)[0], _classifier(restored, 2)[0])
    moved = (_classifier(restored, 2)[1] - _classifier(plain, 2)[1]).numpy()
    np.testing.assert_allclose(moved, _logit(frequency) - _logit(chances), atol=1e-5)


@pytest.mark.parametrize("loss", ["bce", "gce", "asl", "focal", "ral"])
def test_the_expected_solver_ends_where_the_gradient_is_zero(tiny_run: Path, loss: str) -> None:
    run = _stage2(tiny_run, "stage2.rounds=0", "stage2.solver=expected", f"stage2.m_step.loss.type={loss}")
    from ltml.gaussians import GaussianResampler

    resampler = GaussianResampler.load(run.gaussians)
    weight, bias = _classifier(run, 2)
    function = None if loss == "bce" else ltml.create_loss(loss, reduction="none")
    for c, pair in enumerate(resampler.gaussians_):
        chance = float(resampler.probabilities_[c])
        _, *gradient = expected_loss(pair, chance, weight[c], bias[c], l2=1e-4, loss=function)  # type: ignore[arg-type]
        assert max(float(part.abs().max()) for part in gradient) < 1e-5  # the weights are stored in float32
    record = json.loads((run.path / "stage2" / "log.jsonl").read_text().splitlines()[0])
    assert record["fitted"] == record["converged"] == 10


def test_continue_trains_everything_for_as_many_epochs(tiny_run: Path) -> None:
    settings = load_recipe("digits", ["stage2.method=continue", "stage2.rounds=2", "stage2.e_step.epochs=2"]).stage2
    assert [(e.round, e.step, e.number) for e in plan_epochs(settings)] == [
        (0, "bce", 0), (1, "bce", 0), (1, "bce", 1), (1, "bce", 2), (2, "bce", 0), (2, "bce", 1), (2, "bce", 2),
    ]  # fmt: skip
    run = _stage2(tiny_run, "stage2.method=continue")
    first, second = load_weights(run.checkpoint1)[0], load_weights(run.checkpoint2)[0]
    assert all(not torch.equal(first[key], second[key]) for key in ("backbone.net.conv1.weight", WEIGHT, BIAS))
    assert not run.gaussians.exists()
    lines = [json.loads(line) for line in (run.path / "stage2" / "log.jsonl").read_text().splitlines()]
    paper = load_recipe("digits_tiny").stage2
    assert [line["step"] for line in lines] == ["bce"] * len(plan_epochs(paper))
    answers = Predictions.read(run.predictions(2, "val"))
    assert ltml.score(answers.probs, answers.targets).macro["auroc"] == pytest.approx(
        max(line.get("val_auroc", 0) for line in lines), abs=1e-6
    )


def test_real_resample_draws_real_features_with_the_prior() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 3, 4)).astype(np.float32)
    targets = np.full((50, 3), np.nan)
    targets[:, 0] = rng.random(50) < 0.3
    targets[:20, 1] = 1
    virtual, labels = RealResampler(features, targets, np.array([0.8, 1.0, np.nan])).sample(
        4000, generator=torch.Generator().manual_seed(0)
    )
    assert labels[:, 0].mean().item() == pytest.approx(0.8, abs=0.03)
    assert torch.all(labels[:, 1] == 1)
    assert torch.all(labels[:, 2].isnan())
    assert torch.all(virtual[:, 2] == 0)
    for label in (0, 1):
        drawn = {tuple(row) for row in virtual[labels[:, 0] == label, 0].tolist()}
        assert drawn == {tuple(row) for row in features[targets[:, 0] == label, 0].tolist()}


def test_real_resample_refits_the_classifier_alone(tiny_run: Path) -> None:
    run = _stage2(tiny_run, "stage2.method=real_resample", "stage2.rounds=0")
    first, second = load_weights(run.checkpoint1)[0], load_weights(run.checkpoint2)[0]
    assert {key for key in first if not torch.equal(first[key], second[key])} == {WEIGHT, BIAS}
    assert not run.gaussians.exists()


def test_an_offset_e_step_starts_from_the_calibrated_loss(tiny_run: Path) -> None:
    """With the biases just moved to the prior, the offset takes that back: the first loss is that of stage 1."""
    from ltml.stages.build import build_dataset
    from ltml.stages.stage2 import Epoch, Stage2Training
    from ltml.training.devices import choose_compute

    losses = {}
    for name in ("bce", "bce_offset"):
        recipe = load_recipe("digits_tiny", [f"stage2.e_step.loss={name}", "stage2.e_step.lr=0"])
        run, _ = read_run(tiny_run)
        training = Stage2Training(recipe, build_dataset(recipe), run, choose_compute("cpu", "float32"))
        if name == "bce_offset":
            with torch.no_grad():
                training.model.classifier.bias += torch.from_numpy(training.refit.shift.log_odds).float()  # type: ignore[operator]
        losses[name] = training.e_step(Epoch(1, "E", 0, ends_round=False))
    assert losses["bce_offset"] == pytest.approx(losses["bce"], rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage2.solver=expected", "stage2.method=real_resample"], "stage2.solver=expected is for"),
        (["stage2.restore_prior=true", "stage2.method=bias_shift"], "nothing to restore"),
        (["stage2.restore_prior=true", "stage2.method=crt"], "nothing to restore"),
        (["stage2.restore_prior=true", "stage2.method=continue"], "nothing to restore"),
        (["stage2.gaussian.covariance=1.2"], "less than or equal to 1"),
        (["stage2.gaussian.borrow=tail"], "'head'"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe("digits_tiny", overrides)


def test_what_holds_for_linear_classifiers_only_is_refused_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class MlpHead(Head):
        """A shared feature and a classifier of two layers."""

        def __init__(self, context: HeadContext) -> None:
            super().__init__()
            self.classifier = nn.Sequential(nn.Linear(context.width, 8), nn.ReLU(), nn.Linear(8, context.num_classes))

        def features(self, feature_map: Tensor) -> Tensor:
            return feature_map.mean(dim=(2, 3))

    HEADS.names()
    monkeypatch.setitem(HEADS._components, "mlp", MlpHead)
    small = ["method=bce", "head.type=mlp", "train.epochs=1", "data.train_size=64", "stage2.method=gaussian"]
    ltml.stage1(load_recipe("digits_tiny", small), tmp_path)
    for option in ("stage2.solver=expected", "stage2.restore_prior=true", "stage2.method=bias_shift"):
        with pytest.raises(InputError, match=f"{option} needs a classifier with one weight vector.*'mlp'"):
            ltml.stage2(load_recipe("digits_tiny", [*small, option]), tmp_path)
    for method in ("gaussian", "real_resample"):
        result = ltml.stage2(load_recipe("digits_tiny", [*small, f"stage2.method={method}"]), tmp_path)
        assert result.stage2 is not None


def test_of_a_class_s_own_virtual_feature_only_its_own_answer_counts() -> None:
    classifier = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    virtual = torch.randn(5, 3, 4)
    found = _classify_samples(classifier, virtual, shared=True)
    for n in range(5):
        for c in range(3):
            torch.testing.assert_close(found[n, c], classifier(virtual[n, c])[c])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage2.m_step.loss.type=gce", "stage2.m_step.loss.gce.reduction=none"], "stage2.m_step.loss.gce.reduction"),
        (["stage2.solver=expected", "stage2.m_step.loss.type=asl", "stage2.m_step.loss.asl.detach_weight=true"], "asl"),
        (["stage2.solver=expected", "stage2.prior=[0,.1,.1,.1,.1,.1,.1,.1,.1,.1]"], "needs a prior between 0 and 1"),
    ],
)
def test_what_cannot_work_is_refused_before_stage_1(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ltml.run(load_recipe("digits_tiny", overrides), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_loss_without_an_objective_of_single_entries_has_no_limit() -> None:
    from ltml.recipe.schema import LossSection
    from ltml.stages.refit import elementwise

    with pytest.raises(InputError, match="couples them"):
        elementwise(LossSection(type="two_way"))
    with pytest.raises(InputError, match="detach_weight"):
        elementwise(load_recipe("digits", ["loss.type=asl", "loss.asl.detach_weight=true"]).loss)
    assert elementwise(LossSection(type="bce")) is None
