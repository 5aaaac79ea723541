"""Two-way multi-label loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.masking import Total, log_sum_exp, prepare, reduce, refuse_soft
from ltml.registry import LOSSES


@LOSSES.register("two_way")
def two_way_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    temperature_pos: Annotated[float, Field(gt=0, description="temperature of positives")] = 4.0,
    temperature_neg: Annotated[float, Field(gt=0, description="temperature of negatives")] = 1.0,
    reduction: Annotated[Total, Field(description="over samples and over classes")] = "mean",
) -> Tensor:
    """Two-way loss, which ranks the labels of an image and the images of a label.

    ``softplus(T₋ log Σ_neg exp(x/T₋) + T₊ log Σ_pos exp(−x/T₊))`` by sample and by class, added.

    Kobayashi (CVPR 2023): the positive labels of a sample, and the positive samples of a class, should score above
    the negative ones. Samples and classes without a known positive are left out of their mean; without a known
    negative their term is 0 and counts. Unknown entries enter no sum.

    The loss depends on the whole batch: doubling the batch adds ``(T₊ + T₋) log 2`` to the argument of the softplus
    of every class. A single entry has no loss, so there is no reduction ``none``.

    Args:
        temperature_pos: T₊ > 0.
        temperature_neg: T₋ > 0.
        reduction: ``mean`` over samples plus mean over classes, or ``sum`` over both.

    Returns:
        A scalar; float32 at least.

    Raises:
        InputError: see `prepare`; or a known target is neither 0 nor 1.

    Example:
        >>> import torch
        >>> round(two_way_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
        0.6931
    """
    logits, targets, mask = prepare(logits, targets, known)
    refuse_soft(targets, mask, "two_way")
    present, absent = mask & (targets == 1), mask & (targets == 0)
    total = logits.new_zeros(())
    for dim in (1, 0):
        hardest_absent = temperature_neg * log_sum_exp(logits / temperature_neg, absent, dim)
        hardest_present = temperature_pos * log_sum_exp(-logits / temperature_pos, present, dim)
        terms = -functional.logsigmoid(-hardest_absent - hardest_present)
        total = total + reduce(terms, present.any(dim=dim, keepdim=True), reduction)
    return total
