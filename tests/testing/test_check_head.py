"""The contract of heads finds what is wrong: one deliberately bad head per check."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltml.models.classifier import PerClassLinear
from ltml.models.context import HeadContext
from ltml.models.heads.linear import LinearHead
from ltml.testing import check_head


class Good(LinearHead):
    class_dims = LinearHead.class_dims


class InPlace(LinearHead):
    def features(self, feature_map: Tensor) -> Tensor:
        return super().features(feature_map.add_(1))


class NoFeature(LinearHead):
    def features(self, feature_map: Tensor) -> Tensor:
        return feature_map


class OneMoreClass(LinearHead):
    def __init__(self, context: HeadContext) -> None:
        super().__init__(context._replace(label_names=(*context.label_names, "more")))


class Noisy(LinearHead):
    def features(self, feature_map: Tensor) -> Tensor:
        return super().features(feature_map) * torch.rand(())


class LooksAtTheBatch(LinearHead):
    def features(self, feature_map: Tensor) -> Tensor:
        features = super().features(feature_map)
        return features - features.mean(dim=0)


class Forgetful(LinearHead):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.factor = torch.rand(())

    def features(self, feature_map: Tensor) -> Tensor:
        return super().features(feature_map) * self.factor


class Unused(LinearHead):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.spare = nn.Linear(2, 2)


class CutOff(LinearHead):
    def features(self, feature_map: Tensor) -> Tensor:
        return super().features(feature_map.detach())


class Bent(nn.Module):
    def __init__(self, num_classes: int, width: int, *, transposed: bool) -> None:
        super().__init__()
        self.linear, self.transposed = PerClassLinear.initialised(num_classes, width), transposed

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features)
        return logits if self.transposed else logits + 0.1 * logits**2

    def class_weights(self) -> tuple[Tensor, Tensor]:
        weight, bias = self.linear.class_weights()
        return (weight.T, bias) if self.transposed else (weight, bias)


class BentHead(LinearHead):
    class_dims: dict[str, tuple[int, ...]] = {}  # noqa: RUF012
    transposed = False

    def __init__(self, context: HeadContext) -> None:
        super().__init__(context)
        self.classifier = Bent(context.num_classes, context.images_per_row * context.width, transposed=self.transposed)


class TransposedHead(BentHead):
    transposed = True


class WrongName(LinearHead):
    class_dims = {"weight": (0,)}  # noqa: RUF012


class WrongDim(LinearHead):
    class_dims = {"classifier.weight": (0, 1)}  # noqa: RUF012


class OneImage(LinearHead):
    def __init__(self, context: HeadContext) -> None:
        super().__init__(context._replace(images_per_row=1))


class HalfClassifier(nn.Linear):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).bfloat16()


class HalfHead(LinearHead):
    class_dims: dict[str, tuple[int, ...]] = {}  # noqa: RUF012

    def __init__(self, context: HeadContext) -> None:
        super().__init__(context)
        self.classifier = HalfClassifier(context.images_per_row * context.width, context.num_classes)


def test_a_good_head_passes() -> None:
    check_head(Good)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (InPlace, "changes its feature map in place"),
        (NoFeature, r"have shape \(3, 6, 2, 2\); expected \(3, 4, D\) or \(3, D\)"),
        (OneMoreClass, r"logits have shape \(3, 5\); expected \(3, 4\)"),
        (Noisy, "in eval mode the same map has other predictions"),
        (LooksAtTheBatch, "predictions for an image depend on the others"),
        (Forgetful, "a saved state gives other predictions"),
        (Unused, r"no gradient reaches spare.weight, spare.bias"),
        (CutOff, "no gradient reaches the feature map"),
        (TransposedHead, r"class_weights\(\) have shapes \(6, 4\)"),
        (BentHead, r"class_weights\(\) are not what the classifier does"),
        (WrongName, "class_dims names 'weight'"),
        (WrongDim, r"class_dims of 'classifier.weight', \(0, 1\)"),
        (OneImage, "2 images per row"),
        (HalfHead, "under autocast logits are torch.bfloat16"),
    ],
)
def test_a_bad_head_is_found_by_what_is_wrong_with_it(bad: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        check_head(bad)
    said, remedy = str(caught.value).split(": ", maxsplit=1)
    assert len(remedy) > 20
    assert "\n" not in said + remedy
