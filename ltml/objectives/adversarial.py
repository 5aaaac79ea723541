"""Features that do not tell their source: task-specific adversarial training (Luo et al., TMI 2020, eqs. 2-3)."""

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

    The paper's eqs. 2 and 3 disagree in sign. The game is: discriminators minimise the error of classifying sources, by
    an RMSprop of their own, and the generator maximises it. A step first steps the discriminators on detached features,
    then gives the model the negative of their error (the recipe's weight of the term is ``lambda``, 0.03 in the paper).

    The error is the sum of eqs. 2 and 3: over the discriminators, one per common class, and over the sources, of the
    mean cross entropy within each. With 7 common classes and 2 sources it is 14 times the mean, and 7 times that of
    the one discriminator of HAT. The discriminators' RMSprop divides by the size of the gradient, so the factor
    changes the model's term and leaves their steps. A source that is missing from a batch adds nothing.

    Args:
        loss: unused; every term is built alike.
        context: of the training set and the model.
        holistic: one discriminator on the pooled feature instead (the ablation HAT).
        width: of the two hidden layers.
        lr: of RMSprop.

    Raises:
        InputError: fewer than two sources, no class that all of them label (unless holistic), or features that are not
            class-aware (likewise).
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
        self._told: list[float] = []

    def own_parameters(self) -> list[nn.Parameter]:
        """What this term steps itself."""
        return list(self.discriminators.parameters())

    def forward(self, step: Step) -> Tensor:
        """Step the discriminators; the negative of their error, a scalar with a gradient to the model alone."""
        sources = self.source_of_row[step.batch.rows.to(self.source_of_row.device)]
        features = self._features(step)
        self._told.append(self.accuracy(features, sources))
        self.optimizer.zero_grad(set_to_none=True)
        self.error([feature.detach() for feature in features], sources).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.discriminators.requires_grad_(False)
        value = -self.error(features, sources)
        self.discriminators.requires_grad_(True)
        return value

    def error(self, features: list[Tensor], sources: Tensor) -> Tensor:
        """Cross entropy of the sources ``(B,)``: mean within a source, summed over sources and discriminators.

        Args:
            features: ``(B, D)`` for each discriminator.
            sources: int64 ``(B,)``.
        """
        pairs = zip(self.discriminators, features, strict=True)
        errors = torch.stack(
            [functional.cross_entropy(tell(feature), sources, reduction="none") for tell, feature in pairs]
        )
        counts = (sources[:, None] == sources).sum(dim=1)
        return (errors / counts).sum()

    @torch.no_grad()
    def accuracy(self, features: list[Tensor], sources: Tensor) -> float:
        """Share of rows whose source the discriminators tell rightly, mean over discriminators."""
        pairs = zip(self.discriminators, features, strict=True)
        return float(torch.stack([(tell(feature).argmax(dim=1) == sources).double() for tell, feature in pairs]).mean())

    def report(self) -> dict[str, float]:
        """Mean accuracy of the discriminators over the steps since the last report, each before it is stepped."""
        told, self._told = self._told, []
        return {"source_accuracy": math.fsum(told) / len(told)} if told else {}

    def get_extra_state(self) -> dict[str, Any]:
        """State of the optimiser, saved with the run."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put the optimiser's state back."""
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
        raise InputError("the objective 'adversarial' needs a class that every source labels; there is none")
    if not holistic and len(context.feature_shape) == 1:
        raise InputError(
            "the objective 'adversarial' needs a feature per class: use head.type=branches or prompt_query, or "
            "adversarial.holistic=true"
        )


def _discriminator(inputs: int, width: int, sources: int) -> nn.Module:
    """Three linear layers, two LeakyReLU (section III-D)."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, sources)
    )
