"""Tau-normalisation of the classifier (Kang et al., ICLR 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from ltml.models.classifier import PerClassLinear
from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.shift import LabelShift
from ltml.registry import REBALANCING


@REBALANCING.register("tau_norm")
class TauNormalization(Rebalancing):
    """Divide each weight vector by a power of its norm, ``w_c / |w_c|^tau`` (Kang et al., ICLR 2020).

    The paper's softmax compares classes, so norms decide between them. A sigmoid per class keeps its ranking; what
    changes is where it stands to the threshold. The bias, which the paper drops, stays: without it no class would know
    how rare it is.
    """

    moves = "nothing"
    needs_linear = True
    former_keys: ClassVar[Mapping[str, str]] = {"tau": "tau"}

    def __init__(
        self, *, tau: Annotated[float, Field(ge=0, description="exponent of each weight vector's norm")] = 1.0
    ) -> None:
        self.tau = tau

    def adjust(self, classifier: nn.Module, shift: LabelShift) -> None:
        """Scale every weight vector; biases and prior stay."""
        del shift
        assert isinstance(classifier, PerClassLinear)
        with torch.no_grad():
            norms = classifier.weight.double().norm(dim=1, keepdim=True).clamp(min=1e-12)
            classifier.weight.copy_(classifier.weight.double() / norms**self.tau)
