"""Class-specific residual attention (Zhu & Wu, ICCV 2021): each class adds the image regions that resemble it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ltml.models.context import HeadContext
from ltml.models.heads.head import Head
from ltml.registry import HEADS

Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["max"]


class ResidualAttention(nn.Module):
    """``f_c = g + λ a_c``: the mean ``g`` over positions ``x_k`` plus their mean ``a_c`` by the attention of class c.

    ``a_c = Σ_k s_k x_k`` with ``s = softmax_k(T m_c · x_k)``; ``T = max`` is its limit for ``T → ∞``, the position
    of the largest ``m_c · x_k``. Several heads are concatenated, each with its own weights and temperature.

    Args:
        num_classes: number of classes ``C``.
        width: number of channels ``D`` of the map.
        temperatures: temperature ``T`` of each head.
        attention_weight: weight ``λ`` of the attention.
    """

    def __init__(
        self, num_classes: int, width: int, temperatures: Sequence[float | Literal["max"]], attention_weight: float
    ) -> None:
        super().__init__()
        self.temperatures = tuple(temperatures)
        self.attention_weight = attention_weight
        self.weight = nn.Parameter(torch.randn(num_classes, len(self.temperatures) * width) / width**0.5)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return class-aware features ``(B, C, heads · D)`` of a map ``(B, D, H, W)``."""
        positions = feature_map.flatten(2).transpose(1, 2)
        mean = positions.mean(dim=1, keepdim=True)
        weights = self.weight.chunk(len(self.temperatures), dim=1)
        attended = [_attend(positions, *head) for head in zip(weights, self.temperatures, strict=True)]
        return torch.cat([mean + self.attention_weight * one for one in attended], dim=-1)


class TiedClassifier(nn.Module):
    """``logit_c = Σ_h m_ch · f_ch`` with the attention's weights, the same for all images of a row."""

    def __init__(self, attention: ResidualAttention, images_per_row: int) -> None:
        super().__init__()
        self.images_per_row = images_per_row
        self.tied = (attention,)  # in a tuple, so that the weights are the head's: trained and saved once

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(B, C)`` of class-aware features ``(B, C, n · heads · D)``."""
        return (features * self.class_weights()[0]).sum(dim=-1)

    def class_weights(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(C, n · heads · D)`` and bias ``(C,)``, which is zero: the paper's classifier has none."""
        weight = self.tied[0].weight.repeat(1, self.images_per_row)
        return weight, weight.new_zeros(len(weight))


@HEADS.register("csra")
class CsraHead(Head):
    """Average pooling plus, per class, attention to the positions where its own classifier responds.

    ``logit_c = m_c · f_c``, summed over heads, is not linear in ``m_c``: the attention in ``f_c`` depends on it too. In
    stage 1 attention and classifier share ``m_c``, as in the paper (section 3). Stage 2 cuts that tie: it refits the
    last product alone, on features ``f_c`` whose attention keeps the weights of stage 1. The attention then is part of
    the encoder, which only an E step trains.

    The paper's heads have the temperatures [1], [1, max], [1, 2, 4, max], [1, 2, 3, 4, 5, max] or [1, 2, 3, 4, 5, 6, 7,
    max]; its ``λ`` differs by dataset, 0.1 with one head on VOC 2007. The authors' code also divides ``m_c`` by its
    length; here, as in the equations, it is not divided.

    Args:
        context: the backbone's width and the labels.
        temperatures: temperature ``T`` of each head, a number above 0 or ``max``.
        attention_weight: weight ``λ`` of the attention.
    """

    def __init__(
        self,
        context: HeadContext,
        *,
        temperatures: Annotated[
            tuple[Temperature, ...], Field(min_length=1, description="T of every head: a number, or max")
        ] = (1.0,),
        attention_weight: Annotated[float, Field(ge=0, description="λ of the attention beside the mean")] = 0.1,
    ) -> None:
        super().__init__()
        self.attention = ResidualAttention(context.num_classes, context.width, temperatures, attention_weight)
        self.classifier = TiedClassifier(self.attention, context.images_per_row)

    def features(self, feature_map: Tensor) -> Tensor:
        """Return class-aware features ``(B, C, heads · D)`` of a map ``(B, D, H, W)``."""
        features: Tensor = self.attention(feature_map)
        return features


def _attend(positions: Tensor, weight: Tensor, temperature: float | Literal["max"]) -> Tensor:
    """Return means ``(B, C, D)`` of positions ``(B, H·W, D)`` by the attention of weights ``(C, D)``."""
    scores = weight @ positions.transpose(1, 2)
    if temperature == "max":
        return positions.take_along_dim(scores.argmax(dim=2, keepdim=True), dim=1)
    return (temperature * scores).softmax(dim=2) @ positions
