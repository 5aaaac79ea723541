"""Measure how similar a run's classes are, by learned queries and by mean features (Label- and Data-Assemble)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import pearsonr
from scipy.stats import t as student
from torch import Tensor

from ltml.arrays import Float64Array, FloatArray
from ltml.errors import InputError
from ltml.recipe.schema import Recipe
from ltml.registry import REBALANCING
from ltml.stages.features import has_features, load_features
from ltml.stages.run_directory import RunDirectory, read_run, read_train_counts
from ltml.training.checkpoint import load_weights

QUERIES = ("head.classifier.queries", "head.label_embedding")
"""Names in a checkpoint of the class queries of ``label_adapter``, and of ``prompt_query`` and ``query2label``."""
PART_BYTES = 64 << 20
"""Number of bytes of features that are summed at a time."""


def describe_relations(run_dir: str | Path, stage: int = 1) -> dict[str, Any]:
    """Return cosine similarities of a run's classes and their hierarchical clustering, ready for `json.dumps`.

    ``queries`` compares the learned class queries (Label-Assemble, ISBI 2023, footnote 1): the rows of ``q (C, C)`` of
    ``label_adapter``, the label embeddings ``L (C, D)`` of ``prompt_query`` without the indicator that all labels
    share, or those of ``query2label``. ``features`` compares `mean_features` over the training features that stage 1
    stored (Data-Assemble, section 5). Every class that has a vector other than zero takes part in the clustering.

    Args:
        run_dir: folder of the run.
        stage: stage of the queries, 1 or 2; ``features`` is None for 2, because only stage 1 stores features.

    Returns:
        ``{"stage", "head", "labels": [{"label", "n_pos"}], "queries", "features", "absent"}``. ``n_pos`` counts known
        training positives. The kinds ``queries`` and ``features`` are None where ``absent`` has the reason under
        their name, and otherwise ``{"similarity", "clustering", "undefined"}``: a ``C × C`` list, None where
        undefined; see `cluster`; and the ``{"label", "reason"}`` of each class without a similarity.

    Raises:
        InputError: the folder holds no run, the stage is not finished, or the run has neither queries nor features.
    """
    run, recipe = read_run(Path(run_dir))
    weights, names = _load_checkpoint(run, stage)
    positives = read_train_counts(run).positives
    queries, features, absent = _queries_of(weights), None, {}
    if queries is None:
        absent["queries"] = f"stage {stage} of a run with head.type={recipe.head.type} keeps no class queries"
    if reason := _why_no_features(run, recipe, stage):
        absent["features"] = reason
    else:
        store = load_features(run.features, "train")
        features = mean_features(store.features, store.masked_targets())
    if queries is None and features is None:
        raise InputError(f"{run_dir} has nothing to compare classes by: {'; '.join(absent.values())}")
    return {
        "stage": stage,
        "head": recipe.head.type,
        "labels": [{"label": name, "n_pos": positives[name]} for name in names],
        "queries": _relate(queries, names, dict.fromkeys(names, "its query is zero")),
        "features": _relate(features, names, _reasons(positives)),
        "absent": absent,
    }


def cosine_similarities(vectors: FloatArray) -> Float64Array:
    """Return the cosine of the angle between every two rows.

    Args:
        vectors: ``(C, D)``.

    Returns:
        ``(C, C)``, symmetric, in [-1, 1]; NaN beside a row that is zero or not finite.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    directions = vectors / np.where((lengths > 0) & np.isfinite(lengths), lengths, np.nan)
    similarity: Float64Array = np.clip(directions @ directions.T, -1, 1)
    np.fill_diagonal(similarity, np.where(np.isnan(similarity.diagonal()), np.nan, 1))
    return (similarity + similarity.T) / 2


