"""The dynamic adapter of Label-Assemble: learnable class queries become classification weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltml.models.context import HeadContext
from ltml.models.heads.head import Head
from ltml.registry import HEADS


class QueryClassifier(nn.Module):
    """``a_c = ⟨w(q_c), f(x)⟩`` with queries ``q (C, C)`` that start as the identity and one linear map ``w: C → D``."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.eye(num_classes))
        self.to_weights = nn.Linear(num_classes, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(B, C)`` of shared features ``(B, D)``."""
        return torch.nn.functional.linear(features, self.to_weights(self.queries))

    def class_weights(self) -> tuple[Tensor, Tensor]:
        """Return weight ``w(q) (C, D)`` and bias ``(C,)``, which is zero: the adapter has none."""
        weight = self.to_weights(self.queries)
        return weight, weight.new_zeros(len(weight))


@HEADS.register("label_adapter")
class LabelAdapterHead(Head):
    """Global average pooling and learnable class queries (Label-Assemble, ISBI 2023, fig. 1B).

    All classes are classified in one pass (the multi-question strategy). The paper's ``w`` is one fully connected
    layer, so it has torch's usual bias; the inner product has none.

    Args:
        context: the backbone's width and the labels.
    """

    class_dims = {"classifier.queries": (0, 1), "classifier.to_weights.weight": (1,)}  # noqa: RUF012

    def __init__(self, context: HeadContext) -> None:
        super().__init__()
        self.classifier = QueryClassifier(context.num_classes, context.images_per_row * context.width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Return the shared feature ``(B, D0)`` of a map ``(B, D0, H, W)``."""
        return feature_map.mean(dim=(2, 3))
