"""Heads that read labels in places or from each other against slow versions, and through both stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ltml
from ltml.errors import InputError
from ltml.metrics.predictions import Predictions
from ltml.models import text
from ltml.models.classifier import PerClassLinear
from ltml.models.context import HeadContext, PairCounts
from ltml.models.heads.csra import CsraHead
from ltml.models.heads.ml_gcn import MlGcnHead, label_graph
from ltml.models.heads.query2label import Query2LabelHead
from ltml.models.model import Stage1Model
from ltml.models.positions import sincos_positions
from ltml.recipe.load import load_recipe
from ltml.stages.build import build_dataset, build_loader, count_pairs, rebuild_model
from ltml.stages.checks import check_recipe
from ltml.stages.provenance import locate_run
from ltml.stages.relations import describe_relations
from ltml.stages.run_directory import read_run
from ltml.training.checkpoint import load_weights

SMALL = ("train.epochs=1", "data.train_size=64")


def context(num_classes: int, words: Tensor | None = None, pairs: PairCounts | None = None) -> HeadContext:
    return HeadContext(6, tuple("abcde"[:num_classes]), words, pairs=pairs)


def random_map(height: int = 2, width: int = 3) -> Tensor:
    return torch.randn(2, 6, height, width, dtype=torch.float64, requires_grad=True)


def assert_same_values_and_gradients(
    head: Any, feature_map: Tensor, slow: Callable[[Tensor], Sequence[Tensor]]
) -> None:
    """Logits of a head in float64 against one list per image, and the gradients of both."""
    weights = torch.randn(len(feature_map), head.classifier.class_weights()[0].shape[0], dtype=torch.float64)
    wanted = [feature_map, *head.parameters()]
    logits = head.classifier(head.features(feature_map))
    expected = torch.stack([torch.stack(list(slow(image))) for image in feature_map])
    torch.testing.assert_close(logits, expected)
    found, reference = (torch.autograd.grad((values * weights).sin().sum(), wanted) for values in (logits, expected))
    for ours, theirs in zip(found, reference, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.abs().max() > 0


# --- Query2Label ---


def _norm(x: Tensor, layer: Any) -> Tensor:
    centred = x - x.sum() / len(x)
    return centred / (centred.square().sum() / len(x) + 1e-5).sqrt() * layer.weight + layer.bias


def _attended(layer: Any, heads: int, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """``LN(x + Attention)``, a query and a head at a time."""
    size = query.shape[1] // heads
    weights = layer.attention.in_proj_weight.chunk(3)
    q, k, v = (
        x @ weight.T + bias
        for x, weight, bias in zip((query, key, value), weights, layer.attention.in_proj_bias.chunk(3), strict=True)
    )
    rows = []
    for i in range(len(query)):
        parts = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            scores = torch.stack([(q[i, own] * k[j, own]).sum() / math.sqrt(size) for j in range(len(key))]).exp()
            parts.append(sum(scores[j] / scores.sum() * v[j, own] for j in range(len(key))))
        out = layer.attention.out_proj
        rows.append(_norm(tokens[i] + out.weight @ torch.cat(parts) + out.bias, layer.norm))
    return torch.stack(rows)


def _fed_forward(layer: Any, tokens: Tensor) -> Tensor:
    first, _, _, second = layer.layers
    inner = [torch.clamp(first.weight @ token + first.bias, min=0) for token in tokens]
    return torch.stack(
        [_norm(token + second.weight @ x + second.bias, layer.norm) for token, x in zip(tokens, inner, strict=True)]
    )


def _slow_query2label(head: Query2LabelHead, heads: int) -> Callable[[Tensor], list[Tensor]]:
    def slow(image: Tensor) -> list[Tensor]:
        places = [image[:, y, x] for y in range(image.shape[1]) for x in range(image.shape[2])]
        tokens = torch.stack([head.project.weight @ place + head.project.bias for place in places])
        positions = sincos_positions(image.shape[1], image.shape[2], tokens.shape[1]).double()
        for layer in head.encoder:
            placed = tokens + positions
            tokens = _fed_forward(layer.ffn, _attended(layer.image, heads, tokens, placed, placed, tokens))
        queries = head.label_embedding
        for layer in head.decoder:
            queries = _attended(layer.labels, heads, queries, queries, queries, queries)
            queries = _fed_forward(
                layer.ffn, _attended(layer.image, heads, queries, queries, tokens + positions, tokens)
            )
        classifier = head.classifier
        return [classifier.weight[c] @ queries[c] + classifier.bias[c] for c in range(len(queries))]

    return slow


@pytest.mark.parametrize(("encoder", "decoder"), [(1, 2), (0, 1)])
def test_query2label_equals_a_slow_version(encoder: int, decoder: int) -> None:
    torch.manual_seed(0)
    head = Query2LabelHead(context(3), width=8, heads=2, encoder_layers=encoder, decoder_layers=decoder, ffn_ratio=2.0)
    head = head.double().eval()
    feature_map = random_map()
    assert head.features(feature_map).shape == (2, 3, 8)
    assert_same_values_and_gradients(head, feature_map, _slow_query2label(head, heads=2))


def test_query2label_has_the_sizes_of_the_authors_commands_at_their_width() -> None:
    with torch.device("meta"):
        head = Query2LabelHead(HeadContext(2048, tuple(map(str, range(80)))), width=2048)
    layers = sum(parameter.numel() for part in (head.encoder, head.decoder) for parameter in part.parameters())
    attention, ffn, norm = 4 * 2048**2 + 4 * 2048, 2 * 2048 * 8192 + 8192 + 2048, 2 * 2048
    assert layers == (attention + ffn + 2 * norm) + 2 * (2 * attention + ffn + 3 * norm)
    assert round(layers / 1e6) == 185


def test_query2label_answers_do_not_depend_on_the_order_of_labels() -> None:
    torch.manual_seed(0)
    head = Query2LabelHead(context(4), width=8, heads=2).eval()
    feature_map, order = torch.randn(2, 6, 3, 3), [2, 0, 3, 1]
    before = head.features(feature_map)
    head.label_embedding.data = head.label_embedding.data[order]
    torch.testing.assert_close(head.features(feature_map), before[:, order])


def test_query2label_width_must_divide() -> None:
    with pytest.raises(InputError, match="query2label.width=10 must be divisible by heads=4"):
        Query2LabelHead(context(3), width=10)


# --- ML-GCN ---

TARGETS = np.array(
    [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 1, 0, np.nan],
        [1, 0, np.nan, 0, np.nan],
        [1, 1, np.nan, 0, 0],
        [0, 1, 1, np.nan, np.nan],
        [0, 0, 0, np.nan, 1],
    ]
)


def _slow_graph(targets: np.ndarray, threshold: float, off: float, own: float) -> np.ndarray:
    """The correlation matrix entry by entry, with weights `off` of all linked labels and `own` of the label itself."""
    classes = targets.shape[1]
    linked = np.zeros((classes, classes))
    for i in range(classes):
        for j in range(classes):
            rows = [row for row in targets if not np.isnan(row[i]) and not np.isnan(row[j]) and row[i] == 1]
            if i != j and rows and sum(row[j] == 1 for row in rows) / len(rows) >= threshold:
                linked[i, j] = 1
    weighted = np.zeros_like(linked)
    for i in range(classes):
        for j in range(classes):
            if i == j:
                weighted[i, j] = own
            elif linked[i, j]:
                weighted[i, j] = off / linked[i].sum()
    sums = weighted.sum(axis=1)
    return np.array([[weighted[i, j] / math.sqrt(sums[i] * sums[j]) for j in range(classes)] for i in range(classes)])


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.5, 0.6, 1.0])
def test_the_graph_equals_a_slow_version_and_leaves_unknown_labels_out(threshold: float) -> None:
    graph = label_graph(PairCounts.of(TARGETS), threshold, 0.2)
    np.testing.assert_allclose(graph, _slow_graph(TARGETS, threshold, 0.2, 0.8), rtol=1e-12)
    # The weights 0.25 and 1 of the authors' code are the paper's 0.2 and 0.8.
    np.testing.assert_allclose(graph, _slow_graph(TARGETS, threshold, 0.25, 1.0), rtol=1e-12)


def test_a_link_has_a_direction_and_counts_no_unknown() -> None:
    pairs = PairCounts.of(TARGETS)
    assert pairs.both[0, 2] == 2  # rows 1 and 2
    assert pairs.first[0, 2] == 3  # rows 0, 1 and 2: in rows 3 and 4 the other label is unknown
    assert pairs.first[2, 0] == 3
    graph = label_graph(PairCounts(torch.tensor([[9.0, 1], [1, 2]]), torch.tensor([[9.0, 9], [2, 2]])), 0.4, 0.2)
    assert graph[0, 1] == 0  # one of nine
    assert graph[1, 0] > 0  # one of two
    alone = label_graph(PairCounts.of(np.zeros((3, 2))), 0.4, 0.2)
    torch.testing.assert_close(alone, torch.eye(2).double())


@pytest.mark.parametrize("with_words", [True, False])
def test_ml_gcn_equals_a_slow_version(with_words: bool) -> None:
    torch.manual_seed(0)
    words = torch.randn(5, 7) if with_words else None
    head = MlGcnHead(context(5, words, PairCounts.of(TARGETS)), hidden=4).double()
    graph = torch.from_numpy(_slow_graph(TARGETS, 0.4, 0.2, 0.8)).float().double()  # kept in float32
    nodes = torch.eye(5, dtype=torch.float64) if words is None else words.double()

    def convolved(x: Tensor, weight: Tensor) -> Tensor:
        rows = [sum(graph[i, j] * (x[j] @ weight) for j in range(5)) for i in range(5)]
        return torch.stack([torch.as_tensor(row) for row in rows])

    def slow(image: Tensor) -> list[Tensor]:
        inner = convolved(nodes, head.classifier.first)
        inner = torch.where(inner > 0, inner, 0.2 * inner)
        weights = convolved(inner, head.classifier.second)
        pooled = torch.stack([image[d].max() for d in range(6)])
        return [weights[c] @ pooled for c in range(5)]

    assert_same_values_and_gradients(head, random_map(), slow)


def test_ml_gcn_links_nothing_before_it_knows_the_labels_and_a_checkpoint_brings_the_graph() -> None:
    torch.manual_seed(0)
    trained, blank = MlGcnHead(context(5, None, PairCounts.of(TARGETS))), MlGcnHead(context(5))
    assert torch.equal(blank.classifier.graph, torch.eye(5))
    assert not torch.equal(trained.classifier.graph, torch.eye(5))
    blank.load_state_dict(trained.state_dict())
    feature_map = torch.randn(2, 6, 2, 2)
    torch.testing.assert_close(
        blank.classifier(blank.features(feature_map)), trained.classifier(trained.features(feature_map))
    )


def test_ml_gcn_needs_an_embedding_per_label() -> None:
    with pytest.raises(InputError, match="for each of 5 labels but got 4; set text.mode=per_class"):
        MlGcnHead(context(5, torch.randn(4, 7)))
    options = ["method=ml_gcn", "text.encoder=word_vectors", "text.name=words.txt", "text.mode=joint_tokens"]
    with pytest.raises(InputError, match="head.type=ml_gcn cannot use text.mode=joint_tokens; allowed: per_class"):
        check_recipe(load_recipe("digits_tiny", options))
    check_recipe(load_recipe("digits_tiny", [option.replace("ml_gcn", "ldrnet") for option in options]))


def test_only_heads_that_read_words_have_them_in_their_stage_1_hash(tmp_path: Path) -> None:
    def shared(*overrides: str) -> str:
        recipe = load_recipe("digits_tiny", [*SMALL, *overrides])
        return locate_run(recipe, build_dataset(recipe), tmp_path).shared.name

    text_ = ("text.encoder=word_vectors", "text.name=words.txt")
    assert shared("method=ml_gcn") != shared("method=ml_gcn", *text_)
    assert shared("method=csra") == shared("method=csra", *text_)


def test_pairs_are_counted_in_train_and_only_for_heads_that_read_them() -> None:
    recipe = load_recipe("digits_tiny", ["method=ml_gcn", *SMALL])
    dataset = build_dataset(recipe)
    pairs = count_pairs(recipe, dataset)
    assert pairs is not None
    train = dataset.masked_targets("train")
    assert pairs.both[3, 4] == sum(row[3] == 1 and row[4] == 1 for row in train)
    assert torch.equal(pairs.both.diagonal(), torch.from_numpy(dataset.class_counts()).double())
    assert count_pairs(load_recipe("digits_tiny", ["method=csra", *SMALL]), dataset) is None


# --- CSRA ---


def _slow_csra(
    head: CsraHead, temperatures: Sequence[float | str], attention_weight: float
) -> Callable[[Tensor], list[Tensor]]:
    def slow(image: Tensor) -> list[Tensor]:
        places = [image[:, y, x] for y in range(image.shape[1]) for x in range(image.shape[2])]
        mean = sum(places) / len(places)
        logits = []
        for row in head.attention.weight:
            logit = torch.zeros((), dtype=row.dtype)
            for own, temperature in zip(row.split(6), temperatures, strict=True):
                scores = [own @ place for place in places]
                if temperature == "max":
                    attended = places[max(range(len(places)), key=lambda k: scores[k].item())]
                else:
                    powers = [(temperature * score).exp() for score in scores]
                    attended = sum(power / sum(powers) * place for power, place in zip(powers, places, strict=True))
                logit = logit + own @ (mean + attention_weight * attended)
            logits.append(logit)
        return logits

    return slow


@pytest.mark.parametrize("temperatures", [(1.0,), ("max",), (1.0, 2.5, "max")])
def test_csra_equals_a_slow_version(temperatures: tuple[float | str, ...]) -> None:
    torch.manual_seed(0)
    head = CsraHead(context(3), temperatures=temperatures, attention_weight=0.3).double()
    feature_map = random_map()
    assert head.features(feature_map).shape == (2, 3, 6 * len(temperatures))
    assert_same_values_and_gradients(head, feature_map, _slow_csra(head, temperatures, 0.3))


def test_max_is_the_limit_of_high_temperatures_and_no_attention_is_average_pooling() -> None:
    torch.manual_seed(0)
    feature_map = random_map()
    limit, hot, none = (
        CsraHead(context(3), temperatures=temperatures, attention_weight=weight).double()
        for temperatures, weight in ((("max",), 0.5), ((1e6,), 0.5), ((1.0,), 0.0))
    )
    for head in (hot, none):
        head.load_state_dict(limit.state_dict())
    torch.testing.assert_close(hot.features(feature_map), limit.features(feature_map))
    averaged = PerClassLinear(*limit.classifier.class_weights())(feature_map.mean(dim=(2, 3)))
    torch.testing.assert_close(none.classifier(none.features(feature_map)), averaged)


def test_csra_is_tied_in_stage_1_and_the_tie_is_cut_for_stage_2() -> None:
    torch.manual_seed(0)
    model = Stage1Model(torch.nn.Conv2d(1, 6, 3), CsraHead(context(3)), [0.5], [0.5]).eval()
    assert [name for name, _ in model.head.named_parameters()] == ["attention.weight"]
    pixels = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    feature_map = torch.randn(2, 6, 2, 2)
    before, features = model.classifier(model.head.features(feature_map)), model.head.features(feature_map)
    with torch.no_grad():
        model.head.attention.weight.mul_(2)
    torch.testing.assert_close(model.classifier(features), 2 * before)  # the classifier follows the attention
    assert not torch.allclose(model.head.features(feature_map), features)
    output = model(pixels)
    model.make_classifier_linear()
    torch.testing.assert_close(model(pixels).logits, output.logits)
    with torch.no_grad():
        model.classifier.weight.mul_(2)
    torch.testing.assert_close(model(pixels).features, output.features)  # the attention no longer does
    assert any(parameter is model.head.attention.weight for parameter in model.encoder_parameters())


@pytest.mark.parametrize("option", ["[0]", "[]", "[1, .inf]", "[min]"])
def test_csra_refuses_other_temperatures(option: str) -> None:
    with pytest.raises(InputError, match="head.csra.temperatures"):
        load_recipe("digits_tiny", ["method=csra", f"head.csra.temperatures={option}"])


# --- All three ---


@pytest.mark.parametrize(("kind", "width"), [(Query2LabelHead, 512), (MlGcnHead, 6), (CsraHead, 6)])
def test_features_of_several_images_per_row_stand_side_by_side(kind: Any, width: int) -> None:
    torch.manual_seed(0)
    head = kind(context(4)._replace(images_per_row=2))
    model = Stage1Model(torch.nn.Conv2d(1, 6, 3), head, [0.5], [0.5], images_per_row=2).eval()
    images = torch.randint(0, 256, (2, 2, 8, 8), dtype=torch.uint8)
    output = model(images)
    assert output.features.shape[-1] == 2 * width
    assert output.logits.shape == (2, 4)
    torch.testing.assert_close(model.features(images.flip(1)), output.features.roll(width, dims=-1))
    model.make_classifier_linear()
    torch.testing.assert_close(model(images).logits, output.logits)


REFITTED = {"head.classifier.weight", "head.classifier.bias"}


@pytest.mark.parametrize("method", ["query2label", "ml_gcn", "csra"])
def test_presets_go_through_both_stages(cli: Any, tmp_path: Path, method: str) -> None:
    options = ("digits_tiny", f"method={method}", *SMALL, "stage2.method=gaussian", "stage2.rounds=0")
    result = cli("run", *options, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    run, recipe = read_run(next(tmp_path.rglob("seed0")))
    dataset = build_dataset(recipe)
    (first, _), (second, _) = load_weights(run.checkpoint1), load_weights(run.checkpoint2)
    assert second.keys() >= REFITTED
    assert all(torch.equal(first[name], second[name]) for name in second.keys() - REFITTED)
    (batch, *_) = build_loader(recipe, dataset, "test", torch.device("cpu")).epoch()
    for stage, weights in ((1, first), (2, second)):
        model = rebuild_model(recipe, dataset, weights, stage=stage).eval()
        with torch.no_grad():
            probs = model(batch.images).logits.double().sigmoid()
        saved = Predictions.read(run.predictions(stage, "test")).probs[: len(probs)]
        np.testing.assert_allclose(probs, saved, atol=1e-6)
    if method == "query2label":
        assert describe_relations(run.path)["queries"] is not None
    if method == "ml_gcn":
        pairs = count_pairs(recipe, dataset)
        assert pairs is not None
        torch.testing.assert_close(first["head.classifier.graph"], label_graph(pairs, 0.4, 0.2).float())


def test_ml_gcn_reloads_without_its_words(
    image_table: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("bright 1 2 3\nodd 3 4 5\nimage 0 0 1\n")
    small = "backbone.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}"
    options = [f"data.file={image_table()}", "data.image_size=16", "train.epochs=1", small, "method=ml_gcn"]
    prompts = ["text.encoder=word_vectors", f"text.name={vectors}", "text.template='{LN}'", "stage2.method=gaussian"]
    recipe = load_recipe("csv_small", [*options, *prompts, "stage2.rounds=0"])
    result = ltml.stage1(recipe, tmp_path / "runs")
    weights, _ = load_weights(read_run(result.run_dir)[0].checkpoint1)
    assert weights["head.classifier.words"].tolist() == [[1, 2, 3], [3, 4, 5]]
    vectors.unlink()
    monkeypatch.setattr(text, "embed_prompts", None)
    assert ltml.stage2(recipe, tmp_path / "runs").stage2 is not None
