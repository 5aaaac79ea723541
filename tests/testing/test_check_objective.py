"""The contract of terms finds what is wrong: one deliberately bad term per check."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltml.losses.loss import Loss
from ltml.objectives.consistency import Consistency
from ltml.objectives.objective import ObjectiveTerm, Step, TrainingContext
from ltml.objectives.supervised import Supervised
from ltml.testing import check_objective


class Good(Supervised):
    """BCE on known entries."""


class NoStrong(Consistency):
    needs_strong = False


class Misspelt(Supervised):
    need_strong = True


class Plain(nn.Module):
    """A module that knows nothing of the hooks."""

    def __init__(self, loss: Loss, context: TrainingContext) -> None:
        super().__init__()

    def forward(self, step: Step) -> Tensor:
        return step.output.logits.float().square().mean()


class PerRow(Supervised):
    def forward(self, step: Step) -> Tensor:
        return step.output.logits.float().square().mean(dim=1)


class Detached(Supervised):
    def forward(self, step: Step) -> Tensor:
        return super().forward(step).detach()


class Half(Supervised):
    def forward(self, step: Step) -> Tensor:
        return step.output.logits.square().mean()


class Random(Supervised):
    def forward(self, step: Step) -> Tensor:
        return super().forward(step) * torch.rand(())


class InPlace(Supervised):
    def forward(self, step: Step) -> Tensor:
        step.batch.known.fill_(True)
        return super().forward(step)


class Unmasked(Supervised):
    def forward(self, step: Step) -> Tensor:
        return (step.output.logits.float().sigmoid() - step.batch.targets).square().mean()


class FirstClass(Supervised):
    def forward(self, step: Step) -> Tensor:
        return step.output.logits.float()[:, 0].square().mean()


class Forgetful(Supervised):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.calls = 0

    def forward(self, step: Step) -> Tensor:
        self.calls += 1
        return super().forward(step) * self.calls


class Strangers(Supervised):
    def own_parameters(self) -> list[nn.Parameter]:
        return [nn.Parameter(torch.zeros(1))]


class Undefined(Supervised):
    def report(self) -> dict[str, float]:
        return {"share": float("nan")}


@pytest.mark.parametrize("good", [Good, Plain])
def test_a_good_term_passes(good: Any) -> None:
    check_objective(good)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (NoStrong, "fails without the strong view"),
        (Misspelt, r"Misspelt.need_strong is never read: did you mean 'needs_strong'\?"),
        (PerRow, "not a finite scalar"),
        (Detached, "no gradient reaches the outputs"),
        (Half, r"in bfloat16 the value is .* in torch.bfloat16"),
        (Random, "draws random numbers in a step"),
        (InPlace, "changes the batch in place"),
        (Unmasked, "targets of unknown entries have an influence"),
        (FirstClass, "the value depends on the order of classes"),
        (Forgetful, "a saved state continues with another value"),
        (Strangers, r"own_parameters\(\) gives parameters that are not the term's"),
        (Undefined, r"report\(\) gives nan for 'share'"),
    ],
)
def test_a_bad_term_is_found_by_what_is_wrong_with_it(bad: type[ObjectiveTerm], message: str) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        check_objective(bad)
    said, remedy = str(caught.value).split(": ", maxsplit=1)
    assert len(remedy) > 20
    assert "\n" not in said + remedy
