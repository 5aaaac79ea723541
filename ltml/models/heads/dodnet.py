"""DoDNet (Zhang et al., CVPR 2021) for classification: a controller generates the classifier of one class at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltml.models.context import HeadContext
from ltml.models.heads.head import Head
from ltml.registry import HEADS


class DynamicClassifier(nn.Module):
    """``a_c = ⟨ω_c, f(x)⟩ + β_c`` with ``(ω_c, β_c) = φ([f(x), e_c])``, ``e_c`` one-hot and ``φ`` one linear map.

    The weights depend on the image, so the logit is quadratic in the feature and there is no ``class_weights()``.
    Stage 2 trains the controller on virtual features (a class's virtual feature counts for that class only) or on real
    ones, and refuses what needs a linear classifier (the expected solver, ``bias_shift``,
    ``restore_prior``).
    """

    codes: Tensor

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.eye(num_classes), persistent=False)
        self.controller = nn.Linear(width + num_classes, width + 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(B, C)`` of shared features ``(B, D)``, by one pass of the controller per class."""
        return torch.stack([self._score(features, code) for code in self.codes], dim=1)

    def _score(self, features: Tensor, code: Tensor) -> Tensor:
        """Return logits ``(B,)`` for the class of a one-hot `code`."""
        question = torch.cat([features, code.expand(len(features), -1)], dim=1)
        generated: Tensor = self.controller(question)
        return (generated[:, :-1] * features).sum(dim=1) + generated[:, -1]


@HEADS.register("dodnet")
class DodnetHead(Head):
    """Global average pooling and DoDNet's controller, which generates the classifier of one class at a time.

    DoDNet segments: its controller, one convolution, makes the last layers of a decoder. Label-Assemble and
    Data-Assemble compare with "its controller" for classification and say that a fixed one-hot code, concatenated with
    the image's feature, makes the parameters of the classification head, for one class at a time. As read here, the
    controller is one linear map from ``D + C`` to the ``D`` weights and the bias of a linear classifier. The sizes
    printed in Data-Assemble (section 5) agree: on DenseNet-121 with 20 classes (the union of ChestX-ray14 and
    CheXpert) this head makes 8.02 million parameters in all, and `label_adapter` 6.98. Backbone and pooling are shared
    by all classes here; the time printed there for an epoch (150 minutes against 16) suggests that they were computed
    again for each class.

    Args:
        context: the backbone's width and the labels.
    """

    def __init__(self, context: HeadContext) -> None:
        super().__init__()
        self.classifier = DynamicClassifier(context.num_classes, context.images_per_row * context.width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Return the shared feature ``(B, D)`` of a map ``(B, D, H, W)``."""
        return feature_map.mean(dim=(2, 3))
