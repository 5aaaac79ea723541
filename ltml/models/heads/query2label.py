"""Query2Label (Liu et al., 2021): label queries attend to the image in a Transformer decoder."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ltml.errors import InputError
from ltml.models.classifier import PerClassLinear
from ltml.models.context import HeadContext
from ltml.models.heads.head import Head
from ltml.models.positions import sincos_positions
from ltml.registry import HEADS


class Attend(nn.Module):
    """Multi-head attention, added to the tokens and normalised afterwards, as in the first Transformer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return tokens ``(B, T, D)`` plus the attention of `query` ``(B, T, D)`` over `key` and `value`."""
        attended, _ = self.attention(query, key, value, need_weights=False)
        mixed: Tensor = self.norm(tokens + self.dropout(attended))
        return mixed


class FeedForward(nn.Module):
    """Two linear maps with ReLU between them, added to the tokens and normalised afterwards."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Dropout(dropout), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens ``(B, T, D)`` of tokens ``(B, T, D)``."""
        mixed: Tensor = self.norm(tokens + self.dropout(self.layers(tokens)))
        return mixed


class EncoderLayer(nn.Module):
    """Self-attention of image tokens; positions are added to queries and keys only."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.image = Attend(width, heads, dropout)
        self.ffn = FeedForward(width, inner, dropout)

    def forward(self, image: Tensor, positions: Tensor) -> Tensor:
        """Return image tokens ``(B, H·W, D)`` of tokens with positions ``(H·W, D)``."""
        positioned = image + positions
        mixed: Tensor = self.ffn(self.image(image, positioned, positioned, image))
        return mixed


class DecoderLayer(nn.Module):
    """Attention of label queries to each other, then to the image."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.labels = Attend(width, heads, dropout)
        self.image = Attend(width, heads, dropout)
        self.ffn = FeedForward(width, inner, dropout)

    def forward(self, queries: Tensor, image: Tensor, positions: Tensor) -> Tensor:
        """Return queries ``(B, C, D)`` after attention to image tokens ``(B, H·W, D)`` with positions ``(H·W, D)``."""
        queries = self.labels(queries, queries, queries, queries)
        updated: Tensor = self.ffn(self.image(queries, queries, image + positions, image))
        return updated


@HEADS.register("query2label")
class Query2LabelHead(Head):
    """Learnable label queries in a Transformer decoder over the tokens of the image; class-aware features.

    Per decoder layer ``Q' = MultiHead(Q, Q, Q)``, ``Q'' = MultiHead(Q', F + P, F)``, ``Q = FFN(Q'')``, each added to
    what came in and normalised, with ``F`` the projected map after the encoder and ``P`` fixed 2-D sine-cosine
    positions; the classifier is one linear map per class. Labels have no order, so their queries carry no positions. As
    in the authors' commands there are one encoder and two decoder layers of four heads, with an FFN of four times the
    width and normalisation after each part. Their width is that of a ResNet's map, 2048, which makes 185 million
    parameters; the default is that of `prompt_query`, so that the two can be compared. The attention among queries,
    part of the paper's decoder, is left out in those commands.

    Args:
        context: the backbone's width and the labels.
        width: width ``D`` of queries, tokens and class features.
        encoder_layers: number of layers over the image's tokens; may be 0.
        decoder_layers: number of layers over the queries.
        heads: attention heads; must divide `width`.
        ffn_ratio: width of the feed-forward network, as a multiple of `width`.
        dropout: dropout rate in attention and feed-forward networks.

    Raises:
        InputError: `width` is not divisible by `heads` or by 4.
    """

    def __init__(
        self,
        context: HeadContext,
        *,
        width: Annotated[int, Field(gt=0, description="D of the class features")] = 512,
        encoder_layers: Annotated[int, Field(ge=0, description="over the image tokens")] = 1,
        decoder_layers: Annotated[int, Field(gt=0, description="over the label queries")] = 2,
        heads: Annotated[int, Field(gt=0, description="attention heads")] = 4,
        ffn_ratio: Annotated[float, Field(ge=0.25, description="FFN width over width")] = 4.0,
        dropout: Annotated[float, Field(ge=0, lt=1, description="in encoder and decoder")] = 0.1,
    ) -> None:
        super().__init__()
        if width % heads or width % 4:
            raise InputError(f"head.query2label.width={width} must be divisible by heads={heads} and by 4")
        inner = round(ffn_ratio * width)
        self.project = nn.Linear(context.width, width)
        self.label_embedding = nn.Parameter(torch.randn(context.num_classes, width))
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, inner, dropout) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, inner, dropout) for _ in range(decoder_layers))
        self.classifier = PerClassLinear.initialised(context.num_classes, context.images_per_row * width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Return class-aware features ``(B, C, D)`` of a map ``(B, D0, H, W)``."""
        image = self.project(feature_map.flatten(2).transpose(1, 2))
        positions = sincos_positions(feature_map.shape[-2], feature_map.shape[-1], image.shape[-1]).to(image)
        for layer in self.encoder:
            image = layer(image, positions)
        queries = self.label_embedding.expand(len(image), -1, -1)
        for layer in self.decoder:
            queries = layer(queries, image, positions)
        return queries
