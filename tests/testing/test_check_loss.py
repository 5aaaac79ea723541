"""The contract of losses finds what is wrong: one deliberately bad loss per check."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import ltml
from ltml.errors import InputError
from ltml.losses.bce import bce_loss
from ltml.losses.mlsl import mlsl_loss
from ltml.testing import check_loss

Loss = Callable[..., Tensor]


def _plain(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return bce_loss(logits, targets, known)


def _in_place_logits(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    logits.data.add_(1.0)
    return _plain(logits, targets, known)


def _in_place_mask(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    value = _plain(logits, targets, known)
    if known is not None:
        known.fill_(True)
    return value


def _autograd_off(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    value = _plain(logits, targets, known)
    torch.set_grad_enabled(False)
    return value


def _autograd_on(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    torch.set_grad_enabled(True)
    return _plain(logits, targets, known)


def _entries(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return bce_loss(logits, targets, known, reduction="none")


def _always_single(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits.float(), targets, known)


def _nothing_known_by_default(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits, targets, torch.zeros_like(logits, dtype=torch.bool) if known is None else known)


def _no_mask(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits, targets)


def _no_gradient(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits.detach(), targets, known) + logits.sum() * 0


def _detached(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits.detach(), targets, known)


def _looks_at_unknown_targets(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits, targets, known) * (1 + targets.mean().detach())


def _looks_at_unknown_logits(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits, targets, known) * (1 + logits.detach().mean())


def _first_class_counts_more(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    weights = torch.arange(1, logits.shape[1] + 1).to(logits)
    entries = weights * bce_loss(logits, targets, known, reduction="none")
    return entries.sum() / (logits.numel() if known is None else known.sum().clamp(min=1))


def _first_sample_counts_more(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    weights = torch.arange(1, len(logits) + 1).to(logits)[:, None] / len(logits)
    entries = weights * bce_loss(logits, targets, known, reduction="none")
    return entries.sum() / (logits.numel() if known is None else known.sum().clamp(min=1))


def _sum(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return bce_loss(logits, targets, known, reduction="sum")


def _detached_weight(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    entries = logits.sigmoid().detach() * bce_loss(logits, targets, known, reduction="none")
    return entries.sum() / (logits.numel() if known is None else known.sum().clamp(min=1))


def _mean_over_positives(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    mask = torch.ones_like(logits, dtype=torch.bool) if known is None else known
    entries = bce_loss(logits, targets, mask, reduction="none")
    return entries.sum() / (mask & (targets > 0)).sum()


def _one_of_nothing(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits, targets, known) + (1.0 if known is not None and not known.any() else 0.0)


def _not_a_number_for_soft_targets(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    soft = (targets.nan_to_num() != targets.nan_to_num().round()).any()
    return _plain(logits, targets, known) * (torch.nan if soft else 1.0)


def _swallows_nan(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits, targets.nan_to_num(), known)


def _logarithm_of_the_sigmoid(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    _plain(logits, targets, known)  # what it refuses
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    entries = -targets * wide.sigmoid().log() - (1 - targets) * (1 - wide.sigmoid()).log()
    mask = torch.ones_like(logits, dtype=torch.bool) if known is None else known
    return torch.where(mask, entries, 0.0).sum() / mask.sum().clamp(min=1)


def _half(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    return _plain(logits, targets, known).to(logits.dtype)


def _rounded(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    value = _plain(logits, targets, known)
    return value if logits.dtype == torch.float64 else value.bfloat16().float()


def _autocast(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    value = _plain(logits, targets, known)
    return value.bfloat16().float() if torch.is_autocast_enabled("cpu") else value


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (_in_place_logits, "changes its logits in place"),
        (_in_place_mask, "changes its known in place"),
        (_autograd_off, "leaves autograd switched off"),
        (_autograd_on, "leaves autograd switched on"),
        (_entries, "use reduction='mean'"),
        (_always_single, "loss of float64 logits is torch.float32"),
        (_nothing_known_by_default, "without a mask everything is known"),
        (_no_mask, "unknown entries have a gradient"),
        (_no_gradient, "known entries have no gradient"),
        (_detached, "no gradient reaches the logits"),
        (_looks_at_unknown_targets, "targets of unknown entries have an influence"),
        (_looks_at_unknown_logits, "logits of unknown entries have an influence"),
        (_first_class_counts_more, "depends on the order of classes"),
        (_first_sample_counts_more, "depends on the order of samples"),
        (_sum, "doubling the batch changes the mean"),
        (_detached_weight, "not the derivative"),
        (_mean_over_positives, "all known targets 0: the loss is inf"),
        (_one_of_nothing, "nothing known: the loss is 1.0, not 0"),
        (_not_a_number_for_soft_targets, "soft targets: the loss is nan"),
        (_swallows_nan, "NaN targets are not refused"),
        (_logarithm_of_the_sigmoid, r"logits of ±50 in torch.float64"),
        (_half, "is torch.float16, not float32 at least"),
        (_rounded, "logits in torch.float16"),
        (_autocast, "under autocast"),
    ],
)
def test_a_bad_loss_is_found_by_what_is_wrong_with_it(bad: Loss, message: str) -> None:
    try:
        with pytest.raises(AssertionError, match=message) as caught:
            check_loss(lambda _counts, _entries: bad)
        said, remedy = str(caught.value).split(": ", maxsplit=1)
        assert len(remedy) > 15
        assert len(re.findall(r"\d+", said + remedy)) < 9  # what to do, and no tables of numbers
        assert "\n" not in said + remedy
    finally:
        torch.set_grad_enabled(True)


def test_counts_are_permuted_with_the_classes_and_may_be_zero() -> None:
    def weighted(weights: Tensor) -> Loss:
        def loss(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
            entries = weights * bce_loss(logits, targets, known, reduction="none")
            return entries.sum() / (logits.numel() if known is None else known.sum().clamp(min=1))

        return loss

    check_loss(lambda counts, _: weighted(1 / counts.clamp(min=1)))
    with pytest.raises(AssertionError, match="a class without known positives in training: the loss is nan"):
        check_loss(lambda counts, _: weighted(1 / counts))
    with pytest.raises(AssertionError, match="no known labels in training: the loss is nan"):
        check_loss(lambda counts, entries: weighted(counts / entries + 1))
    with pytest.raises(AssertionError, match="order of classes"):
        check_loss(lambda counts, _: weighted(1 / counts.clamp(min=1).sort().values))


def test_a_loss_that_couples_its_batch_has_to_say_so_and_only_it() -> None:
    check_loss(lambda *_: mlsl_loss, couples_batch=True)
    with pytest.raises(AssertionError, match="couples_batch=True if it has to"):
        check_loss(lambda *_: mlsl_loss)
    with pytest.raises(AssertionError, match="is not true of it"):
        check_loss(ltml.create_loss("bce"), couples_batch=True)


def test_a_module_is_checked_as_it_is() -> None:
    class Hinge(nn.Module):
        def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
            if targets.isnan().any():
                raise InputError("no NaN, please")
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            entries = functional.softplus((1 - 2 * targets) * wide)
            mask = torch.ones_like(logits, dtype=torch.bool) if known is None else known
            return torch.where(mask, entries, 0.0).sum() / mask.sum().clamp(min=1)

    check_loss(Hinge())
    check_loss(ltml.create_loss("bce"), tolerance=1e-6)
    with pytest.raises(AssertionError, match="use reduction='mean'"):
        check_loss(ltml.create_loss("bce", reduction="none"))