def mean_features(features: FloatArray, targets: FloatArray) -> Float64Array:
    """Return the mean feature of each class over its known positives, after subtracting the global mean.

    The paper shifts "the origin point of the feature space to the mean vector of all features" (Data-Assemble, section
    5), and its feature is shared by the classes. The mean of all samples is close to the frequent classes, which would
    make rare classes similar merely because they are rare; so the global mean is the mean of the classes' means.
    Class-aware features have no common origin: each class reads the image through its own query, whose offset would
    outweigh the content of the image. So the mean of each class's own features over its known samples is subtracted;
    the difference is the effect of the presence of the class. Its frequency changes the length of the difference, not
    the direction.

    Args:
        features: shared ``(N, D)`` or class-aware ``(N, C, D)``; may be memory-mapped.
        targets: ``(N, C)``: 0, 1, or NaN where unknown.

    Returns:
        ``(C, D)``; a row of NaN for a class without known positives, or with nothing but known positives.
    """
    positive = targets == 1
    counted = np.ones_like(positive) if features.ndim == 2 else ~np.isnan(targets)
    means = _means(features, positive)
    means[positive.sum(axis=0) == counted.sum(axis=0)] = np.nan
    if features.ndim == 3:
        return means - _means(features, counted)
    defined = ~np.isnan(means).any(axis=1)
    return means - means[defined].mean(axis=0) if defined.any() else means


def cluster(similarity: Float64Array, names: Sequence[str]) -> dict[str, Any] | None:
    """Cluster the classes with a defined similarity hierarchically, by average linkage on ``1 − similarity``.

    Args:
        similarity: ``(C, C)`` as from `cosine_similarities`.
        names: the ``C`` labels.

    Returns:
        ``{"labels", "order", "merges"}``: the clustered labels; the same in the order of the dendrogram's leaves; and
        ``[left, right, distance, size]`` per merge as in scipy's linkage matrix, where a number below ``len(labels)``
        is a label and ``len(labels) + i`` is the i-th merge. None with fewer than two such labels.
    """
    defined = np.flatnonzero(~np.isnan(similarity.diagonal())).tolist()
    if len(defined) < 2:
        return None
    distances = 1 - similarity[np.ix_(defined, defined)]
    merges = linkage(squareform(distances, checks=False), method="average")
    labels = [names[c] for c in defined]
    return {
        "labels": labels,
        "order": [labels[c] for c in leaves_list(merges)],
        "merges": [[int(left), int(right), float(distance), int(size)] for left, right, distance, size in merges],
    }


def similarity_gain_correlation(similarity: npt.ArrayLike, gains: npt.ArrayLike) -> tuple[float, float]:
    """Return Pearson's r between similarity to added classes and the gain from adding them (Label-Assemble, fig. 1C).

    Args:
        similarity: similarity of the class of interest to each added class; any shape.
        gains: gain from adding each class, in the same shape. Pairs with a NaN are left out.

    Returns:
        r and its two-sided p; both NaN with fewer than three pairs or if one side is constant.

    Raises:
        InputError: the shapes differ.
    """
    pairs = [np.asarray(values, dtype=np.float64) for values in (similarity, gains)]
    if pairs[0].shape != pairs[1].shape:
        raise InputError(
            f"Expected one gain per similarity but got {pairs[0].shape} similarities and {pairs[1].shape} gains"
        )
    complete = ~(np.isnan(pairs[0]) | np.isnan(pairs[1]))
    x, y = (values[complete] for values in pairs)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan")
    result = pearsonr(x, y)
    return float(result.statistic), float(result.pvalue)


