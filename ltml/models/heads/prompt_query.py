"""Word and label queries decouple class-aware features from the image (LDRNet, MM 2024, eqs. 2-6)."""

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


class EncoderBlock(nn.Module):
    """Pre-norm Transformer encoder layer that can return its attention."""

    def __init__(self, width: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, ffn), nn.GELU(), nn.Dropout(dropout), nn.Linear(ffn, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, *, with_attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return tokens ``(B, T, D)`` and, if requested, attention ``(B, heads, T, T)``."""
        x = self.norm1(tokens)
        mixed, attention = self.attention(x, x, x, need_weights=with_attention, average_attn_weights=False)
        tokens = tokens + self.dropout(mixed)
        return tokens + self.dropout(self.ffn(self.norm2(tokens))), attention


@HEADS.register("prompt_query")
class PromptQueryHead(Head):
    """Word and label queries in a Transformer encoder with the tokens of the image; class-aware features.

    ``Q = [W + P_word : L + P_label] + P_position`` (eq. 2), ``X_class`` = the outputs of the encoder over
    ``[Q : X_f]`` at the label positions (eqs. 4-5). The paper does not say the depth, the number of heads or whether
    image tokens carry positions: the defaults are one pre-norm layer, four heads, an FFN of ``4 D`` and fixed 2-D
    sine-cosine positions. Without word embeddings the word queries are absent (Table 4, "decoupling" alone).

    Args:
        context: the backbone's width and the labels; word embeddings are frozen and saved in the checkpoint.
        width: width ``D`` of queries, tokens and class features.
        depth: number of encoder layers.
        heads: number of attention heads; must divide `width`.
        ffn_ratio: width of the feed-forward network, as a multiple of `width`.
        dropout: dropout rate in attention and feed-forward network.
        spatial_positions: add sine-cosine positions to the image tokens.

    Raises:
        InputError: `width` is not divisible by `heads`, or not by 4 with positions.
    """

    text_modes = ("per_class", "joint_tokens")
    words: Tensor | None

    def __init__(
        self,
        context: HeadContext,
        *,
        width: Annotated[int, Field(gt=0, description="D of the class features")] = 512,
        depth: Annotated[int, Field(gt=0, description="encoder layers")] = 1,
        heads: Annotated[int, Field(gt=0, description="attention heads")] = 4,
        ffn_ratio: Annotated[float, Field(ge=0.25, description="FFN width over width")] = 4.0,
        dropout: Annotated[float, Field(ge=0, lt=1, description="in the encoder")] = 0.1,
        spatial_positions: Annotated[bool, Field(description="sine-cosine positions on image tokens")] = True,
    ) -> None:
        super().__init__()
        if width % heads or (spatial_positions and width % 4):
            raise InputError(f"head.prompt_query.width={width} must be divisible by heads={heads} and by 4")
        words, num_classes = context.words, context.num_classes
        num_words = 0 if words is None else len(words)
        self.num_classes = num_classes
        self.spatial_positions = spatial_positions
        self.project = nn.Linear(context.width, width)
        self.register_buffer("words", None if words is None else words.detach().float())
        self.word_mlp = (
            None
            if words is None
            else nn.Sequential(nn.Linear(words.shape[1], width), nn.GELU(), nn.Linear(width, width))
        )
        self.word_indicator = None if words is None else _small(1, width)
        self.label_embedding = _small(num_classes, width)
        self.label_indicator = _small(1, width)
        self.position = _small(num_words + num_classes, width)
        self.encoder = nn.ModuleList(
            EncoderBlock(width, heads, round(ffn_ratio * width), dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.classifier = PerClassLinear.initialised(num_classes, context.images_per_row * width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Return class-aware features ``X_class (B, C, D)`` of a map ``(B, D0, H, W)``."""
        return self._encode(feature_map, with_attention=False)[0]

    def attention(self, feature_map: Tensor) -> Tensor:
        """Return the attention of label queries to image tokens, ``(B, depth, heads, C, H·W)``.

        It shows which positions of the feature map each class looks at. Training does not compute it.
        """
        weights = torch.stack(self._encode(feature_map, with_attention=True)[1], dim=1)
        start = len(self.position)
        return weights[:, :, :, start - self.num_classes : start, start:]

    def queries(self) -> Tensor:
        """Return the queries ``Q (M + C, D)`` of eq. 2."""
        labels = self.label_embedding + self.label_indicator
        if self.words is None or self.word_mlp is None or self.word_indicator is None:
            return labels + self.position
        return torch.cat([self.word_mlp(self.words) + self.word_indicator, labels]) + self.position

    def _encode(self, feature_map: Tensor, *, with_attention: bool) -> tuple[Tensor, list[Tensor]]:
        image = self.project(feature_map.flatten(2).transpose(1, 2))
        if self.spatial_positions:
            image = image + sincos_positions(feature_map.shape[-2], feature_map.shape[-1], image.shape[-1]).to(image)
        queries = self.queries().expand(len(image), -1, -1)
        tokens = torch.cat([queries, image], dim=1)
        layers = []
        for block in self.encoder:
            tokens, attention = block(tokens, with_attention=with_attention)
            if attention is not None:
                layers.append(attention)
        end = queries.shape[1]
        return self.norm(tokens[:, end - self.num_classes : end]), layers


def _small(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(count, width) * 0.02)
