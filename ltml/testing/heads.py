"""What every head keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ltml.models.classifier import PerClassLinear
from ltml.models.facts import HeadFacts
from ltml.models.model import Stage1Model

WIDTH, CLASSES, ROWS = 6, 4, 3
FACTS = HeadFacts(WIDTH, ("one: a", "one: b", "two: a", "two: c"))
"""Labels of two sources, for heads that need to know whose a label is."""


def check_head(make: Callable[[HeadFacts], Any]) -> None:
    """Assert that a head keeps the contract of heads.

    From a map ``(B, D0, H, W)`` it makes features ``(B, C, D)`` or ``(B, D)``, and its ``classifier`` logits ``(B, C)``
    of them, in float32 under autocast too and with the features of several images side by side; every parameter and
    the map get a gradient; in eval mode answers are repeatable and those of one image do not depend on the others; a
    saved state gives the same answers; ``class_weights()`` of a classifier is the map it makes; ``class_dims`` names
    dimensions of classes; the map is left alone.

    Args:
        make: the head's class, or a function of its `HeadFacts`.

    Raises:
        AssertionError: says what is wrong.

    Example:
        >>> from ltml.models.heads.linear import LinearHead
        >>> check_head(LinearHead)
    """
    torch.manual_seed(0)
    feature_map = torch.randn(ROWS, WIDTH, 2, 2)
    _check_shapes(make(FACTS).eval(), feature_map)
    _check_answers(make, feature_map)
    _check_gradients(make(FACTS), feature_map)
    _check_class_weights(make(FACTS).eval(), feature_map)
    _check_class_dims(make(FACTS))
    for images in (1, 2):
        _check_model(make, images)


def _answers(head: Any, feature_map: Tensor) -> Tensor:
    logits: Tensor = head.classifier(head.features(feature_map))
    return logits


def _assert_close(actual: Tensor, expected: Tensor, what: str) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5, msg=lambda detail: f"{what}: {detail}")


def _check_shapes(head: Any, feature_map: Tensor) -> None:
    before = feature_map.clone()
    features = head.features(feature_map)
    if not torch.equal(before, feature_map):
        raise AssertionError("the head changes its feature map in place")
    width = features.shape[-1]
    if features.shape not in ((ROWS, CLASSES, width), (ROWS, width)):
        raise AssertionError(
            f"features of {ROWS} images and {CLASSES} classes have shape {tuple(features.shape)}; expected "
            f"({ROWS}, {CLASSES}, D) or ({ROWS}, D)"
        )
    logits = head.classifier(features)
    if logits.shape != (ROWS, CLASSES):
        raise AssertionError(f"logits have shape {tuple(logits.shape)}; expected ({ROWS}, {CLASSES})")


@torch.no_grad()
def _check_answers(make: Callable[..., Any], feature_map: Tensor) -> None:
    head, other = (make(FACTS).eval() for _ in range(2))
    answers = _answers(head, feature_map)
    _assert_close(_answers(head, feature_map), answers, "in eval mode the same map has other answers")
    _assert_close(_answers(head, feature_map[:1]), answers[:1], "answers for an image depend on the others")
    other.load_state_dict(head.state_dict())
    _assert_close(_answers(other, feature_map), answers, "a saved state gives other answers")


def _check_gradients(head: Any, feature_map: Tensor) -> None:
    leaf = feature_map.clone().requires_grad_()
    _answers(head, leaf).square().sum().backward()  # type: ignore[no-untyped-call]
    trained = {name: parameter for name, parameter in head.named_parameters() if parameter.requires_grad}
    if without := [name for name, parameter in trained.items() if parameter.grad is None]:
        raise AssertionError(f"no gradient reaches {', '.join(without)}")
    if leaf.grad is None or not bool(leaf.grad.any()):
        raise AssertionError("no gradient reaches the feature map, so the backbone would not train")


@torch.no_grad()
def _check_class_weights(head: Any, feature_map: Tensor) -> None:
    if not hasattr(head.classifier, "class_weights"):
        return
    features = head.features(feature_map)
    weight, bias = head.classifier.class_weights()
    if weight.shape != (CLASSES, features.shape[-1]) or bias.shape != (CLASSES,):
        raise AssertionError(
            f"class_weights() have shapes {tuple(weight.shape)} and {tuple(bias.shape)}; expected "
            f"({CLASSES}, {features.shape[-1]}) and ({CLASSES},)"
        )
    linear = PerClassLinear(weight, bias)(features)
    _assert_close(linear, head.classifier(features), "class_weights() are not what the classifier does")


def _check_class_dims(head: Any) -> None:
    state: Mapping[str, Tensor] = head.state_dict()
    for name, dims in getattr(head, "class_dims", {}).items():
        if name not in state:
            raise AssertionError(f"class_dims names '{name}', which is not in the head's state")
        if any(state[name].shape[dim] != CLASSES for dim in dims):
            raise AssertionError(f"class_dims of '{name}', {dims}, are not dimensions of {CLASSES} classes")


@torch.no_grad()
def _check_model(make: Callable[..., Any], images: int) -> None:
    torch.manual_seed(0)
    head = make(FACTS._replace(images_per_row=images))
    model = Stage1Model(nn.Conv2d(1, WIDTH, 3), head, [0.5], [0.5], images_per_row=images).eval()
    pixels = torch.randint(0, 256, (2, images, 8, 8), dtype=torch.uint8)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(pixels)
    except RuntimeError as error:
        raise AssertionError(f"the model fails with {images} images per row: {error}") from error
    if output.logits.dtype != torch.float32:
        raise AssertionError(f"under autocast logits are {output.logits.dtype}, not float32")
    _assert_close(model.classifier(output.features.float()), output.logits, "logits are not those of the features")
