"""The contract of stage-2 methods finds what is wrong: one deliberately bad method per check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltml.losses.bce import bce_loss
from ltml.models.classifier import PerClassLinear
from ltml.rebalancing.bias_shift import BiasShift
from ltml.rebalancing.crt import ClassifierRetraining
from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.real_resample import RealResampler
from ltml.testing import check_rebalancing


class _Changed(Rebalancing):
    """Real features drawn by the prior, with what a subclass does to a sample."""

    moves = "classifier"
    follows_prior = True

    def sampler(self, features: Any, targets: Any, shift: Any, label_names: Any = None) -> Any:
        method = self

        class Sampler(RealResampler):
            def sample(self, n: int, *, generator: torch.Generator) -> Any:
                return method.change(self, *super().sample(n, generator=generator))

        return Sampler(features, targets, shift.probabilities)

    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        return features, targets


class Good(_Changed):
    pass


class Doubled(_Changed):
    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        return features.double(), targets


class Flat(_Changed):
    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        return features[:, 0], targets


class MinusOne(_Changed):
    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        return features, targets.nan_to_num(nan=-1)


class AllNegative(_Changed):
    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        return features, targets.nan_to_num(nan=0)


class GlobalNoise(_Changed):
    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        return features + torch.rand(features.shape), targets


class Counting(_Changed):
    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        sampler.drawn = getattr(sampler, "drawn", 0) + 1
        return features + sampler.drawn, targets


class FirstDrawDiffers(_Changed):
    """A state that settles: only a new sampler shows it."""

    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        first = not hasattr(sampler, "drawn")
        sampler.drawn = True
        return (features + 1 if first else features), targets


class FavoursTheFirst(_Changed):
    follows_prior = False

    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        targets[:, 0] = torch.where(targets[:, 0].isnan(), targets[:, 0], 1.0)
        return features, targets


class NotThePrior(_Changed):
    def change(self, sampler: Any, features: Tensor, targets: Tensor) -> Any:
        return features, torch.where(targets.isnan(), targets, 1.0)


class UsesUnknown(_Changed):
    def sampler(self, features: Any, targets: Any, shift: Any, label_names: Any = None) -> Any:
        filled = np.nan_to_num(targets)
        filled[:, np.isnan(targets).all(axis=0)] = np.nan
        return RealResampler(features, filled, shift.probabilities)


class WritesFeatures(_Changed):
    def sampler(self, features: Any, targets: Any, shift: Any, label_names: Any = None) -> Any:
        features -= features.mean()
        return super().sampler(features, targets, shift)


class SaysShared(_Changed):
    def sampler(self, features: Any, targets: Any, shift: Any, label_names: Any = None) -> Any:
        sampler = super().sampler(features, targets, shift)
        type(sampler).is_shared = True
        return sampler


class AlwaysTheSame(_Changed):
    def sampler(self, features: Any, targets: Any, shift: Any, label_names: Any = None) -> Any:
        class Sampler(RealResampler):
            def sample(self, n: int, *, generator: torch.Generator) -> Any:
                return super().sample(n, generator=torch.Generator().manual_seed(0))

        return Sampler(features, targets, shift.probabilities)


class Idle(BiasShift):
    def adjust(self, classifier: nn.Module, shift: Any) -> None:
        pass


class RandomFormula(BiasShift):
    def adjust(self, classifier: Any, shift: Any) -> None:
        classifier.bias.data += torch.rand(())


class FirstClassFormula(BiasShift):
    def adjust(self, classifier: Any, shift: Any) -> None:
        classifier.bias.data[0] += 1


class NanFormula(BiasShift):
    def adjust(self, classifier: Any, shift: Any) -> None:
        classifier.bias.data += torch.from_numpy(shift.probabilities).float()


class Loss(Rebalancing):
    moves = "everything"

    def image_loss(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        return bce_loss(logits, targets)


class LossOfTheFirst(Loss):
    def image_loss(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        return bce_loss(logits[:, :1], targets[:, :1], known[:, :1])


class LossPerEntry(Loss):
    def image_loss(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        return bce_loss(logits, targets, known, reduction="none")


class OtherShape(ClassifierRetraining):
    def initial_classifier(self, classifier: Any, seed: int) -> nn.Module:
        return PerClassLinear(classifier.weight.T, classifier.weight[0])


class Unseeded(ClassifierRetraining):
    def initial_classifier(self, classifier: Any, seed: int) -> nn.Module:
        return PerClassLinear.initialised(*classifier.weight.shape)


class OneSeed(ClassifierRetraining):
    def initial_classifier(self, classifier: Any, seed: int) -> nn.Module:
        return super().initial_classifier(classifier, 0)


class InPlaceStart(ClassifierRetraining):
    def initial_classifier(self, classifier: Any, seed: int) -> nn.Module:
        classifier.weight.data.zero_()
        return classifier


def test_a_good_method_passes() -> None:
    check_rebalancing(Good)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: nn.Linear(1, 1), "Linear is no stage-2 method"),
        (Doubled, r"samples are torch.float64 and torch.float32"),
        (Flat, r"gives shapes \(1, 3\) and \(1, 4\)"),
        (MinusOne, r"targets outside \[0, 1\]"),
        (AllNegative, "a class without known labels gets labels"),
        (UsesUnknown, "use features whose label is unknown"),
        (WritesFeatures, "writes to its features or targets"),
        (SaysShared, r"is_shared is True for features \(60, 4, 3\)"),
        (GlobalNoise, "the same generator gives other samples the second time"),
        (Counting, "the same generator gives other samples the second time"),
        (FirstDrawDiffers, "a new sampler of the same features gives other samples than a used one"),
        (AlwaysTheSame, "another generator gives the same samples"),
        (FavoursTheFirst, "in another order of the classes the mean targets differ"),
        (NotThePrior, r"P\(label 1\) differs from the prior"),
        (Idle, r"adjust\(\) changes nothing"),
        (RandomFormula, r"adjust\(\) gives another result the second time"),
        (FirstClassFormula, r"in another order of the classes adjust\(\) differs"),
        (NanFormula, r"adjust\(\) leaves weights that are not finite"),
        (Loss, r"image_loss\(\) depends on unknown entries"),
        (LossOfTheFirst, r"in another order of the classes image_loss\(\) differs"),
        (LossPerEntry, r"image_loss\(\) gives no finite scalar"),
        (OtherShape, r"initial_classifier\(\) returns shapes"),
        (Unseeded, r"initial_classifier\(\) gives other weights for the same seed"),
        (OneSeed, r"initial_classifier\(\) gives the same fresh weights for another seed"),
        (InPlaceStart, r"initial_classifier\(\) changes the classifier of stage 1"),
    ],
)
def test_a_bad_method_is_found_by_what_is_wrong_with_it(bad: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        check_rebalancing(bad)
    said, remedy = str(caught.value).split(": ", maxsplit=1)
    assert len(remedy) > 20
    assert "\n" not in said + remedy


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "moves is None; set it to one of nothing, classifier, classifier_then_encoder, everything"),
        ({"moves": "weights"}, "moves is 'weights'"),
        ({"moves": "classifier", "samplr": len}, r"moves 'classifier' and must define sampler\(\)"),
        ({"moves": "nothing", "adjsut": len}, r"must define adjust\(\)"),
        ({"moves": "nothing", "adjust": len, "needs_liner": True}, "needs_liner is never read: did you mean needs_lin"),
        ({"moves": "classifier", "sampler": len, "has_limit": True}, r"must define solve\(\)"),
    ],
)
def test_a_misspelt_hook_is_an_error_where_the_class_is_defined(body: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        type("Mine", (Rebalancing,), body)