def partial_correlation(similarity: npt.ArrayLike, gains: npt.ArrayLike, counts: npt.ArrayLike) -> tuple[float, float]:
    """Return Pearson's r between similarity and gain, given the logarithm of the classes' training positives.

    A frequent class adds many images, and its vector is estimated well, so both similarity and gain may follow from its
    frequency. This is the correlation of the residuals of both after a linear regression on the log count.

    Args:
        similarity: similarity of the class of interest to each added class, ``(n,)``.
        gains: gain from adding each class, ``(n,)``.
        counts: training positives of each class, ``(n,)``. Classes with 0 positives or a NaN are left out.

    Returns:
        r and its two-sided p, from a t statistic with n − 3 degrees of freedom; both NaN with fewer than four classes
        or if the residuals of one side vanish.
    """
    x, y, n = (np.asarray(values, dtype=np.float64) for values in (similarity, gains, counts))
    complete = ~(np.isnan(x) | np.isnan(y) | ~(n > 0))
    if complete.sum() < 4:
        return float("nan"), float("nan")
    design = np.column_stack([np.ones(complete.sum()), np.log(n[complete])])
    residuals = [
        values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (x[complete], y[complete])
    ]
    spread = [np.linalg.norm(residual) for residual in residuals]
    whole = [np.linalg.norm(values[complete]) for values in (x, y)]
    if any(length <= 1e-10 * size for length, size in zip(spread, whole, strict=True)):
        return float("nan"), float("nan")
    r = float(np.clip(residuals[0] @ residuals[1] / (spread[0] * spread[1]), -1, 1))
    freedom = int(complete.sum()) - 3
    return r, float(2 * student.sf(abs(r) * np.sqrt(freedom / max(1 - r**2, 1e-300)), freedom))


def _load_checkpoint(run: RunDirectory, stage: int) -> tuple[dict[str, Tensor], list[str]]:
    """Return weights and label names after a stage."""
    if stage not in (1, 2):
        raise InputError(f"stage = {stage!r}: a run has the stages 1 and 2")
    path = run.checkpoint1 if stage == 1 else run.checkpoint2
    if not path.is_file():
        raise InputError(f"{run.path} has no finished stage {stage}: run `ltml stage{stage}` with its recipe first")
    weights, metadata = load_weights(path)
    return weights, list(metadata["label_names"])


def _queries_of(weights: Mapping[str, Tensor]) -> Float64Array | None:
    """Return the class queries ``(C, D)`` of a checkpoint; None if it has none."""
    queries = [weights[name].double().numpy() for name in QUERIES if name in weights]
    return queries[0] if queries else None


def _why_no_features(run: RunDirectory, recipe: Recipe, stage: int) -> str | None:
    """Return the reason why a run has no stored features of a stage; None if it has."""
    if stage == 2:
        return "only stage 1 stores its features"
    if run.shared.parent == run.path.resolve():
        return "the run uses feature files and keeps no copy: call ltml.stages.relations.mean_features on them"
    if has_features(run.features):
        return None
    setting = "" if recipe.stage2.enabled else f" and stage2.method=NAME (any of {', '.join(REBALANCING.names())})"
    return f"no features are stored: `ltml stage1` with the same recipe{setting} stores them without training again"


def _means(features: FloatArray, chosen: npt.NDArray[np.bool_]) -> Float64Array:
    """Return float64 means ``(C, D)`` over the chosen samples ``(N, C)`` of each class; NaN for a class without any."""
    total = np.zeros((chosen.shape[1], features.shape[-1]))
    rows = max(1, PART_BYTES // (8 * int(np.prod(features.shape[1:]))))
    for start in range(0, len(features), rows):
        part, weights = features[start : start + rows].astype(np.float64), chosen[start : start + rows].astype(float)
        total += weights.T @ part if part.ndim == 2 else np.einsum("nc,ncd->cd", weights, part)
    counts = chosen.sum(axis=0)[:, None]
    return total / np.where(counts > 0, counts, np.nan)


def _reasons(positives: Mapping[str, int]) -> dict[str, str]:
    """Return by label the reason why its mean feature would have no similarity."""
    none, same = "no known positives", "its mean feature is the global mean"
    return {name: same if count else none for name, count in positives.items()}


def _relate(vectors: Float64Array | None, names: list[str], reasons: Mapping[str, str]) -> dict[str, Any] | None:
    """Return similarities and clustering of vectors ``(C, D)``, with a reason for each class without a similarity."""
    if vectors is None:
        return None
    similarity = cosine_similarities(vectors)
    undefined = [names[c] for c in np.flatnonzero(np.isnan(similarity.diagonal()))]
    return {
        "similarity": [[None if np.isnan(value) else float(value) for value in row] for row in similarity],
        "clustering": cluster(similarity, names),
        "undefined": [{"label": name, "reason": reasons[name]} for name in undefined],
    }
