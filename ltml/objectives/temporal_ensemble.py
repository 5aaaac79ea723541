"""Averages of past predictions as targets of unknown labels (Luo et al., TMI 2020, eqs. 4-6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ltml.losses.loss import Loss
from ltml.objectives.objective import ObjectiveTerm, Step, TrainingContext, mean_where
from ltml.processes.collectives import gather_rows, sum_over
from ltml.registry import OBJECTIVES


@OBJECTIVES.register("temporal_ensemble")
class TemporalEnsemble(ObjectiveTerm):
    """Squared distance of predictions of unknown labels from their moving average over epochs, where it is certain.

    For a sample's ``t``-th update ``Z_t = gamma Z_(t-1) + (1 - gamma) p_(t-1)`` and the target is
    ``z_t = Z_t / (1 - gamma^(t-1))``; a sample without a past prediction is skipped. Updates are counted per
    sample, at most one per epoch, with its last prediction of that epoch, because some samples are drawn several times
    where sources are drawn equally. An entry counts if ``|0.5 - p| >= H``. ``H`` falls linearly over training; the
    paper does not say how.

    Eq. 6 names no divisor. The sum over the selected entries is divided by ``B C``, samples times all classes, as eq. 1
    divides (``over: all``), so that the term grows with the number of certain entries. The mean over the selected ones
    (``over: selected``) has full strength however few they are.

    With several processes each stores its share of the samples, ``row % size == rank``. Checkpoints hold the shares of
    all, so that any number of processes can resume from them.

    Args:
        loss: unused; all terms have the same constructor.
        context: the training set.
        gamma: momentum of the average.
        uncertainty: whether only certain entries count; False is the ablation TE.
        h_start: ``H`` in the first epoch.
        h_end: ``H`` in the last epoch.
        hard: round targets to 0 or 1 (the ablation with hard pseudo labels).
        over: divisor of the sum: ``all`` entries of the batch or the ``selected`` ones.
    """

    ensemble: Tensor
    updates: Tensor
    latest: Tensor
    latest_epoch: Tensor

    def __init__(
        self,
        loss: Loss,  # noqa: ARG002
        context: TrainingContext,
        *,
        gamma: Annotated[float, Field(ge=0, lt=1, description="momentum of the average over epochs")] = 0.9,
        uncertainty: Annotated[bool, Field(description="only entries with |0.5 - p| at least H count")] = True,
        h_start: Annotated[float, Field(ge=0, le=0.5, description="H in the first epoch")] = 0.4,
        h_end: Annotated[float, Field(ge=0, le=0.5, description="H in the last epoch")] = 0.0,
        hard: Annotated[bool, Field(description="targets are 0 or 1")] = False,
        over: Annotated[
            Literal["all", "selected"], Field(description="the sum is divided by all entries, or by the selected ones")
        ] = "all",
    ) -> None:
        super().__init__()
        classes = len(context.positives)
        self.gamma, self.uncertainty, self.hard, self.over = gamma, uncertainty, hard, over
        self.h_start, self.h_end, self.epochs = h_start, h_end, context.epochs
        self.rows, self.world = context.rows, context.world
        count = len(range(self.world.rank, context.rows, self.world.size))
        self.register_buffer("ensemble", torch.zeros(count, classes))
        self.register_buffer("updates", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("latest", torch.zeros(count, classes))
        self.register_buffer("latest_epoch", torch.full((count,), -1))
        if self.world.size > 1:
            self.register_state_dict_post_hook(_join_shares)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_take_share)  # type: ignore[no-untyped-call]

    def forward(self, step: Step) -> Tensor:
        """Return a scalar; 0 for a batch without unknown labels that have a past prediction."""
        rows = step.batch.rows.to(self.ensemble.device)
        predictions = step.output.logits.float().sigmoid()
        own = rows % self.world.size == self.world.rank
        indices = rows[own] // self.world.size
        self._close_epochs(indices, step.epoch)
        average, counts = self._recall(own, indices)
        past = 1 - self.gamma ** counts.clamp(min=1)
        targets = average / past[:, None]
        targets = (targets > 0.5).float() if self.hard else targets
        counted = ~step.batch.known & (counts > 0)[:, None]
        if self.uncertainty:
            counted = counted & ((0.5 - predictions.detach()).abs() >= self.threshold(step.epoch))
        self.latest[indices] = predictions.detach()[own]
        self.latest_epoch[indices] = step.epoch
        distances = (predictions - targets) ** 2
        if self.over == "selected":
            return mean_where(distances, counted)
        return torch.where(counted, distances, torch.zeros_like(distances)).sum() / distances.numel()

    def threshold(self, epoch: int) -> float:
        """Return ``H`` in an epoch, counted from 0."""
        share = min(epoch / max(self.epochs - 1, 1), 1.0)
        return self.h_start + (self.h_end - self.h_start) * share

    def _recall(self, own: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the average ``(B, C)`` and the updates ``(B,)``, float32, of all rows, summed over processes."""
        memory = self.ensemble.new_zeros(len(own), self.ensemble.shape[1] + 1)
        memory[own] = torch.cat([self.ensemble[indices], self.updates[indices, None].float()], dim=1)
        sum_over(memory, self.world)
        return memory[:, :-1], memory[:, -1]

    def _close_epochs(self, indices: Tensor, epoch: int) -> None:
        """Add the last prediction of an earlier epoch to the average, once."""
        latest = self.latest_epoch[indices]
        waiting = torch.unique(indices[(latest >= 0) & (latest < epoch)])
        self.ensemble[waiting] = self.gamma * self.ensemble[waiting] + (1 - self.gamma) * self.latest[waiting]
        self.updates[waiting] += 1
        self.latest_epoch[waiting] = -1


def _join_shares(term: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    """Join the shares of all processes in the order of the rows, before saving."""
    assert isinstance(term, TemporalEnsemble)
    order = torch.cat([torch.arange(rank, term.rows, term.world.size) for rank in range(term.world.size)])
    names = [prefix + name for name, _ in term.named_buffers()]
    for name, shares in zip(names, gather_rows([state[name] for name in names], term.world), strict=True):
        state[name] = shares[order.argsort().to(shares.device)]


def _take_share(term: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Keep this process's share of a joined state, before loading."""
    assert isinstance(term, TemporalEnsemble)
    for name, _buffer in term.named_buffers():
        state[prefix + name] = state[prefix + name][term.world.rank :: term.world.size]
