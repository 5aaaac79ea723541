"""What draws the samples of stage 2."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Sampler(Protocol):
    """A source of samples for the classifier.

    A sampler keeps no state between draws: the generator alone decides what is drawn, so that a run that was cut off
    resumes with the same samples.
    """

    @property
    def is_shared(self) -> bool:
        """Whether the features fitted were shared by all classes, ``(N, D)``."""
        ...

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Any, Any]:
        """Draw from a CPU generator.

        Returns:
            Features float32 ``(n, C, D)`` and targets float32 ``(n, C)`` in [0, 1], NaN where unknown.
        """
        ...


def per_class(features: npt.NDArray[Any], rows: npt.NDArray[np.int64], classes: int) -> Tensor:
    """Return features of rows, float32 ``(n, C, D)``; a shared one is repeated for every class."""
    chosen = torch.from_numpy(np.asarray(features[rows], dtype=np.float32))
    return chosen if chosen.ndim == 3 else chosen[:, None].expand(-1, classes, -1)
