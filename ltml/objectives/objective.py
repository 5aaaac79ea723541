"""What a term knows of the data and sees of a step, and the weighted sum of terms.

A term is a module called with a `Step`. Its constructor takes the recipe's loss and the `TrainingContext` by position;
its keyword-only parameters are the options of a recipe. A term that compares two views has ``needs_strong = True``.
What it remembers between steps it keeps in buffers, which are saved and restored with the run. Parameters that it
steps with an optimiser of its own it names in ``own_parameters()``. What the log should say of each epoch it gives in
``report()``, and begins anew. A loss that changes with time has ``set_epoch``, which a term calls by `tell_epoch`
before the loss.

Each of several processes calls a term with the outputs of all, so that they stay in step; a term therefore draws no
random numbers. ``state_dict()`` is called by all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ltml.data.dataset import Dataset
from ltml.processes.collectives import gather_rows
from ltml.processes.world import SINGLE_PROCESS, World
from ltml.types import Batch, ModelOutput


class TrainingContext(NamedTuple):
    """What terms may know of the training set before the first step.

    Attributes:
        rows: rows of the dataset; a batch names them by number.
        epochs: that training may last.
        positives: known positives per class in train, int64 ``(C,)``.
        negatives: known negatives, likewise.
        common: bool ``(C,)``, classes that every source labels in train.
        sources: names of the sources of train.
        source_of_row: int64 ``(rows,)``, 0 for a row of another source, which training never meets.
        feature_shape: of the model's features for one row, ``(C, D)`` or ``(D,)``.
        pooled_width: channels ``D0`` of the backbone's map.
        world: the processes that train together.
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
        """The context of a dataset, and of the model that is trained on it."""
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
    """One step of training as a term sees it.

    Attributes:
        batch: the images and labels; with several processes the labels of all and the images of this one.
        output: of the model for the (weak) view.
        epoch: from 0.
        strong: of the model for the strong view, where a term that has started needs it.
    """

    batch: Batch
    output: ModelOutput
    epoch: int
    strong: ModelOutput | None = None

    def gathered(self, world: World) -> Step:
        """The step of all processes together, with a gradient to this one's part of the outputs."""
        if world.size == 1:
            return self
        rows, targets, known = gather_rows([self.batch.rows, self.batch.targets, self.batch.known], world)
        batch = self.batch._replace(rows=rows, targets=targets, known=known)
        strong = None if self.strong is None else _gather_output(self.strong, world)
        return Step(batch, _gather_output(self.output, world), self.epoch, strong)


class Term(NamedTuple):
    """A term with its weight and the first epoch it takes part in."""

    module: nn.Module
    weight: float
    start_epoch: int


class Objective(nn.Module):
    """The plain weighted sum of the terms that have started."""

    def __init__(self, terms: Sequence[Term]) -> None:
        super().__init__()
        self.terms = nn.ModuleList(term.module for term in terms)
        self._weights = [term.weight for term in terms]
        self._starts = [term.start_epoch for term in terms]

    def needs_strong(self, epoch: int | None = None) -> bool:
        """Whether a term needs the strong view, in an epoch or at all."""
        return any(
            getattr(module, "needs_strong", False) and (epoch is None or epoch >= start)
            for module, start in zip(self.terms, self._starts, strict=True)
        )

    def report(self) -> dict[str, float]:
        """What terms have to say of the epoch behind them, by name; for the log."""
        return {
            name: value for term in self.terms for name, value in getattr(term, "report", dict[str, float])().items()
        }

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters of terms that train with the model; not those that a term steps itself."""
        own = {id(parameter) for term in self.terms for parameter in getattr(term, "own_parameters", list)()}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]

    def forward(self, step: Step) -> Tensor:
        """Scalar objective of a step, float32 at least; 0 before any term has started."""
        total = step.output.logits.float().sum() * 0
        for module, weight, start in zip(self.terms, self._weights, self._starts, strict=True):
            if step.epoch >= start:
                total = total + weight * module(step)
        return torch.as_tensor(total)


def tell_epoch(loss: nn.Module, epoch: int) -> None:
    """Tell a loss that changes with time which epoch, from 0, its next call belongs to."""
    set_epoch = getattr(loss, "set_epoch", None)
    if set_epoch is not None:
        set_epoch(epoch)


def _gather_output(output: ModelOutput, world: World) -> ModelOutput:
    return ModelOutput(*gather_rows([part for part in output if part is not None], world))


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries that a mask keeps; 0 where it keeps none, and no gradient to the others."""
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)
