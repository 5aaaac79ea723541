from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ltml.errors import InputError
from ltml.training.checkpoint import load_state, load_weights, save_state, save_weights
from ltml.training.devices import choose_device
from ltml.training.loop import NonFiniteLossError, seed_epoch, train_epoch
from ltml.training.optim import make_optimizer, make_schedule, step_schedule


def test_an_epoch_is_the_textbook_loop() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 1), nn.Linear(3, 1)
    theirs.load_state_dict(ours.state_dict())
    batches = [torch.randn(4, 3) for _ in range(5)]
    loss = train_epoch(
        batches,
        lambda x: ours(x).square().mean(),
        make_optimizer("sgd", ours.parameters(), lr=0.1, weight_decay=0.0, momentum=0.0),
    )
    values = []
    for x in batches:
        value = theirs(x).square().mean()
        gradients = torch.autograd.grad(value, list(theirs.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(theirs.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
        values.append(value.item())
    assert loss == pytest.approx(sum(values) / 5)
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_a_loss_that_is_not_finite_stops_before_the_step() -> None:
    layer = nn.Linear(1, 1)
    before = layer.weight.clone()
    optimizer = make_optimizer("adam", layer.parameters(), lr=0.1, weight_decay=0.0)
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan at step 0 of the epoch, images 1"):
        train_epoch([1], lambda _: layer(torch.ones(1)).sum() * math.nan, optimizer, describe=lambda b: f", images {b}")
    assert torch.equal(layer.weight, before)


def test_gradients_are_clipped_when_asked() -> None:
    layer = nn.Linear(1, 1, bias=False)
    start = layer.weight.item()
    optimizer = make_optimizer("sgd", layer.parameters(), lr=1.0, weight_decay=0.0, momentum=0.0)
    train_epoch([0], lambda _: 1000 * layer.weight.sum(), optimizer, clip_norm=0.5)
    assert abs(layer.weight.item() - start) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # there are no steps to take here
def test_schedules_follow_their_formulas() -> None:
    def rates(name: str, values: list[float]) -> list[float]:
        optimizer = make_optimizer("adamw", nn.Linear(1, 1).parameters(), lr=1.0, weight_decay=0.0)
        schedule = make_schedule(name, optimizer, epochs=4, milestones=[1, 3], factor=0.5, patience=1)
        seen = []
        for value in values:
            seen.append(optimizer.param_groups[0]["lr"])
            step_schedule(schedule, value)
        return seen

    assert rates("constant", [0] * 4) == [1, 1, 1, 1]
    assert rates("milestones", [0] * 4) == [1, 0.5, 0.5, 0.25]
    assert rates("cosine", [0] * 4) == pytest.approx([(1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)])
    assert rates("plateau", [0.5, 0.4, 0.4, 0.6]) == [1, 1, 1, 0.5]


def test_an_epoch_has_its_own_stream() -> None:
    draws = []
    for epoch in (0, 1, 0):
        seed_epoch(3, "epoch", epoch)
        draws.append(torch.rand(1).item())
    assert draws[0] == draws[2] != draws[1]


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="unknown device 'gpu'; allowed: auto, cpu"):
        choose_device("gpu")
    with pytest.raises(InputError, match=r"train.device=cuda:99, but this machine has \d+ CUDA"):
        choose_device("cuda:99")


def test_checkpoints_have_equal_bytes_and_describe_themselves(tmp_path) -> None:
    state = nn.Linear(3, 2).state_dict()
    for name in ("a", "b"):
        save_weights(tmp_path / name, state, {"stage": 1, "label_names": ["x", "y"], "recipe": "r"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    tensors, about = load_weights(tmp_path / "a")
    assert about["label_names"] == ["x", "y"]
    assert torch.equal(tensors["weight"], state["weight"])


def test_damaged_checkpoints_are_named(tmp_path) -> None:
    (tmp_path / "bad").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"cannot read the checkpoint .*bad"):
        load_weights(tmp_path / "bad")
    with pytest.raises(InputError, match=r"cannot read .*bad"):
        load_state(tmp_path / "bad")
    assert load_state(tmp_path / "nothing") is None
    save_state(tmp_path / "state", {"epoch": 3, "weights": {"a": torch.ones(2)}})
    assert load_state(tmp_path / "state")["epoch"] == 3
