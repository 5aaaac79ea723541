"""What a head knows when it is built."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HeadFacts(NamedTuple):
    """What every head may ask for.

    Attributes:
        width: channels ``D0`` of the backbone's map.
        label_names: the ``C`` labels.
        words: embeddings ``(M, D')`` of the words in the class prompts; None without prompts.
        images_per_row: images whose features stand side by side before the classifier.
    """

    width: int
    label_names: tuple[str, ...]
    words: Tensor | None = None
    images_per_row: int = 1

    @property
    def num_classes(self) -> int:
        """``C``."""
        return len(self.label_names)
