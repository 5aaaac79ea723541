from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from ltml.errors import InputError, LtmlError
from ltml.models.backbones import Backbone, normalization

SMALL = {
    "resnet18": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 16]},
    "densenet121": {"growth_rate": 4, "block_config": [1, 1, 1, 1]},
    "convnext_atto": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    "vit_tiny_patch16_224": {"embed_dim": 16, "depth": 1, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("size", "channels"), [(64, 1), (96, 3)])
def test_every_kind_of_backbone_gives_a_feature_map(name: str, size: int, channels: int) -> None:
    backbone = Backbone(name, image_size=size, channels=channels, options=SMALL[name])
    output = backbone(torch.randn(2, channels, size, size))
    assert output.shape[:2] == (2, backbone.width)
    assert output.shape[2] == output.shape[3] == max(size // (16 if name.startswith("vit") else 32), 1)


def test_tokens_become_the_map_in_reading_order() -> None:
    backbone = Backbone("vit_tiny_patch16_224", image_size=64, options=SMALL["vit_tiny_patch16_224"]).eval()
    images = torch.randn(1, 3, 64, 64)
    tokens = backbone.net.forward_features(images)[:, 1:]
    torch.testing.assert_close(backbone(images)[0, :, 1, 2], tokens[0, 1 * 4 + 2])


def test_local_weights_are_loaded_and_adapted_to_grey(tmp_path: Path) -> None:
    source = timm.create_model("resnet18", **SMALL["resnet18"])
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    for name, channels in (("w.safetensors", 3), ("w.pth", 3), ("w.safetensors", 1)):
        backbone = Backbone(
            "resnet18", image_size=32, channels=channels, weights=tmp_path / name, options=SMALL["resnet18"]
        )
        own, theirs = backbone.net.state_dict(), source.state_dict()
        torch.testing.assert_close(own["layer4.0.conv2.weight"], theirs["layer4.0.conv2.weight"])
        first = theirs["conv1.weight"] if channels == 3 else theirs["conv1.weight"].sum(dim=1, keepdim=True)
        torch.testing.assert_close(own["conv1.weight"], first)


def test_wrong_weights_names_and_options_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        Backbone("resnet18", image_size=32, weights=tmp_path / "none.pth")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"bad.safetensors cannot be read \(SafetensorError\)"):
        Backbone("resnet18", image_size=32, weights=tmp_path / "bad.safetensors")
    with pytest.raises(InputError, match="unknown backbone 'resnet51': did you mean 'resnet"):
        Backbone("resnet51", image_size=32)
    with pytest.raises(InputError, match=r"backbone.options .*'nonsense'"):
        Backbone("resnet18", image_size=32, options={"nonsense": 1})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: dict(list(state.items())[:40]),  # cut off
        lambda state: state | {"layer1.1.conv1.weight": torch.zeros(1)},  # of a deeper model
        lambda state: state | {"layer2.0.conv1.weight": torch.zeros(3, 3, 3, 3)},  # of a wider one
        lambda _: {"anything": torch.zeros(1)},
    ],
)
def test_weights_of_another_model_are_refused(tmp_path: Path, spoil) -> None:
    state = spoil(timm.create_model("resnet18", **SMALL["resnet18"]).state_dict())
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"does not fit the backbone: \d+ entries are missing, left over"):
        Backbone("resnet18", image_size=32, weights=tmp_path / "w.safetensors", options=SMALL["resnet18"])


def test_sizes_and_tags_that_do_not_suit_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="'vit_tiny_patch16_224' does not take images of 8 px|is no feature map"):
        Backbone("vit_tiny_patch16_224", image_size=8, options=SMALL["vit_tiny_patch16_224"])
    with pytest.raises(InputError, match="unknown weights 'a1_in1' of 'resnet50': did you mean 'a1_in1k'"):
        Backbone("resnet50.a1_in1", image_size=32)


def test_pretrained_without_network_or_cache_is_an_error_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        LtmlError, match=r"(?s)cannot get pretrained weights for backbone 'resnet18'.*backbone.weights="
    ):
        Backbone("resnet18", image_size=32, pretrained=True)


def test_normalization_is_what_the_weights_expect() -> None:
    assert normalization("resnet50", 3)[0] == pytest.approx([0.485, 0.456, 0.406])
    assert normalization("resnet50", 1)[0] == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
