"""Virtual features of two Gaussians per class (LDRNet, MM 2024, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from ltml.gaussians.expected import fit_expected
from ltml.gaussians.resampler import GaussianResampler
from ltml.models.classifier import PerClassLinear
from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.shift import LabelShift
from ltml.registry import REBALANCING


@REBALANCING.register("gaussian")
class GaussianRebalancing(Rebalancing):
    """Virtual features of two Gaussians per class, rare classes favoured (LDRNet, eqs. 9-14)."""

    moves = "classifier_then_encoder"
    follows_prior = True
    has_limit = True
    former_keys: ClassVar[Mapping[str, str]] = {"covariance": "covariance", "borrow": "borrow"}

    def __init__(
        self,
        *,
        covariance: Annotated[
            Literal["full", "diagonal", "ledoit_wolf", "oas"] | Annotated[float, Field(ge=0, le=1)],
            Field(description="estimator of both covariances; a number: the share of a multiple of the identity"),
        ] = "full",
        borrow: Annotated[
            Literal["head"] | Annotated[int, Field(gt=0)] | None,
            Field(description="classes whose covariance small groups mix in: head, or so many nearest larger ones"),
        ] = None,
    ) -> None:
        self.covariance = covariance
        self.borrow = borrow

    def sampler(
        self,
        features: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        shift: LabelShift,
        label_names: Sequence[str] | None = None,
    ) -> GaussianResampler:
        """Fit the label-0 and label-1 Gaussians of every class (eqs. 9-10)."""
        resampler = GaussianResampler(
            covariance=self.covariance,
            borrow=self.borrow,
            prior=shift.prior,
            alpha=shift.alpha,
            eps=shift.epsilon,
        )
        return resampler.fit(features, targets, label_names=label_names, warn=label_names is not None)

    def solve(
        self,
        sampler: GaussianResampler,
        classifier: PerClassLinear,
        *,
        l2: float,
        loss: Callable[[Tensor, Tensor], Tensor] | None,
    ) -> dict[str, Any]:
        """Fit the classifier to infinitely many virtual samples; classes without both labels keep what they had.

        Returns:
            For the log: mean loss, classes fitted, how many of them converged, most iterations.
        """
        result = fit_expected(sampler.gaussians_, torch.from_numpy(sampler.probabilities_), l2=l2, loss=loss)
        fitted = result.fitted
        with torch.no_grad():
            device = classifier.weight.device
            classifier.weight[fitted.to(device)] = result.weight[fitted].to(classifier.weight)
            classifier.bias[fitted.to(device)] = result.bias[fitted].to(classifier.bias)
        return {
            "loss": float(result.loss[fitted].mean()),
            "fitted": int(fitted.sum()),
            "converged": int(result.converged[fitted].sum()),
            "iterations": int(result.iterations[fitted].max()),
        }
