from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ltml
from ltml.errors import InputError
from ltml.models.backbones import Backbone
from ltml.processes.world import SINGLE_PROCESS, World
from ltml.recipe.load import load_recipe
from ltml.stages.data import cache_images
from ltml.training.devices import choose_device, synchronise_norms
from ltml.training.loop import seed_epoch

TWO = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
TWO |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def _two(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 3))
def test_shares_are_even_in_order_and_complete(count: int, size: int, least: int) -> None:
    rows = list(range(count))
    shares = [rows[World(rank, size).share(count, least)] for rank in range(size)]
    assert [row for share in shares for row in share] == rows
    lengths = [len(share) for share in shares if share]
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= min(least, count)
    assert len(lengths) == size or len(lengths) == max(count // least, 1)


def test_the_environment_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert World.from_environment() == SINGLE_PROCESS
    assert SINGLE_PROCESS.is_first
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    assert World.from_environment() == World(1, 2, 1, 2)
    assert not World.from_environment().is_first
    monkeypatch.delenv("MASTER_PORT")
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(
        InputError, match=r"WORLD_SIZE=2 asks for several .* but RANK, MASTER_PORT is not set.*torchrun"
    ):
        World.from_environment()


def test_devices_of_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(3, 4, 1, 2)
    assert choose_device("cpu", world) == torch.device("cpu")
    with pytest.raises(InputError, match="train.device=cuda:0 cannot be shared by 4 processes; .* auto, cpu, cuda"):
        choose_device("cuda:0", world)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", world) == choose_device("cuda", world) == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"2 processes were started on a machine with 1 CUDA .*--device cpu"):
        choose_device("auto", world)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto", world) == torch.device("cpu")


@pytest.mark.usefixtures("_two")
def test_what_needs_one_process_says_so() -> None:
    recipe = load_recipe("digits_tiny", ["train.batch_size=1"])
    with pytest.raises(InputError, match="train.batch_size=1 images are shared by 2 processes, so some would get none"):
        ltml.run(recipe)
    with pytest.raises(InputError, match="start it without torchrun"):
        ltml.stage2(recipe, features={"train": "train.npz", "val": "val.npz"})
    with pytest.raises(InputError, match="run `ltml data cache` without torchrun"):
        cache_images(recipe)


def test_dropout_differs_by_process() -> None:
    draws = []
    for world in (SINGLE_PROCESS, World(0, 2), World(1, 2), World(1, 2)):
        seed_epoch(3, "epoch", 0, world=world)
        draws.append(torch.rand(1).item())
    assert len(set(draws)) == 3
    assert draws[2] == draws[3]


@pytest.mark.parametrize(("name", "ibn"), [("densenet121", True), ("resnet18", False)])
def test_synchronised_norms_answer_alike(name: str, ibn: bool) -> None:
    torch.manual_seed(0)
    model = Backbone(name, image_size=32, channels=1, ibn=ibn).eval()
    images = torch.randn(3, 1, 32, 32)
    before, keys = model(images), list(model.state_dict())
    changed = synchronise_norms(model)
    torch.testing.assert_close(changed(images), before)
    assert list(changed.state_dict()) == keys
    plain = [m for m in changed.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert plain == []
    assert any(isinstance(m, torch.nn.SyncBatchNorm) for m in changed.modules())


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "swin_tiny_patch4_window7_224"])
def test_no_images_give_no_features_and_a_gradient_of_zeros(name: str) -> None:
    size = 224 if name.startswith("swin") else 32
    model = Backbone(name, image_size=size, channels=1)
    features = model(torch.zeros(0, 1, size, size))
    assert features.shape == (0, model.width, *model(torch.zeros(2, 1, size, size)).shape[2:])
    features.sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert any(gradient is not None for gradient in gradients)
    assert all(gradient is None or not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("head", ltml.list_heads())
def test_heads_take_no_images(head: str) -> None:
    from ltml.stages.build import build_model

    recipe = load_recipe("digits_tiny", [f"head.type={head}"])
    model = build_model(recipe, ("one: a", "one: b", "two: a"), None, pretrained=False)
    output = model(torch.zeros(0, 1, 32, 32, dtype=torch.uint8))
    assert output.logits.shape == (0, 3)
    assert output.pooled is not None
    assert len(output.features) == len(output.pooled) == 0
