"""What losses refuse as targets: one message for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ltml
from ltml.errors import InputError
from ltml.losses.masking import prepare, targets_are_checked
from ltml.objectives.objective import Step, TrainingContext
from ltml.registry import LOSSES, OBJECTIVES, create
from ltml.training.loop import train_epoch
from ltml.types import Batch, ModelOutput

B, C = 16, 4
COUNTS = {"class_counts": [6] * C, "num_samples": B}
LOGITS = torch.randn(B, C, generator=torch.Generator().manual_seed(0))
TARGETS = (torch.rand(B, C, generator=torch.Generator().manual_seed(1)) < 0.4).float()
KNOWN = torch.rand(B, C, generator=torch.Generator().manual_seed(2)) < 0.7

every_loss = pytest.mark.parametrize("name", ltml.list_losses())


def _loss(name: str) -> Any:
    return ltml.create_loss(name, **{need: COUNTS[need] for need in LOSSES.needs(name)})


@every_loss
@pytest.mark.parametrize("value", [-1.0, 255.0, -100.0, 1.5, 1.000001, -1e-5, torch.inf, torch.nan])
def test_known_targets_outside_0_to_1_are_refused(name: str, value: float) -> None:
    targets = torch.where(KNOWN, TARGETS, value)
    for known in (None, torch.ones_like(KNOWN)):
        with pytest.raises(InputError, match=rf"Expected targets in \[0, 1\] but got {value:.7g}; .*mask `known`"):
            _loss(name)(LOGITS, targets, known)


@every_loss
def test_whole_numbers_and_booleans_are_targets_too(name: str) -> None:
    expected = _loss(name)(LOGITS, TARGETS, KNOWN)
    for dtype in (torch.bool, torch.uint8, torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float64):
        torch.testing.assert_close(_loss(name)(LOGITS, TARGETS.to(dtype), KNOWN), expected)
    for value, dtype in ((-1, torch.int8), (-100, torch.int64), (255, torch.uint8), (2, torch.int32), (-1, torch.half)):
        with pytest.raises(InputError, match=rf"in \[0, 1\] but got {value};"):
            _loss(name)(LOGITS, torch.where(KNOWN, TARGETS, value).to(dtype))


def test_rounding_of_mixed_targets_is_no_fault() -> None:
    shares = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    mixed = (shares.cumsum(dim=1) * 1.0).clamp(min=0)
    assert mixed.max() > 1  # by the last bit
    ltml.create_loss("bce")(torch.zeros(1000, 4), mixed)


@every_loss
@pytest.mark.parametrize("value", [-1.0, 255.0, 3e38, torch.inf, -torch.inf])
def test_what_stands_at_unknown_entries_has_no_influence(name: str, value: float) -> None:
    expected, gradient = _value_and_gradient(_loss(name), torch.where(KNOWN, TARGETS, 0))
    found, its_gradient = _value_and_gradient(_loss(name), torch.where(KNOWN, TARGETS, value))
    assert torch.equal(found, expected)
    assert torch.equal(its_gradient, gradient)
    with pytest.raises(InputError, match="without NaN, also where `known` is False"):
        _loss(name)(LOGITS, torch.where(KNOWN, TARGETS, torch.nan), KNOWN)


def _value_and_gradient(loss: nn.Module, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, targets, KNOWN)
    return value.detach(), torch.autograd.grad(value, logits)[0]


@every_loss
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, t, k: (x[:, 0], t[:, 0], None), r"logits of shape \(B, C\).* but got \(16,\)"),
        (lambda x, t, k: (x[:, :1], t[:, 0], None), r"targets of shape \(16, 1\) but got \(16,\)"),
        (lambda x, t, k: (x[:, 0], t[:, :1], None), r"but got \(16,\)"),
        (lambda x, t, k: (x, t[:, :1], None), r"targets of shape \(16, 4\) but got \(16, 1\)"),
        (lambda x, t, k: (x, t[:1], None), r"targets of shape \(16, 4\) but got \(1, 4\)"),
        (lambda x, t, k: (x, t.T, None), r"targets of shape \(16, 4\) but got \(4, 16\)"),
        (lambda x, t, k: (x, t.sum(), None), r"targets of shape \(16, 4\) but got \(\)"),
        (lambda x, t, k: (x[None], t[None], None), r"but got \(1, 16, 4\)"),
        (lambda x, t, k: (x, t, k[:, :1]), r"boolean mask of shape \(16, 4\) but got torch.bool \(16, 1\)"),
        (lambda x, t, k: (x, t, k.float()), r"boolean mask of shape \(16, 4\) but got torch.float32"),
        (lambda x, t, k: (x, t, k.to(torch.uint8)), r"use known.bool\(\)"),
        (lambda x, t, k: (x, t.numpy(), None), "targets as a torch tensor .* but got ndarray"),
        (lambda x, t, k: (x, t, k.numpy()), "known as a torch tensor .* but got ndarray"),
        (lambda x, t, k: (x.tolist(), t, None), "logits as a torch tensor .* but got list"),
        (lambda x, t, k: (t.long(), x, None), "floating logits first, then real targets"),
        (lambda x, t, k: (x, t.cfloat(), None), "floating logits first, then real targets"),
        (lambda x, t, k: (x, t.to("meta"), None), r"on one device but got \['cpu', 'meta'\]"),
    ],
)
def test_other_shapes_kinds_and_devices_are_refused(
    name: str, change: Callable[[Tensor, Tensor, Tensor], tuple[Any, ...]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _loss(name)(*change(LOGITS, TARGETS, KNOWN))


@pytest.mark.parametrize("name", ["bce", "gce", "asl", "ral", "focal"])
def test_a_loss_of_single_entries_takes_them_in_any_shape(name: str) -> None:
    loss = ltml.create_loss(name, reduction="none")
    assert torch.equal(loss(LOGITS[:, 0], TARGETS[:, 0], KNOWN[:, 0]), loss(LOGITS, TARGETS, KNOWN)[:, 0])
    with pytest.raises(InputError, match="but got -1"):
        loss(LOGITS[:, 0], TARGETS[:, 0] - 1)


class _Careless(nn.Module):
    """A loss of a plugin that checks nothing."""

    def forward(self, scores: Tensor, labels: Tensor, known: Tensor | None = None) -> Tensor:
        return ((scores.sigmoid() - labels) ** 2).mean()


def test_a_loss_from_a_plugin_refuses_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES._components, "careless", _Careless)
    loss = ltml.create_loss("careless")
    assert loss(LOGITS, TARGETS) == loss(scores=LOGITS, labels=TARGETS) > 0
    for arguments, named in (((LOGITS, TARGETS - 1), {}), ((LOGITS,), {"targets": TARGETS - 1})):
        with pytest.raises(InputError, match=r"in \[0, 1\] but got -1"):
            loss(*arguments, **named)
    with pytest.raises(InputError, match=r"targets of shape \(16, 4\) but got \(16, 1\)"):
        loss(LOGITS, TARGETS[:, :1], known=None)
    assert loss(LOGITS, torch.where(KNOWN, TARGETS, -1.0), known=KNOWN).isfinite()


@pytest.mark.parametrize("name", ["supervised", "weighted_partial"])
def test_terms_on_known_labels_refuse_the_same(name: str) -> None:
    context = TrainingContext(
        rows=B,
        epochs=1,
        positives=torch.full((C,), 6),
        negatives=torch.full((C,), 10),
        common=torch.ones(C, dtype=torch.bool),
        sources=("a",),
        source_of_row=torch.zeros(B, dtype=torch.int64),
        feature_shape=(8,),
        pooled_width=8,
    )
    term = OBJECTIVES.get(name)(ltml.create_loss("bce"), context)
    output = ModelOutput(torch.zeros(B, 8), LOGITS)
    batch = Batch(torch.zeros(B, 1, 2, 2), TARGETS - 1, KNOWN, torch.arange(B))
    with pytest.raises(InputError, match=r"in \[0, 1\] but got -1"):
        term(Step(batch, output, 0))


def test_steps_of_training_look_at_no_value_of_targets_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the device is not the CPU, a look at a value makes the host wait; `meta` tensors have none to look at."""
    logits, targets = torch.zeros(B, C, device="meta"), torch.zeros(B, C, device="meta")
    with targets_are_checked():
        for name in ltml.list_losses():
            loss = create(LOSSES, name, {}, COUNTS).to("meta")
            assert loss(logits, targets, targets.bool()).shape == ()
        prepare(LOGITS, TARGETS, None)
        with pytest.raises(InputError, match="but got -1"):
            prepare(LOGITS, TARGETS - 1, None)  # on the CPU it costs nothing that shows
    with pytest.raises(RuntimeError, match="meta"):
        prepare(logits, targets, None)

    seen = []
    weight = nn.Parameter(torch.zeros(C))

    def loss_of(batch: Tensor) -> Tensor:
        monkeypatch.setattr("ltml.losses.masking._check_values", lambda *_: seen.append("looked"))
        prepare(batch.to("meta"), batch.to("meta"), None)
        return (weight * batch).sum()

    train_epoch([TARGETS], loss_of, torch.optim.SGD([weight], lr=0.1))
    assert not seen
