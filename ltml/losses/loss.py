"""The base class of losses."""

from __future__ import annotations

from torch import nn


class Loss(nn.Module):
    """A loss, called as ``loss(logits, targets, known=None)``, and its hook with a default."""

    def set_epoch(self, epoch: int) -> None:
        """Take note of the epoch, from 0, of the next calls; for a loss that changes with time."""
