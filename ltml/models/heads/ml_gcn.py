"""ML-GCN (Chen et al., CVPR 2019): a graph of co-occurring labels yields their classification weights."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ltml.errors import InputError
from ltml.models.context import HeadContext, PairCounts
from ltml.models.heads.head import Head
from ltml.registry import HEADS

LEAK = 0.2
"""Slope of LeakyReLU below 0."""


class GraphClassifier(nn.Module):
    """``logit_c = ⟨w_c, f(x)⟩`` with ``w = Â h(Â E V₁) V₂ (C, D)``, two graph convolutions and LeakyReLU.

    Args:
        nodes: embeddings ``E (C, D')`` of the labels; None for one-hot ones.
        graph: normalised correlation matrix ``Â (C, C)``.
        hidden: width of the first convolution's output.
        width: ``D`` of the feature.
    """

    words: Tensor | None
    graph: Tensor

    def __init__(self, nodes: Tensor | None, graph: Tensor, hidden: int, width: int) -> None:
        super().__init__()
        self.register_buffer("words", None if nodes is None else nodes.detach().float())
        self.register_buffer("graph", graph.float())
        self.first = _uniform(len(graph) if nodes is None else nodes.shape[1], hidden)
        self.second = _uniform(hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(B, C)`` of shared features ``(B, D)``."""
        return nn.functional.linear(features, self.class_weights()[0])

    def class_weights(self) -> tuple[Tensor, Tensor]:
        """Return weight ``w (C, D)`` and bias ``(C,)``, which is zero: the inner product has none."""
        embedded = self.first if self.words is None else self.words @ self.first  # one-hot nodes choose rows
        weight = self.graph @ nn.functional.leaky_relu(self.graph @ embedded, LEAK) @ self.second
        return weight, weight.new_zeros(len(weight))


@HEADS.register("ml_gcn")
class MlGcnHead(Head):
    """Global max pooling; a graph convolutional network over the labels generates the weights of the classifier.

    Nodes are the word embeddings of the labels where the recipe has ``text.encoder``, frozen as in the paper (which has
    no prompt around a name: ``text.template='{LN}'``), and otherwise one-hot, with which the paper compares them: the
    first convolution then is a learned embedding per label. The convolutions have no biases. The graph comes from the
    training labels, see `label_graph`, and is kept in the checkpoint. Stage 2 starts from the weights that the graph
    made and refits them as a linear classifier, without it.

    Args:
        context: the backbone's width and the labels; without co-occurrence, as before a checkpoint is loaded, no label
            is linked with another.
        hidden: width between the convolutions.
        threshold: share ``τ`` of a label's images in which another must be present to be linked.
        reweight: share ``p`` of a node that comes from the nodes it is linked with.

    Raises:
        InputError: the number of word embeddings differs from that of labels.
    """

    text_modes = ("per_class",)
    reads_pairs = True

    def __init__(
        self,
        context: HeadContext,
        *,
        hidden: Annotated[int, Field(gt=0, description="width between the graph convolutions")] = 1024,
        threshold: Annotated[float, Field(ge=0, le=1, description="τ: P(other | label) that links labels")] = 0.4,
        reweight: Annotated[float, Field(ge=0, lt=1, description="p: share of a node from the linked ones")] = 0.2,
    ) -> None:
        super().__init__()
        if context.words is not None and len(context.words) != context.num_classes:
            raise InputError(
                f"head.type=ml_gcn needs a word embedding for each of {context.num_classes} labels but got "
                f"{len(context.words)}; set text.mode=per_class"
            )
        graph = (
            torch.eye(context.num_classes, dtype=torch.float64)
            if context.pairs is None
            else label_graph(context.pairs, threshold, reweight)
        )
        self.classifier = GraphClassifier(context.words, graph, hidden, context.images_per_row * context.width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Return the shared feature ``(B, D)`` of a map ``(B, D, H, W)``."""
        return feature_map.amax(dim=(2, 3))


def label_graph(pairs: PairCounts, threshold: float, reweight: float) -> Tensor:
    """Return ``Â = D^(-1/2) A' D^(-1/2)``, the normalised correlation matrix (section 3.4).

    ``P(j | i)`` is counted over the training rows in which both labels are known. ``A_ij = 1`` where it reaches the
    threshold, ``A'_ij = p A_ij / Σ_k≠i A_ik`` beside the diagonal and ``1 - p`` on it, and ``D`` holds the row sums.
    The authors' code has 0.25 in place of ``p`` and 1 in place of ``1 - p``: that is the paper's ``p = 0.2``, because
    the normalisation cancels a common factor. It also reverses the links: there a label gathers from those that imply
    it, with column sums, and here, as the equations are printed, from those that it implies.

    Args:
        pairs: co-occurrence of the training labels; a label that is never present is linked with none.
        threshold: ``τ`` in [0, 1].
        reweight: ``p`` in [0, 1).

    Returns:
        Float64 ``(C, C)``.
    """
    linked = (pairs.both / pairs.first >= threshold).double().fill_diagonal_(0)  # never for 0 / 0
    weighted = reweight * linked / linked.sum(dim=1, keepdim=True).clamp(min=1)
    weighted = weighted.fill_diagonal_(1 - reweight)
    scale = weighted.sum(dim=1) ** -0.5
    return scale[:, None] * weighted * scale


def _uniform(rows: int, columns: int) -> nn.Parameter:
    """Return the matrix of a convolution, initialised as in the authors' code."""
    return nn.Parameter(torch.empty(rows, columns).uniform_(-(columns**-0.5), columns**-0.5))
