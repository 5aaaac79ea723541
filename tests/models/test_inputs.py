from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ltml.errors import InputError
from ltml.models import inputs
from ltml.models.backbones import Backbone
from ltml.models.model import Stage1Model

PIXELS = torch.arange(256, dtype=torch.uint8).repeat(3)[: 2 * 3 * 8 * 8].view(2, 3, 8, 8)


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(4, 2)

    def features(self, feature_map: Tensor) -> Tensor:
        return feature_map.mean(dim=(2, 3))


def model(images_per_row: int = 1) -> Stage1Model:
    torch.manual_seed(0)
    head = _Head()
    head.classifier = nn.Linear(4 * images_per_row, 2)
    return Stage1Model(nn.Conv2d(3, 4, 3), head, [0.5] * 3, [0.25] * 3, images_per_row).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_numbers_from_0_to_255_give_what_uint8_gives(dtype: torch.dtype) -> None:
    net = model()
    torch.testing.assert_close(net(PIXELS.to(dtype)).logits, net(PIXELS).logits)
    torch.testing.assert_close(net.features(PIXELS.to(dtype)), net.features(PIXELS))


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (PIXELS / 255, r"0 to 1, as in \[0, 1\]: multiply by 255"),
        (PIXELS.half() / 255, r"as in \[0, 1\]"),
        (PIXELS / 255 * 1.02, r"as in \[0, 1\]"),  # as resizing by bicubic weights leaves it
        ((PIXELS > 100).float(), r"as in \[0, 1\]"),
        (PIXELS.long() // 255, r"as in \[0, 1\]"),
        ((PIXELS / 255 - 0.485) / 0.229, r"-2\.1179 to 2\.24891: leave out the normalisation"),
        (PIXELS.float() - 1, "-1 to 254"),
        (PIXELS.int() * 257, "0 to 65535"),
        (PIXELS.float().log(), "not finite"),
        (PIXELS.float().where(PIXELS != 7, torch.nan), "not finite"),
        (PIXELS > 100, "uint8, 0 to 255, but got torch.bool"),
        (PIXELS.permute(0, 2, 3, 1), r"\(B, 3, H, W\) but got \(2, 8, 8, 3\); put channels first"),
        (PIXELS[0], r"got \(3, 8, 8\); add the dimension"),
        (PIXELS[:, :1], r"got \(2, 1, 8, 8\)\."),
        (PIXELS[None], r"got \(1, 2, 3, 8, 8\)\."),
        (PIXELS.numpy(), "as a torch tensor .* but got ndarray"),
    ],
)
def test_what_cannot_be_meant_is_refused_once_for_all_ways_in(images: Tensor, match: str) -> None:
    net = model()
    for call in (net, net.features):
        with pytest.raises(InputError, match=match) as caught:
            call(images)
        assert len(str(caught.value)) < 600


def test_black_and_empty_batches_pass() -> None:
    net = model()
    torch.testing.assert_close(net(torch.zeros(2, 3, 8, 8)).logits, net(torch.zeros(2, 3, 8, 8).byte()).logits)
    assert net(torch.zeros(0, 3, 8, 8)).logits.shape == (0, 2)


def test_channels_are_those_of_all_images_of_a_row() -> None:
    pairs = torch.cat([PIXELS, PIXELS], dim=1)
    assert model(2)(pairs).logits.shape == (2, 2)
    with pytest.raises(InputError, match=r"\(B, 6, H, W\) but got \(2, 3, 8, 8\)"):
        model(2)(PIXELS)


def test_uint8_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU a look would make every step wait."""

    def fail(_: Tensor) -> None:
        raise AssertionError

    monkeypatch.setattr(inputs, "_check_values", fail)
    model()(PIXELS)
    with pytest.raises(AssertionError):
        model()(PIXELS.float())


def test_gradients_reach_floating_images() -> None:
    images = PIXELS.float().requires_grad_()
    model()(images).logits.sum().backward()
    assert images.grad is not None
    assert bool(images.grad.any())


@pytest.mark.parametrize("images", [PIXELS, PIXELS.float()], ids=["uint8", "float"])
def test_an_exported_model_is_the_same_function(images: Tensor) -> None:
    net = model()
    program = torch.export.export(_Logits(net), (images,)).module()
    torch.testing.assert_close(program(images), net(images).logits)


class _Logits(nn.Module):
    def __init__(self, net: Stage1Model) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).logits


def test_a_backbone_of_fixed_size_says_so() -> None:
    fixed = Backbone("vit_tiny_patch16_224", image_size=32)
    assert (fixed.fixed_size, fixed.channels) == (32, 3)
    assert Backbone("resnet18", image_size=32, channels=1).fixed_size is None
    free = Backbone("vit_tiny_patch16_224", image_size=32, options={"dynamic_img_size": True})
    assert free.fixed_size is None
    assert free(torch.zeros(1, 3, 64, 64)).shape == (1, 192, 4, 4)
    net = Stage1Model(fixed, _Head(), [0.5] * 3, [0.25] * 3).eval()
    with pytest.raises(InputError, match="images of 32×32 px, as the backbone is built for, but got 64×48"):
        net.features(torch.zeros(1, 3, 64, 48, dtype=torch.uint8))
