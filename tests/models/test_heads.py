"""Heads against slow versions written from the papers' equations, on tiny shapes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ltml.errors import InputError
from ltml.models.context import HeadContext
from ltml.models.heads.label_adapter import LabelAdapterHead
from ltml.models.heads.linear import LinearHead
from ltml.models.heads.prompt_query import PromptQueryHead
from ltml.models.positions import sincos_positions


def context(num_classes: int, words: Tensor | None = None) -> HeadContext:
    return HeadContext(6, tuple("abcd"[:num_classes]), words)


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    rows = []
    for row in x:
        mean = sum(row.tolist()) / len(row)
        variance = sum((v - mean) ** 2 for v in row.tolist()) / len(row)
        rows.append((row - mean) / math.sqrt(variance + 1e-5) * weight + bias)
    return torch.stack(rows)


def _slow_attention(x: Tensor, block: torch.nn.Module, heads: int) -> tuple[Tensor, Tensor]:
    """Softmax attention with loops over heads and queries."""
    width = x.shape[1]
    size = width // heads
    q, k, v = (x @ part.T + bias for part, bias in zip(
        block.attention.in_proj_weight.split(width), block.attention.in_proj_bias.split(width), strict=True
    ))  # fmt: skip
    output, weights = torch.zeros_like(x), torch.zeros(heads, len(x), len(x), dtype=x.dtype)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(x)):
            scores = torch.stack([q[i, part] @ k[j, part] / math.sqrt(size) for j in range(len(x))])
            weights[head, i] = scores.exp() / scores.exp().sum()
            output[i, part] = sum(weights[head, i, j] * v[j, part] for j in range(len(x)))
    projection = block.attention.out_proj
    return output @ projection.weight.T + projection.bias, weights


def _slow_prompt_query(head: PromptQueryHead, feature_map: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Eqs. 2-6 for one image, token by token."""
    height, width = feature_map.shape[1:]
    tokens = []
    if head.words is not None:
        tokens += list(head.word_mlp(head.words.double()) + head.word_indicator)
    tokens += list(head.label_embedding + head.label_indicator)
    tokens = [token + position for token, position in zip(tokens, head.position, strict=True)]
    start = len(tokens)
    positions = sincos_positions(height, width, head.position.shape[1]).double()
    for y in range(height):
        for x in range(width):
            pixel = head.project.weight @ feature_map[:, y, x] + head.project.bias
            tokens.append(pixel + positions[y * width + x])
    stream = torch.stack(tokens)
    weights = torch.empty(0)
    for block in head.encoder:
        mixed, weights = _slow_attention(_layer_norm(stream, block.norm1.weight, block.norm1.bias), block, heads)
        stream = stream + mixed
        inner = _layer_norm(stream, block.norm2.weight, block.norm2.bias) @ block.ffn[0].weight.T + block.ffn[0].bias
        inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
        stream = stream + inner @ block.ffn[3].weight.T + block.ffn[3].bias
    classes = stream[start - head.num_classes : start]
    return _layer_norm(classes, head.norm.weight, head.norm.bias), weights[:, start - head.num_classes : start, start:]


@pytest.mark.parametrize(("depth", "prompts"), [(1, True), (2, False)])
def test_prompt_query_equals_a_slow_version(depth: int, prompts: bool) -> None:
    torch.manual_seed(0)
    words = torch.randn(3, 5) if prompts else None
    head = PromptQueryHead(context(3, words), width=8, depth=depth, heads=2, ffn_ratio=2.0).double().eval()
    feature_map = torch.randn(2, 6, 2, 3, dtype=torch.float64)
    features, attention = head.features(feature_map), head.attention(feature_map)
    logits = head.classifier(features)
    assert features.shape == (2, 3, 8)
    assert attention.shape == (2, depth, 2, 3, 6)
    for i in range(2):
        expected, weights = _slow_prompt_query(head, feature_map[i], heads=2)
        torch.testing.assert_close(features[i], expected)
        torch.testing.assert_close(attention[i, -1], weights)
        for c in range(3):
            slow = head.classifier.weight[c] @ expected[c] + head.classifier.bias[c]
            torch.testing.assert_close(logits[i, c], slow)


def test_prompts_are_frozen_and_saved_and_their_mlp_learns() -> None:
    head = PromptQueryHead(context(3, torch.randn(3, 5)), width=8)
    head.features(torch.randn(2, 6, 2, 2)).sum().backward()
    assert "words" in head.state_dict()
    assert not any(name == "words" for name, _ in head.named_parameters())
    assert head.word_mlp[0].weight.grad is not None


def test_width_must_divide() -> None:
    with pytest.raises(InputError, match="divisible"):
        PromptQueryHead(context(3), width=10, heads=4)


def test_positions_tell_every_place_apart() -> None:
    positions = sincos_positions(5, 7, 16)
    assert positions.shape == (35, 16)
    assert torch.cdist(positions, positions).fill_diagonal_(1).min() > 0.1


def test_label_adapter_equals_a_slow_version() -> None:
    torch.manual_seed(0)
    head = LabelAdapterHead(context(4))
    feature_map = torch.randn(3, 6, 2, 2)
    queries, weight, bias = head.classifier.queries, head.classifier.to_weights.weight, head.classifier.to_weights.bias
    assert torch.equal(queries, torch.eye(4))
    features = head.features(feature_map)
    logits = head.classifier(features)
    for i in range(3):
        pooled = torch.stack([feature_map[i, d].mean() for d in range(6)])
        torch.testing.assert_close(features[i], pooled)
        for c in range(4):
            answer = sum((weight[d] @ queries[c] + bias[d]) * pooled[d] for d in range(6))
            torch.testing.assert_close(logits[i, c], answer)
    assert queries.requires_grad


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_linear_head_pools(pool: str) -> None:
    head = LinearHead(context(4), pool=pool)
    feature_map = torch.randn(3, 6, 2, 2)
    flat = feature_map.flatten(2)
    expected = flat.mean(dim=2) if pool == "avg" else flat.max(dim=2).values
    torch.testing.assert_close(head.features(feature_map), expected)
