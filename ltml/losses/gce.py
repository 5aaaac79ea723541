"""Multi-label generalised cross entropy."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


def gce_loss(
    logits: Tensor, targets: Tensor, known: Tensor | None = None, *, q: float = 0.8, reduction: Reduction = "mean"
) -> Tensor:
    """Multi-label generalised cross entropy: ``y (1 − p^q)/q + (1 − y) (1 − (1 − p)^q)/q`` with ``p = σ(logit)``.

    LDRNet (MM 2024) eq. 16 as printed has a negative bracket for ``y = 1`` and its limits reversed; this is the
    generalised cross entropy of Zhang & Sabuncu (NeurIPS 2018, eq. 6) applied to each entry, as eq. 16's citation
    intends. ``q → 0`` is the binary cross entropy, ``q = 1`` the absolute error. ``p^q`` is computed as
    ``exp(q · logsigmoid)``, and its difference from 1 by ``expm1``, so small ``q`` and large logits keep digits.

    Args:
        logits: ``(B, C)``; with reduction ``none`` any shape, that of targets and known.
        targets: ``(B, C)`` in [0, 1]; the formula is linear in them, so soft targets are allowed.
        known: boolean ``(B, C)``; None means all known.
        q: in (0, 1].
        reduction: ``mean`` over known entries, ``sum``, or ``none``.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> gce_loss(torch.zeros(1, 1), torch.ones(1, 1), q=1.0).item()
        0.5
    """
    logits, targets, mask = prepare(logits, targets, known, any_shape=reduction == "none")
    present = -torch.expm1(q * functional.logsigmoid(logits)) / q
    absent = -torch.expm1(q * functional.logsigmoid(-logits)) / q
    return reduce(targets * present + (1 - targets) * absent, mask, reduction)


@LOSSES.register("gce")
class GCELoss(nn.Module):
    """Multi-label generalised cross entropy; see `gce_loss`."""

    def __init__(
        self,
        *,
        q: Annotated[float, Field(gt=0, le=1, description="towards 0 is BCE, 1 the absolute error")] = 0.8,
        reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
    ) -> None:
        super().__init__()
        self.q = q
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `gce_loss`."""
        return gce_loss(logits, targets, known, q=self.q, reduction=self.reduction)
