"""A head per source on one backbone: the multi-network comparison with partial labels (Med3D, Chen et al., 2019)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ltml.errors import InputError, first_few
from ltml.models.classifier import PerClassLinear
from ltml.models.context import HeadContext
from ltml.models.heads.head import Head
from ltml.registry import HEADS


@HEADS.register("multi_task")
class MultiTaskHead(Head):
    """Global average pooling, a hidden layer per source, and a linear classifier per class on its source's layer.

    Med3D trains one encoder for all datasets and a decoder for each, so a label of two sources is two classes:
    ``data.separate=true`` names them ``source: label``, and the head reads from that name which layer a class uses.
    Med3D segments and has no head for whole images; one hidden layer with ReLU replaces its decoder.

    Args:
        context: the backbone's width and the labels.
        width: number of units in each source's hidden layer.

    Raises:
        InputError: a label's name has no source.
    """

    source_of_class: Tensor

    def __init__(
        self,
        context: HeadContext,
        *,
        width: Annotated[int, Field(gt=0, description="of a source's hidden layer")] = 128,
    ) -> None:
        super().__init__()
        if shared := [name for name in context.label_names if ": " not in name]:
            raise InputError(
                f"head.type=multi_task needs a source for every label and '{first_few(shared, most=3)}' has none: use "
                "data.type=union with data.separate=true"
            )
        source_of = [name.split(": ")[0] for name in context.label_names]
        sources = list(dict.fromkeys(source_of))
        self.shape = (len(sources), width)
        numbers = torch.tensor([sources.index(source) for source in source_of])
        self.register_buffer("source_of_class", numbers, persistent=False)
        self.hidden = nn.Linear(context.width, len(sources) * width)  # the layers stacked
        self.classifier = PerClassLinear.initialised(context.num_classes, context.images_per_row * width)

    def features(self, feature_map: Tensor) -> Tensor:
        """Return class-aware features ``(B, C, width)``, equal within a source, of a map ``(B, D0, H, W)``."""
        hidden: Tensor = self.hidden(feature_map.mean(dim=(2, 3))).relu().reshape(-1, *self.shape)
        return hidden[:, self.source_of_class]
