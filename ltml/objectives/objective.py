"""Terms of the training objective: their base class, what they are given, and their weighted sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ltml.data.dataset import Dataset
from ltml.processes.collectives import gather_rows
from ltml.processes.world import SINGLE_PROCESS, World
from ltml.types import Batch, ModelOutput


class TrainingContext(NamedTuple):
    """Training set and model as terms see them before the first step.

    Attributes:
        rows: number of rows of the dataset; ``Batch.rows`` holds indices below it.
        epochs: largest number of epochs.
        positives: known positives per class in train, int64 ``(C,)``.
        negatives: known negatives per class in train, int64 ``(C,)``.
        common: bool ``(C,)``, True for classes that every source labels in train.
        sources: names of the sources in train.
        source_of_row: index of each row's source, int64 ``(rows,)``; 0 for rows of sources that train does not have.
        feature_shape: shape of the model's features of one row, ``(C, D)`` or ``(D,)``.
        pooled_width: number of channels ``D0`` of the backbone's map.
        world: processes that train together.
    """

    rows: int
    epochs: int
    positives: Tensor
    negatives: Tensor
    common: Tensor
    sources: tuple[str, ...]
    source_of_row: Tensor
    feature_shape: tuple[int, ...]
    pooled_width: int
    world: World = SINGLE_PROCESS

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        epochs: int,
        feature_shape: tuple[int, ...],
        pooled_width: int,
        world: World = SINGLE_PROCESS,
    ) -> TrainingContext:
        """Return the context of a dataset and of the model that is trained on it."""
        train = dataset.splits["train"]
        known, positive = torch.from_numpy(dataset.known), torch.from_numpy(dataset.targets == 1)
        sources = tuple(sorted(set(dataset.table["source"].iloc[train])))
        number_of = {source: number for number, source in enumerate(sources)}
        source_of_row = torch.tensor([number_of.get(source, 0) for source in dataset.table["source"]])
        by_source = [known[train][source_of_row[train] == number] for number in range(len(sources))]
        return cls(
            rows=len(dataset.table),
            epochs=epochs,
            positives=(known & positive)[train].sum(dim=0),
            negatives=(known & ~positive)[train].sum(dim=0),
            common=torch.stack([part.any(dim=0) for part in by_source]).all(dim=0),
            sources=sources,
            source_of_row=source_of_row,
            feature_shape=feature_shape,
            pooled_width=pooled_width,
            world=world,
        )


class Step(NamedTuple):
    """One training step, as terms see it.

    Attributes:
        batch: images and labels; with several processes the labels of all and the images of this one.
        output: output of the model for the (weak) view.
        epoch: index of the epoch, from 0.
        strong: output of the model for the strong view; None unless a term that has started needs it.
    """

    batch: Batch
    output: ModelOutput
    epoch: int
    strong: ModelOutput | None = None

    def gathered(self, world: World) -> Step:
        """Return the step of all processes together, with a gradient to this process's part of the outputs."""
        if world.size == 1:
            return self
        rows, targets, known = gather_rows([self.batch.rows, self.batch.targets, self.batch.known], world)
        batch = self.batch._replace(rows=rows, targets=targets, known=known)
        strong = None if self.strong is None else _gather_output(self.strong, world)
        return Step(batch, _gather_output(self.output, world), self.epoch, strong)


class ObjectiveTerm(nn.Module):
    """A term of the objective, called with a `Step`, and its hooks with their defaults.

    The constructor takes the recipe's loss and the `TrainingContext` by position; its keyword-only parameters are the
    options of a recipe. State that lasts from step to step belongs in buffers, which are saved and restored with the
    run. With several processes each calls the term with the outputs of all and must get the same value, so a term draws
    no random numbers. All processes call ``state_dict()`` together.

    Attributes:
        needs_strong: whether the term compares two views, so that steps must hold the strong one.
    """

    needs_strong: ClassVar[bool] = False

    def own_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that the term trains itself, with its own optimiser."""
        return []

    def report(self) -> dict[str, float]:
        """Return values for the log by name, of the steps since the last call."""
        return {}


class Term(NamedTuple):
    """A term with its weight and the first epoch, from 0, in which it counts."""

    module: ObjectiveTerm
    weight: float
    start_epoch: int


class Objective(nn.Module):
    """Weighted sum of the terms that have started."""

    def __init__(self, terms: Sequence[Term]) -> None:
        super().__init__()
        self.terms = nn.ModuleList(term.module for term in terms)
        self._weighted = list(terms)

    def needs_strong(self, epoch: int | None = None) -> bool:
        """Return whether a term needs the strong view in an epoch, or in any."""
        return any(term.module.needs_strong and (epoch is None or epoch >= term.start_epoch) for term in self._weighted)

    def report(self) -> dict[str, float]:
        """Return the values that terms report for the log, by name, of the epoch that has ended."""
        return {name: value for term in self._weighted for name, value in term.module.report().items()}

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the terms' parameters that train with the model, without those that a term trains itself."""
        own = {id(parameter) for term in self._weighted for parameter in term.module.own_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]

    def forward(self, step: Step) -> Tensor:
        """Return the scalar objective of a step, in float32 at least; 0 before any term has started."""
        total = step.output.logits.float().sum() * 0
        for module, weight, start_epoch in self._weighted:
            if step.epoch >= start_epoch:
                total = total + weight * module(step)
        return torch.as_tensor(total)


def _gather_output(output: ModelOutput, world: World) -> ModelOutput:
    return ModelOutput(*gather_rows([part for part in output if part is not None], world))


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the entries where a mask is True, 0 if it is nowhere; other entries get no gradient."""
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)
