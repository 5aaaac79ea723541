"""AUC margin loss, a min-max problem."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ltml.losses.counts import Counts, per_class, read_labels
from ltml.losses.loss import Loss
from ltml.losses.masking import Reduction, prepare, reduce
from ltml.registry import LOSSES


def auc_margin_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    frequencies: Tensor,
    a: Tensor,
    b: Tensor,
    alpha: Tensor,
    margin: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """AUC margin loss: a square loss around the mean score of each label, and a push of these means apart.

    Yuan et al. (ICCV 2021): minimise over model, ``a`` and ``b`` and maximise over ``α ≥ 0``, per class with
    frequency ``F`` and ``h = σ(logit)``, the mean over entries of ``(1 − F) y (h − a)² + F (1 − y) (h − b)² −
    F (1 − F) α² + 2 α [F (1 − F) margin + F (1 − y) h − (1 − F) y h]``. The inner maximum is at ``α = max(0, margin +
    mean h of negatives − mean h of positives)``: the squared hinge on the distance of the means, which bounds the AUC's
    error. ``F`` is the frequency in training, as in the paper; so a class counts by ``F (1 − F)``, and one whose known
    labels are all alike not at all. The formula is linear in the targets.

    Args:
        logits: ``(B, C)``.
        targets: ``(B, C)`` in [0, 1]; soft targets are allowed.
        known: boolean ``(B, C)``; None means all known.
        frequencies: ``F (C,)`` in [0, 1].
        a: mean score of positives, ``(C,)``.
        b: mean score of negatives, ``(C,)``.
        alpha: dual variable ``(C,)``, ≥ 0.
        margin: desired distance between the means.
        reduction: ``mean`` over known entries, ``sum``, or ``none``.

    Returns:
        A scalar, or ``(B, C)``; float32 at least.

    Raises:
        InputError: see `prepare`.

    Example:
        >>> import torch
        >>> half, zero, one = torch.tensor([0.5]), torch.zeros(1), torch.ones(1)
        >>> auc_margin_loss(torch.zeros(1, 1), torch.ones(1, 1), frequencies=half, a=one, b=zero, alpha=zero).item()
        0.125
    """
    logits, targets, mask = prepare(logits, targets, known)
    frequency, a, b, alpha = (per_class(values, logits) for values in (frequencies, a, b, alpha))
    scores, product = logits.sigmoid(), frequency * (1 - frequency)
    positive, negative = (1 - frequency) * targets, frequency * (1 - targets)
    squares = positive * (scores - a) ** 2 + negative * (scores - b) ** 2
    distance = product * margin + (negative - positive) * scores
    return reduce(squares + 2 * alpha * distance - product * alpha**2, mask, reduction)


class _Ascend(torch.autograd.Function):
    """The identity, with the gradient reversed: what an optimiser then minimises is maximised."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return -gradient


@LOSSES.register("auc_margin")
class AUCMarginLoss(Loss):
    """Min-max AUC margin loss with trained variables of its own; see `auc_margin_loss`.

    ``a``, ``b`` and ``α`` are parameters, trained with the model: the gradient of ``α`` is reversed, so
    that it ascends, and before every use ``α`` is put back to 0 where a step took it below. The authors step all from 0
    with an optimiser of their own (PESG, rate 0.1). Here it is the model's, whose rate is usually far smaller, and with
    ``a = b = α = 0`` all scores would first fall to 0 until ``α`` has come up; so they start at the saddle point of a
    model that predicts ½ everywhere: ``a = b = ½``, ``α = margin``.

    Args:
        class_counts: known positives per class. A class without any does not count.
        num_samples: known entries per class, or one number for all.
        margin: see `auc_margin_loss`.
        reduction: see `auc_margin_loss`.

    Raises:
        InputError: the counts are not those of classes.
    """

    frequencies: Tensor

    def __init__(
        self,
        class_counts: Counts,
        num_samples: Counts | float,
        *,
        margin: Annotated[float, Field(gt=0, description="distance wanted between the labels' mean scores")] = 1.0,
        reduction: Annotated[Reduction, Field(description="over known entries")] = "mean",
    ) -> None:
        super().__init__()
        positives, entries = read_labels(class_counts, num_samples)
        self.register_buffer("frequencies", (positives / entries.clamp(min=1)).float(), persistent=False)
        self.a, self.b = (nn.Parameter(torch.full((len(positives),), 0.5)) for _ in range(2))
        self.alpha = nn.Parameter(torch.full((len(positives),), margin))
        self.margin = margin
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """See `auc_margin_loss`; the gradient of ``α`` is reversed."""
        self.alpha.data.clamp_(min=0)  # not seen by autograd: an earlier call may still have to go backward
        ascending: Tensor = _Ascend.apply(self.alpha)
        return auc_margin_loss(
            logits,
            targets,
            known,
            frequencies=self.frequencies,
            a=self.a,
            b=self.b,
            alpha=ascending,
            margin=self.margin,
            reduction=self.reduction,
        )
