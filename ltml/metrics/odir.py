"""The official score of the ODIR-5K challenge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ltml.metrics.class_inputs import read_threshold
from ltml.metrics.inputs import read_table
from ltml.metrics.ranking import auroc
from ltml.metrics.threshold import accuracy, count_outcomes, kappa


def odir_score(probs: npt.ArrayLike, targets: npt.ArrayLike, threshold: npt.ArrayLike = 0.5) -> dict[str, float]:
    """Return kappa, F1, AUC and their mean over all entries of all classes taken as one list.

    The official F1 is micro-averaged over both outcomes, which makes it **equal to plain accuracy**: it is high on
    rare findings whatever a method does, so read it beside the macro F1.

    Args:
        probs: ``(N, C)`` in [0, 1].
        targets: ``(N, C)`` of 0, 1, or NaN for unknown (left out; the official data have none).
        threshold: of kappa and F1, one or one per class; the official one is 0.5.

    Returns:
        ``kappa``, ``f1``, ``auc`` and ``final = (kappa + f1 + auc) / 3``; NaN where undefined.

    Raises:
        ArrayError: shapes do not fit, or a value is not allowed.
    """
    read = read_table(probs, targets)
    predictions = read.scores >= np.asarray(read_threshold(threshold, read.label_names))
    labels = read.targets.ravel()
    counts = count_outcomes(predictions.ravel(), labels)
    parts = {"kappa": kappa(counts), "f1": accuracy(counts), "auc": auroc(read.scores.ravel(), labels)}
    return parts | {"final": sum(parts.values()) / 3}
