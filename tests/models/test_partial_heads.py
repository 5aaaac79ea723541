"""The heads of methods for partial labels against slow versions, and through both stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from ltml.errors import InputError
from ltml.models.classifier import PerClassLinear
from ltml.models.context import HeadContext
from ltml.models.heads.branches import BranchesHead
from ltml.models.heads.dodnet import DodnetHead
from ltml.models.heads.label_adapter import LabelAdapterHead
from ltml.models.heads.multi_task import MultiTaskHead
from ltml.models.model import Stage1Model
from ltml.stages.run_directory import RunDirectory, read_run
from ltml.training.checkpoint import load_weights

SMALL = ("train.epochs=1", "data.train_size=64")


def context(num_classes: int) -> HeadContext:
    return HeadContext(6, tuple("abcd"[:num_classes]))


def test_branches_equal_a_slow_version() -> None:
    torch.manual_seed(0)
    head = BranchesHead(context(4), width=5)
    feature_map = torch.randn(3, 6, 2, 2)
    features = head.features(feature_map)
    logits = head.classifier(features)
    assert features.shape == (3, 4, 5)
    weight, bias = head.branches.weight, head.branches.bias
    for i in range(3):
        pooled = torch.stack([feature_map[i, d].mean() for d in range(6)])
        for c in range(4):
            own = weight[5 * c : 5 * c + 5] @ pooled + bias[5 * c : 5 * c + 5]
            torch.testing.assert_close(features[i, c], own)
            torch.testing.assert_close(logits[i, c], head.classifier.weight[c] @ own + head.classifier.bias[c])


def test_branches_are_128_wide_and_learn_from_their_own_class_alone() -> None:
    head = BranchesHead(context(4))
    features = head.features(torch.randn(3, 6, 2, 2))
    assert features.shape == (3, 4, 128)
    head.classifier(features)[:, 1].sum().backward()
    moved = [bool(part.any()) for part in head.branches.weight.grad.split(128)]
    assert moved == [False, True, False, False]


def test_dodnet_equals_a_slow_version() -> None:
    torch.manual_seed(0)
    head = DodnetHead(context(4))
    feature_map = torch.randn(3, 6, 2, 2)
    features = head.features(feature_map)
    logits = head.classifier(features)
    assert logits.shape == (3, 4)
    weight, bias = head.classifier.controller.weight, head.classifier.controller.bias
    for i in range(3):
        pooled = torch.stack([feature_map[i, d].mean() for d in range(6)])
        torch.testing.assert_close(features[i], pooled)
        for c in range(4):
            question = [*pooled.tolist(), *(float(k == c) for k in range(4))]
            generated = [sum(w * q for w, q in zip(weight[o].tolist(), question, strict=True)) for o in range(7)]
            generated = [value + b for value, b in zip(generated, bias.tolist(), strict=True)]
            answer = sum(g * f for g, f in zip(generated[:6], pooled.tolist(), strict=True)) + generated[6]
            torch.testing.assert_close(logits[i, c].item(), answer, rtol=1e-5, atol=1e-6)


def test_dodnet_asks_the_controller_once_per_class() -> None:
    head = DodnetHead(context(4))
    questions: list[torch.Tensor] = []
    head.classifier.controller.register_forward_pre_hook(lambda _, inputs: questions.append(inputs[0]))
    head.classifier(torch.randn(3, 6))
    assert [question.shape for question in questions] == [(3, 10)] * 4
    assert [question[0, 6:].argmax().item() for question in questions] == [0, 1, 2, 3]


def test_sizes_are_those_printed_in_data_assemble() -> None:
    """Section 5 (3): 8.02 against 6.98 million with DenseNet-121, on ChestX-ray14's and CheXpert's 20 classes."""
    backbone = timm.create_model("densenet121", num_classes=0)
    millions = [
        sum(
            parameter.numel()
            for part in (backbone, head(HeadContext(1024, tuple(map(str, range(20))))))
            for parameter in part.parameters()
        )
        / 1e6
        for head in (DodnetHead, LabelAdapterHead)
    ]
    assert [round(value, 2) for value in millions] == [8.02, 6.98]


@pytest.mark.parametrize("kind", [BranchesHead, DodnetHead])
def test_gradients_reach_every_parameter_and_the_map(kind: Any) -> None:
    head, feature_map = kind(context(4)), torch.randn(3, 6, 2, 2, requires_grad=True)
    head.classifier(head.features(feature_map)).square().sum().backward()
    assert all(bool(parameter.grad.any()) for parameter in head.parameters())
    assert feature_map.grad is not None
    assert bool(feature_map.grad.any())


@pytest.mark.parametrize(("kind", "shape"), [(BranchesHead, (2, 4, 256)), (DodnetHead, (2, 12))])
def test_features_of_several_images_per_row_stand_side_by_side(kind: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = Stage1Model(
        torch.nn.Conv2d(1, 6, 3), kind(context(4)._replace(images_per_row=2)), [0.5], [0.5], images_per_row=2
    ).eval()
    images = torch.randint(0, 256, (2, 2, 8, 8), dtype=torch.uint8)
    output = model(images)
    assert output.features.shape == shape
    assert output.logits.shape == (2, 4)
    exchanged = model.features(images.flip(1))
    torch.testing.assert_close(exchanged, output.features.roll(shape[-1] // 2, dims=-1))


def test_branches_are_linear_for_stage_2_and_dodnet_is_not() -> None:
    torch.manual_seed(0)
    backbone = torch.nn.Conv2d(1, 6, 3)
    branches = Stage1Model(backbone, BranchesHead(context(4), width=5), [0.5], [0.5])
    features = torch.randn(3, 4, 5)
    before = branches.classifier(features)
    branches.make_classifier_linear()
    assert torch.equal(branches.classifier(features), before)
    dodnet = Stage1Model(backbone, DodnetHead(context(4)), [0.5], [0.5])
    controller = dodnet.classifier
    dodnet.make_classifier_linear()
    assert dodnet.classifier is controller
    assert not isinstance(controller, PerClassLinear)
    x = torch.randn(3, 6)
    bend = controller(2 * x) - 2 * controller(x) + controller(0 * x)
    assert bend.abs().min() > 1e-4  # zero for a linear map


def _finished(out: Path) -> RunDirectory:
    return read_run(next(out.glob("digits_tiny/*/seed0/stage2/checkpoint.safetensors")).parents[1])[0]


def _changed(run: RunDirectory) -> set[str]:
    """Names of the weights that stage 2 moved."""
    first, second = load_weights(run.checkpoint1)[0], load_weights(run.checkpoint2)[0]
    assert first.keys() == second.keys()
    return {key for key in first if not torch.equal(first[key], second[key])}


def test_branches_go_through_both_stages(cli: Any, tmp_path: Path) -> None:
    options = ("digits_tiny", "head.type=branches", "head.branches.width=16", *SMALL, "--out", tmp_path)
    result = cli("stage1", *options)
    assert result.exit_code == 0, result.output
    result = cli("stage2", *options, "stage2.solver=expected", "stage2.restore_prior=true", "stage2.rounds=0")
    assert result.exit_code == 0, result.output
    assert _changed(_finished(tmp_path)) == {"head.classifier.weight", "head.classifier.bias"}


def test_stage_2_trains_dodnet_s_controller_and_refuses_what_needs_a_linear_classifier(
    cli: Any, tmp_path: Path
) -> None:
    options = ("digits_tiny", "head.type=dodnet", *SMALL, "--out", tmp_path)
    result = cli("stage1", *options)
    assert result.exit_code == 0, result.output
    for setting in ("stage2.solver=expected", "stage2.method=bias_shift", "stage2.restore_prior=true"):
        result = cli("stage2", *options, setting)
        assert result.exit_code == 2, result.output
        message = " ".join(result.output.split())
        assert f"{setting} needs a classifier with one weight vector and bias per class" in message
        assert "'dodnet' is a DynamicClassifier" in message
        assert "stage2.solver=sampled" in message
    result = cli("stage2", *options, "stage2.rounds=0")
    assert result.exit_code == 0, result.output
    assert _changed(_finished(tmp_path)) == {"head.classifier.controller.weight", "head.classifier.controller.bias"}


def test_each_source_has_a_layer_of_its_own_that_others_do_not_touch() -> None:
    torch.manual_seed(0)
    names = ("one: a", "two: a", "one: b")
    head = MultiTaskHead(HeadContext(6, names), width=5)
    feature_map = torch.randn(2, 6, 3, 3)
    pooled = feature_map.mean(dim=(2, 3))
    features = head.features(feature_map)
    weight, bias = head.hidden.weight.reshape(2, 5, 6), head.hidden.bias.reshape(2, 5)
    for c, source in enumerate([0, 1, 0]):
        expected = torch.relu(pooled @ weight[source].T + bias[source])
        torch.testing.assert_close(features[:, c], expected)
    head.classifier(features)[:, 1].sum().backward()
    gradient = head.hidden.weight.grad.reshape(2, 5, 6)
    assert not gradient[0].any()
    assert gradient[1].any()


def test_a_head_per_source_needs_labels_of_sources() -> None:
    with pytest.raises(InputError, match=r"needs a source for every label and 'b' has none.*data.separate=true"):
        MultiTaskHead(HeadContext(6, ("one: a", "b")))
