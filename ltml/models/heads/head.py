"""The base class of heads."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor, nn


class Head(nn.Module):
    """A head, built from a `HeadContext`, and its hooks with their defaults.

    Attributes:
        classifier: module from features to logits ``(B, C)``; one that is linear in each class has ``class_weights()``.
        class_dims: dimensions that are classes, by name of a tensor in the head's state. A head that names them can be
            extended by new classes without a change of the predictions of the old ones.
        text_modes: values of ``text.mode`` whose word embeddings the head reads. It keeps them in a buffer ``words`` of
            its own or of its classifier.
        reads_pairs: whether the head reads the co-occurrence of the training labels.
    """

    classifier: nn.Module
    class_dims: ClassVar[Mapping[str, tuple[int, ...]]] = MappingProxyType({})
    text_modes: ClassVar[tuple[str, ...]] = ()
    reads_pairs: ClassVar[bool] = False

    def features(self, feature_map: Tensor) -> Tensor:
        """Return class-aware ``(B, C, D)`` or shared ``(B, D)`` features of a map ``(B, D0, H, W)``."""
        raise NotImplementedError(f"{type(self).__name__} must define features(feature_map)")
