"""The model of both stages: images to features to logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ltml.models.classifier import PerClassLinear
from ltml.models.inputs import check_images
from ltml.types import ModelOutput


class Stage1Model(nn.Module):
    """Normalisation, backbone and head.

    Args:
        backbone: module from images to a feature map.
        head: module from a feature map to features and logits, see `ltml.models.heads`.
        mean: mean of each input channel, in [0, 1].
        std: standard deviation of each input channel.
        images_per_row: number of images in a row of a batch, whose features are concatenated.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, head: Any, mean: Sequence[float], std: Sequence[float], images_per_row: int = 1
    ) -> None:
        super().__init__()
        self.images_per_row = images_per_row
        self.backbone = backbone
        self.head = head
        self._channels = images_per_row * int(getattr(backbone, "channels", len(mean)))
        self._size: int | None = getattr(backbone, "fixed_size", None)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> ModelOutput:
        """Return features and logits of images ``(B, channels, H, W)``; logits in float32 under autocast too.

        Images are uint8, or other numbers from 0 to 255, and the model normalises them itself. Logits are not in half
        precision because that would make different scores equal.

        Raises:
            InputError: images of another shape or kind, such as floats in [0, 1].
        """
        feature_map = self._map(images)
        features = self._side_by_side(self.head.features(feature_map))
        with torch.autocast(images.device.type, enabled=False):
            logits = self.head.classifier(features.float())
        return ModelOutput(features, logits, self._side_by_side(feature_map.mean(dim=(2, 3))))

    def features(self, images: Tensor) -> Tensor:
        """Return class-aware ``(B, C, D)`` or shared ``(B, D)`` features of images as in `forward`.

        With `n` images per row, ``(B, n channels, H, W)`` gives ``(B, C, n D)`` or ``(B, n D)``.
        """
        return self._side_by_side(self.head.features(self._map(images)))

    def _map(self, images: Tensor) -> Tensor:
        """Return the feature map of every image; those of a row follow one another."""
        check_images(images, self._channels, self._size)
        single = torch.stack(images.chunk(self.images_per_row, dim=1), dim=1).flatten(0, 1)
        feature_map: Tensor = self.backbone(
            single.float().div_(255).sub_(self.mean).div_(self.std)  # in place: no fresh memory to fault in
        )
        return feature_map

    def _side_by_side(self, features: Tensor) -> Tensor:
        return torch.cat([features[i :: self.images_per_row] for i in range(self.images_per_row)], dim=-1)

    @property
    def classifier(self) -> nn.Module:
        """Module from features to logits."""
        classifier: nn.Module = self.head.classifier
        return classifier

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters of backbone and head without the classifier."""
        frozen = {id(parameter) for parameter in self.classifier.parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in frozen)

    def make_classifier_linear(self) -> None:
        """Replace the classifier by the same map as one weight vector and bias per class, which stage 2 refits.

        A classifier without ``class_weights()`` is not linear in that sense (an MLP, say) and stays as it is.
        """
        if hasattr(self.head.classifier, "class_weights"):
            weight, bias = self.head.classifier.class_weights()
            self.head.classifier = PerClassLinear(weight, bias).to(weight.device)
