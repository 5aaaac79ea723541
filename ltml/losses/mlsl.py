"""Multi-label softmax loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ltml.losses.masking import Total, log_sum_exp, prepare, reduce, refuse_soft
from ltml.registry import LOSSES


@LOSSES.register("mlsl")
def mlsl_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    reduction: Annotated[Total, Field(description="over known positives")] = "mean",
) -> Tensor:
    """Multi-label softmax of every positive against the negatives of its image, and against those of its label.

    ``−log(exp(x_ic) / (exp(x_ic) + Σ_neg exp(x)))`` per positive, by sample and by class.

    Yi et al. (TMI 2022, volume 42(1)). The negatives of a positive entry are first those of its sample, which ranks the
    labels of an image, then those of its class in the batch, which ranks the images of a label; both terms are added.
    Unknown entries enter no softmax; a positive without negatives has the loss 0 and counts.

    The loss depends on the whole batch: more samples add negatives to the term by class. A single entry has no loss,
    so there is no reduction ``none``; a batch without positives has the loss 0.

    Args:
        reduction: ``mean`` over known positives, or ``sum``.

    Returns:
        A scalar; float32 at least.

    Raises:
        InputError: see `prepare`; or a known target is neither 0 nor 1.

    Example:
        >>> import torch
        >>> round(mlsl_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
        0.6931
    """
    logits, targets, mask = prepare(logits, targets, known)
    refuse_soft(targets, mask, "mlsl")
    present, absent = mask & (targets == 1), mask & (targets == 0)
    by_sample, by_class = (-functional.logsigmoid(logits - log_sum_exp(logits, absent, dim)) for dim in (1, 0))
    return reduce(by_sample + by_class, present, reduction)
