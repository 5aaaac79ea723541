"""Multi-label generalised cross entropy."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


@LOSSES.register("gce")
def gce_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    q: Annotated[float, Field(gt=0, le=1, description="towards 0 is BCE, 1 the absolute error")] = 0.8,
    reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
) -> Tensor:
    """Generalised cross entropy per label, between cross entropy and absolute error; robust to wrong labels.

    ``y (1 − p^q)/q + (1 − y) (1 − (1 − p)^q)/q`` with ``p = σ(logit)``.

    Zhang & Sabuncu (NeurIPS 2018, eq. 6), applied to each entry. LDRNet (MM 2024) cites it for its eq. 16, which as
    printed has a negative bracket for ``y = 1`` and its limits reversed. ``q → 0`` is the binary cross entropy,
    ``q = 1`` the absolute error. ``p^q`` is computed as ``exp(q · logsigmoid)`` and its difference from 1 by
    ``expm1``, so small ``q`` and large logits keep their digits. The formula is linear in the targets.

    Args:
        q: exponent in (0, 1].

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
