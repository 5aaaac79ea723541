"""The variables of the min-max AUC margin loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ltml


def _scores(gap: float) -> tuple[Tensor, Tensor]:
    """Logits and targets of 40 samples and one class: 10 positives whose mean score is `gap` above the negatives'."""
    rng = torch.Generator().manual_seed(0)
    scores = 0.3 + 0.02 * torch.rand(40, 1, generator=rng, dtype=torch.float64)
    targets = torch.zeros(40, 1, dtype=torch.float64)
    targets[:10] = 1
    scores[:10] += gap
    return scores.logit(), targets


@pytest.mark.parametrize(("gap", "margin"), [(0.2, 1.0), (0.6, 1.0), (0.5, 0.4), (-0.1, 1.0)])
def test_the_variables_go_to_the_saddle_point_known_in_closed_form(gap: float, margin: float) -> None:
    logits, targets = _scores(gap)
    loss = ltml.create_loss("auc_margin", class_counts=[10], num_samples=40, margin=margin).double()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        loss(logits, targets).backward()
        optimizer.step()
    value = loss(logits, targets)
    positive, negative = logits.sigmoid()[:10], logits.sigmoid()[10:]
    distance = margin + negative.mean() - positive.mean()
    assert loss.a.item() == pytest.approx(positive.mean().item(), abs=1e-6)
    assert loss.b.item() == pytest.approx(negative.mean().item(), abs=1e-6)
    assert loss.alpha.item() == pytest.approx(max(0.0, distance.item()), abs=1e-6)
    spread = positive.var(unbiased=False) + negative.var(unbiased=False)
    expected = 0.25 * 0.75 * (spread + distance.clamp(min=0) ** 2)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-9)


def test_alpha_is_put_back_to_zero_and_earlier_calls_can_still_go_backward() -> None:
    logits, targets = _scores(0.2)
    loss = ltml.create_loss("auc_margin", class_counts=[10], num_samples=40)
    with torch.no_grad():
        loss.alpha.fill_(-0.3)
    first = loss(logits.float(), targets)
    assert loss.alpha.item() == 0
    (first + loss(logits.float(), targets)).backward()
    assert loss.alpha.grad is not None
    assert loss.alpha.grad.item() < 0  # reversed: a descending step raises it


def test_a_class_whose_labels_are_all_alike_does_not_count() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]).repeat(3, 1)
    ltml.create_loss("auc_margin", class_counts=[0, 6, 3], num_samples=6)(logits, targets).backward()
    assert logits.grad is not None
    assert logits.grad.any(dim=0).tolist() == [False, False, True]
