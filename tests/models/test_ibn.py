"""IBN in the places and with the channels that the paper and its public code name, and weights that go with them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from ltml.errors import InputError
from ltml.models.backbones import Backbone
from ltml.models.ibn import MixedNorm

SMALL: dict[str, dict[str, Any]] = {
    "densenet121": {"growth_rate": 5, "block_config": [4, 2, 1, 4]},
    "resnet50": {"layers": [1, 2, 1, 2], "channels": [5, 8, 8, 16]},
    "resnet18": {"layers": [2, 1, 1, 1], "channels": [5, 8, 8, 16]},
}


def _mixed(net: nn.Module) -> dict[str, MixedNorm]:
    return {path: module for path, module in net.named_modules() if isinstance(module, MixedNorm)}


def _randomise(net: nn.Module) -> None:
    """Other weights and statistics in every norm than it starts with."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.copy_(torch.rand_like(tensor) + 0.5)


def test_densenet121_has_ibn_in_14_places_and_takes_320_px() -> None:
    backbone = Backbone("densenet121", image_size=320, ibn=True)
    expected, width = {}, 64
    for block, layers in enumerate((6, 12, 24), start=1):
        for layer in range(0, layers, 3):
            channels = width + 32 * layer
            expected[f"net.features.denseblock{block}.denselayer{layer + 1}.norm1"] = (int(0.6 * channels), channels)
        width = (width + 32 * layers) // 2
    found = _mixed(backbone)
    assert len(found) == 14
    assert {
        path: (norm.batch.num_features, norm.batch.num_features + norm.instance.num_features)
        for path, norm in found.items()
    } == expected
    assert all(norm.batch_first for norm in found.values())
    with torch.no_grad():
        assert backbone.eval()(torch.randn(1, 3, 320, 320)).shape == (1, 1024, 10, 10)


