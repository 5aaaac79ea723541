"""Features that do not reveal their source: task-specific adversarial training (Luo et al., TMI 2020, eqs. 2-3)."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ltml.errors import InputError
from ltml.losses.loss import Loss
from ltml.objectives.objective import ObjectiveTerm, Step, TrainingContext
from ltml.registry import OBJECTIVES


@OBJECTIVES.register("adversarial")
class Adversarial(ObjectiveTerm):
    """A discriminator per common class predicts the source from the class's feature; the model learns to hide it.

    The paper's eqs. 2 and 3 disagree in sign. As read here, the discriminators minimise the error of classifying
    sources with their own RMSprop, and the model maximises it. A step first trains the discriminators on detached
    features, then gives the model the negative of their error. The weight of the term in the recipe is the paper's
    ``lambda``, 0.03.

    The error is the sum of eqs. 2 and 3: over the discriminators, one per common class, and over the sources, of the
    mean cross entropy within each. With 7 common classes and 2 sources it is 14 times the mean, and 7 times that of
    the one discriminator of HAT. The discriminators' RMSprop divides by the size of the gradient, so the factor
    changes the model's term but not their steps. A source that is missing from a batch adds 0.

    Args:
        loss: unused; all terms have the same constructor.
        context: the training set and the model.
        holistic: use one discriminator on the pooled feature instead (the ablation HAT).
        width: number of units in each of the two hidden layers.
        lr: learning rate of RMSprop.

    Raises:
        InputError: fewer than two sources; or, unless holistic, no class that all sources label or features that are
            not class-aware.
    """

    source_of_row: Tensor

    def __init__(
        self,
        loss: Loss,  # noqa: ARG002
        context: TrainingContext,
        *,
        holistic: Annotated[bool, Field(description="one discriminator on the pooled feature (HAT)")] = False,
        width: Annotated[int, Field(gt=0, description="hidden units of a discriminator")] = 128,
        lr: Annotated[float, Field(gt=0, description="rate of the discriminators' RMSprop")] = 1e-4,
    ) -> None:
        super().__init__()
        self.holistic = holistic
        self.classes: list[int] = torch.nonzero(context.common).flatten().tolist()
        _check(context, self.classes, holistic=holistic)
        inputs = context.pooled_width if holistic else context.feature_shape[1]
        count = 1 if holistic else len(self.classes)
        self.discriminators = nn.ModuleList(_discriminator(inputs, width, len(context.sources)) for _ in range(count))
        self.register_buffer("source_of_row", context.source_of_row)
        self.optimizer = torch.optim.RMSprop(self.discriminators.parameters(), lr=lr)
        self._accuracies: list[float] = []

    def own_parameters(self) -> list[nn.Parameter]:
        """Return the discriminators' parameters."""
        return list(self.discriminators.parameters())

    def forward(self, step: Step) -> Tensor:
        """Train the discriminators; return the negative of their error, a scalar with a gradient to the model alone."""
        sources = self.source_of_row[step.batch.rows.to(self.source_of_row.device)]
        features = self._features(step)
        self._accuracies.append(self.accuracy(features, sources))
        self.optimizer.zero_grad(set_to_none=True)
        self.error([feature.detach() for feature in features], sources).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.discriminators.requires_grad_(False)
        value = -self.error(features, sources)
        self.discriminators.requires_grad_(True)
        return value

    def error(self, features: list[Tensor], sources: Tensor) -> Tensor:
        """Return the cross entropy of the sources ``(B,)``: mean within a source, sum over sources and discriminators.

        Args:
            features: one ``(B, D)`` per discriminator.
            sources: index of each row's source, int64 ``(B,)``.
        """
        pairs = zip(self.discriminators, features, strict=True)
        errors = torch.stack(
            [functional.cross_entropy(classify(feature), sources, reduction="none") for classify, feature in pairs]
        )
        counts = (sources[:, None] == sources).sum(dim=1)
        return (errors / counts).sum()

    @torch.no_grad()
    def accuracy(self, features: list[Tensor], sources: Tensor) -> float:
        """Return the share of rows whose source is classified correctly, mean over discriminators."""
        pairs = zip(self.discriminators, features, strict=True)
        correct = [(classify(feature).argmax(dim=1) == sources).double() for classify, feature in pairs]
        return float(torch.stack(correct).mean())

    def report(self) -> dict[str, float]:
        """Return the discriminators' mean accuracy since the last report, measured before each training step."""
        accuracies, self._accuracies = self._accuracies, []
        return {"source_accuracy": math.fsum(accuracies) / len(accuracies)} if accuracies else {}

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the optimiser, which is saved with the run."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the state of the optimiser."""
        self.optimizer.load_state_dict(state)

    def _features(self, step: Step) -> list[Tensor]:
        if self.holistic:
            assert step.output.pooled is not None
            return [step.output.pooled.float()]
        return [step.output.features[:, c].float() for c in self.classes]


def _check(context: TrainingContext, classes: list[int], *, holistic: bool) -> None:
    if len(context.sources) < 2:
        raise InputError("the objective 'adversarial' needs images of two sources or more; use data.type=union")
    if not (classes or holistic):
        raise InputError(
            "the objective 'adversarial' needs a class that every source labels, but no class is common to all"
        )
    if not holistic and len(context.feature_shape) == 1:
        raise InputError(
            "the objective 'adversarial' needs a feature per class: use head.type=branches or prompt_query, or "
            "adversarial.holistic=true"
        )


def _discriminator(inputs: int, width: int, sources: int) -> nn.Module:
    """Return three linear layers with two LeakyReLU between them (section III-D)."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, sources)
    )
