"""Contract of heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ltml.errors import first_line, suggest
from ltml.models.classifier import PerClassLinear
from ltml.models.context import HeadContext
from ltml.models.heads.head import Head
from ltml.models.model import Stage1Model
from ltml.testing.hooks import check_hooks

WIDTH, CLASSES, ROWS = 6, 4, 3
CONTEXT = HeadContext(WIDTH, ("one: a", "one: b", "two: a", "two: c"))
"""Context with labels of two sources, for heads that depend on the source of a label."""

CHANCE = "leave out chance and moving averages when self.training is False"
ALONE = "normalise over no batch in eval mode, and let no image look at the others"
STATE = "keep what predictions depend on as parameters or registered buffers"


def check_head(make: Callable[[HeadContext], Any]) -> None:
    """Assert that a head keeps the contract of heads.

    From a map ``(B, D0, H, W)`` it makes features ``(B, C, D)`` or ``(B, D)``, and its ``classifier`` logits ``(B, C)``
    of them, in float32 under autocast too and with the features of several images side by side; every parameter and
    the map get a gradient; in eval mode predictions are repeatable and those of one image do not depend on the others;
    a saved state gives the same predictions; ``class_weights()`` is the classifier's map; ``class_dims`` names
    dimensions of classes; the map is left alone.

    Args:
        make: the head's class, or a function of its `HeadContext`.

    Raises:
        AssertionError: says what is wrong.

    Example:
        >>> from ltml.models.heads.linear import LinearHead
        >>> check_head(LinearHead)
    """
    torch.manual_seed(0)
    feature_map = torch.randn(ROWS, WIDTH, 2, 2)
    check_hooks(make(CONTEXT), Head)
    _check_shapes(make(CONTEXT).eval(), feature_map)
    _check_predictions(make, feature_map)
    _check_gradients(make(CONTEXT), feature_map)
    _check_class_weights(make(CONTEXT).eval(), feature_map)
    _check_class_dims(make(CONTEXT))
    for images in (1, 2):
        _check_model(make, images)


def _predict(head: Any, feature_map: Tensor) -> Tensor:
    logits: Tensor = head.classifier(head.features(feature_map))
    return logits


def _assert_close(actual: Tensor, expected: Tensor, what: str, remedy: str) -> None:
    if actual.shape != expected.shape:
        raise AssertionError(f"{what} (shape {tuple(actual.shape)}, not {tuple(expected.shape)}): {remedy}")
    if not torch.allclose(actual.to(expected.dtype), expected, rtol=1e-4, atol=1e-5):
        raise AssertionError(f"{what} (by {float((actual - expected).abs().max()):.2g}): {remedy}")


def _check_shapes(head: Any, feature_map: Tensor) -> None:
    before = feature_map.clone()
    features = head.features(feature_map)
    if not torch.equal(before, feature_map):
        raise AssertionError(
            "the head changes its feature map in place: work on a clone, without methods that end in an underscore"
        )
    width = features.shape[-1]
    if features.shape not in ((ROWS, CLASSES, width), (ROWS, width)):
        raise AssertionError(
            f"features of {ROWS} images and {CLASSES} classes have shape {tuple(features.shape)}; expected "
            f"({ROWS}, {CLASSES}, D) or ({ROWS}, D): take the number of classes from context.num_classes"
        )
    logits = head.classifier(features)
    if logits.shape != (ROWS, CLASSES):
        raise AssertionError(
            f"logits have shape {tuple(logits.shape)}; expected ({ROWS}, {CLASSES}): let the classifier give one "
            "number for every class of context.label_names"
        )


@torch.no_grad()
def _check_predictions(make: Callable[..., Any], feature_map: Tensor) -> None:
    head, other = (make(CONTEXT).eval() for _ in range(2))
    predictions = _predict(head, feature_map)
    _assert_close(_predict(head, feature_map), predictions, "in eval mode the same map has other predictions", CHANCE)
    what = "predictions for an image depend on the others"
    _assert_close(_predict(head, feature_map[:1]), predictions[:1], what, ALONE)
    other.load_state_dict(head.state_dict())
    _assert_close(_predict(other, feature_map), predictions, "a saved state gives other predictions", STATE)


def _check_gradients(head: Any, feature_map: Tensor) -> None:
    leaf = feature_map.clone().requires_grad_()
    _predict(head, leaf).square().sum().backward()  # type: ignore[no-untyped-call]
    trained = {name: parameter for name, parameter in head.named_parameters() if parameter.requires_grad}
    if without := [name for name, parameter in trained.items() if parameter.grad is None]:
        raise AssertionError(
            f"no gradient reaches {', '.join(without)}: use it in features() or the classifier, without .detach(), or "
            "set requires_grad=False"
        )
    if leaf.grad is None or not bool(leaf.grad.any()):
        raise AssertionError(
            "no gradient reaches the feature map, so the backbone would not train: use it without .detach()"
        )


@torch.no_grad()
def _check_class_weights(head: Any, feature_map: Tensor) -> None:
    if not hasattr(head.classifier, "class_weights"):
        return
    features = head.features(feature_map)
    weight, bias = head.classifier.class_weights()
    if weight.shape != (CLASSES, features.shape[-1]) or bias.shape != (CLASSES,):
        raise AssertionError(
            f"class_weights() have shapes {tuple(weight.shape)} and {tuple(bias.shape)}; expected "
            f"({CLASSES}, {features.shape[-1]}) and ({CLASSES},): one weight vector and one bias per class"
        )
    linear = PerClassLinear(weight, bias)(features)
    remedy = "return the weight and bias that it uses, or leave class_weights() out of a classifier that is not linear"
    _assert_close(linear, head.classifier(features), "class_weights() are not what the classifier does", remedy)


def _check_class_dims(head: Any) -> None:
    state: Mapping[str, Tensor] = head.state_dict()
    for name, dims in head.class_dims.items():
        if name not in state:
            raise AssertionError(f"class_dims names '{name}', which is not in the head's state: {suggest(name, state)}")
        if any(state[name].shape[dim] != CLASSES for dim in dims):
            raise AssertionError(
                f"class_dims of '{name}', {dims}, are not dimensions of {CLASSES} classes: "
                f"its shape is {tuple(state[name].shape)}; name those that have an entry per class"
            )


@torch.no_grad()
def _check_model(make: Callable[..., Any], images: int) -> None:
    torch.manual_seed(0)
    head = make(CONTEXT._replace(images_per_row=images))
    model = Stage1Model(nn.Conv2d(1, WIDTH, 3), head, [0.5], [0.5], images_per_row=images).eval()
    pixels = torch.randint(0, 256, (2, images, 8, 8), dtype=torch.uint8)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(pixels)
    except RuntimeError as error:
        raise AssertionError(
            f"the model fails with {images} images per row: {first_line(error)}. Features of several images stand side "
            "by side: let the classifier take context.images_per_row times the width of one"
        ) from error
    if output.logits.dtype != torch.float32:
        raise AssertionError(
            f"under autocast logits are {output.logits.dtype}, not float32: cast nothing to half precision in the "
            "classifier"
        )
    what, remedy = "logits are not those of the features", "let the classifier depend on nothing but the features"
    _assert_close(model.classifier(output.features.float()), output.logits, what, remedy)