def test_resnet50_has_ibn_a_in_the_first_three_stages() -> None:
    backbone = Backbone("resnet50", image_size=64, ibn=True)
    expected = {
        f"net.layer{stage}.{block}.bn1": (width // 2, width // 2)
        for stage, blocks, width in ((1, 3, 64), (2, 4, 128), (3, 6, 256))
        for block in range(blocks)
    }
    found = _mixed(backbone)
    assert {path: (norm.instance.num_features, norm.batch.num_features) for path, norm in found.items()} == expected
    assert not any(norm.batch_first for norm in found.values())


def _slow_norm(x: Tensor, norm: nn.BatchNorm2d, instance: set[int], *, training: bool) -> Tensor:
    """Channel by channel: instance norm by each image's own pixels, batch norm by the batch's or the running ones."""
    output = torch.empty_like(x)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    for c in range(x.shape[1]):
        for i in range(x.shape[0]):
            pixels = x[i, c] if c in instance else x[:, c]
            mean, variance = pixels.mean(), ((pixels - pixels.mean()) ** 2).mean()
            if c not in instance and not training:
                mean, variance = norm.running_mean[c], norm.running_var[c]
            output[i, c] = (x[i, c] - mean) / (variance + norm.eps).sqrt() * norm.weight[c] + norm.bias[c]
    return output


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_the_mixed_norm_equals_a_slow_version(kind: type[nn.BatchNorm2d], batch_first: bool, training: bool) -> None:
    torch.manual_seed(0)
    norm = kind(7, eps=1e-3, momentum=0.3)
    _randomise(norm)
    mixed = MixedNorm(norm, 3, batch_first=batch_first).train(training)
    x = torch.randn(4, 7, 3, 5) * 2 + 1
    instance = {3, 4, 5, 6} if batch_first else {0, 1, 2}
    expected = _slow_norm(x, norm, instance, training=training)
    if kind is BatchNormAct2d:
        expected = expected.clamp(min=0)
    torch.testing.assert_close(mixed(x.clone()), expected)


def test_training_moves_the_statistics_of_the_batch_norm_channels() -> None:
    norm = nn.BatchNorm2d(5, momentum=0.3)
    mixed, x = MixedNorm(norm, 3, batch_first=True), torch.randn(4, 5, 3, 3) + 2
    mixed(x)
    torch.testing.assert_close(mixed.batch.running_mean, 0.3 * x[:, :3].mean(dim=(0, 2, 3)))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_local_weights_go_to_the_channels_they_belong_to(
    name: str, channels: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    source = timm.create_model(name, **SMALL[name])
    _randomise(source)
    state = {key: value.contiguous() for key, value in source.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    with caplog.at_level(logging.INFO, logger="ltml"):
        backbone = Backbone(
            name, image_size=64, channels=channels, weights=tmp_path / "w.safetensors", options=SMALL[name], ibn=True
        )
    places = _mixed(backbone.net)
    assert len(places) == {"densenet121": 4, "resnet50": 4, "resnet18": 4}[name]
    for path, norm in places.items():
        batch, instance = norm.batch.num_features, norm.instance.num_features
        first = {"batch": 0, "instance": batch} if name.startswith("dense") else {"batch": instance, "instance": 0}
        for c in range(batch):
            for key in ("weight", "bias", "running_mean", "running_var"):
                assert getattr(norm.batch, key)[c] == state[f"{path}.{key}"][first["batch"] + c]
        for c in range(instance):
            for key in ("weight", "bias"):
                assert getattr(norm.instance, key)[c] == state[f"{path}.{key}"][first["instance"] + c]
    own = backbone.net.state_dict()
    elsewhere = [key for key in own if not key.startswith(tuple(f"{path}." for path in places))]
    assert all(torch.equal(own[key], state[key]) for key in elsewhere if own[key].shape == state[key].shape)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert f"{name} with IBN in {len(places)} places: {count} parameters loaded, 0 new" in caplog.text


def test_a_state_fits_a_backbone_built_again() -> None:
    first, second = (Backbone("densenet121", image_size=64, options=SMALL["densenet121"], ibn=True) for _ in range(2))
    _randomise(first)
    second.load_state_dict(first.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(second.eval()(images), first.eval()(images))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}),
        ("resnetv2_50", {"layers": [1, 1, 1, 1]}),
        ("seresnet18", {}),
        ("resnet50_gn", {"layers": [1, 1, 1, 1]}),
        ("densenet121", {"block_config": [2, 2, 2, 2], "norm_layer": "groupnorm"}),
    ],
)
def test_other_backbones_are_refused_before_weights_are_looked_for(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"not defined for backbone '{name}'; .*densenet\* and resnet\*"):
        Backbone(name, image_size=64, options=options, ibn=True, pretrained=True)


def test_images_that_leave_one_pixel_to_normalise_are_refused() -> None:
    with pytest.raises(InputError, match="'resnet18' does not take images of 16 px"):
        Backbone("resnet18", image_size=16, options=SMALL["resnet18"], ibn=True)


def test_a_recipe_trains_with_ibn_and_its_checkpoint_is_read_again(tmp_path: Path, cli: Any) -> None:
    from ltml.metrics.predictions import Predictions
    from ltml.stages.build import build_dataset, build_loader, rebuild_model
    from ltml.stages.predict import predict
    from ltml.stages.run_directory import read_run
    from ltml.training.checkpoint import load_weights
    from ltml.training.devices import choose_compute

    backbone = (
        "{name: resnet18, pretrained: false, ibn: true, options: {layers: [1, 1, 1, 1], channels: [8, 8, 8, 16], "
        "output_stride: 8}}"
    )
    small = ("train.epochs=1", "data.train_size=64", f"backbone={backbone}")
    result = cli("stage1", "digits_tiny", *small, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    path = next(tmp_path.glob("digits_tiny/*/seed0"))
    run, recipe = read_run(path)
    weights, _ = load_weights(run.checkpoint1)
    dataset = build_dataset(recipe)
    model = rebuild_model(recipe, dataset, weights, stage=1)
    assert len(_mixed(model)) == 3
    compute = choose_compute("cpu", "float32")
    again = predict(model, build_loader(recipe, dataset, "val", torch.device("cpu")), dataset, "val", compute)
    np.testing.assert_allclose(again.probs, Predictions.read(run.predictions(1, "val")).probs, atol=1e-6)
