"""Functions of the front door that no room has in this form: components by name, splits and intervals of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import filter as matching
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

    from ltml.models.model import Stage1Model


def create_loss(name: str, **options: Any) -> nn.Module:
    """Return a loss by name, a module called as ``loss(logits, targets, known=None)``.

    It refuses targets outside [0, 1] where they are known, NaN, and shapes other than ``(B, C)`` by an `InputError`.

    Args:
        name: one of `list_losses`.
        **options: its options, e.g. ``reduction="sum"``; and for a loss that needs them ``class_counts``, the known
            positives per class, and ``num_samples``, the known entries per class or one number for all.

    Raises:
        InputError: an unknown loss, option or value, or missing counts.
    """
    from ltml.losses.masking import guard
    from ltml.registry import LOSSES, create

    loss: nn.Module = create(LOSSES, name, options)
    is_own = LOSSES.origin(name).startswith("ltml.losses.")  # these check in `prepare`
    return loss if is_own else guard(loss)


def create_head(
    name: str, in_channels: int, label_names: Sequence[str], *, words: Tensor | None = None, **options: Any
) -> Any:
    """Return a head by name: ``head.features(feature_map)`` and ``head.classifier(features)``.

    Args:
        name: one of `list_heads`.
        in_channels: channels ``D0`` of the backbone's feature map ``(B, D0, H, W)``.
        label_names: names of the ``C`` classes.
        words: embeddings ``(M, D')`` of the words in the class prompts, for heads that read prompts; None without.
        **options: the head's options in a recipe, e.g. ``depth=2``.

    Returns:
        A module; features are ``(B, C, D)``, or ``(B, D)`` shared by all classes, and logits ``(B, C)``.

    Raises:
        InputError: an unknown head, option or value.
    """
    from ltml.models.context import HeadContext
    from ltml.registry import HEADS, create

    return create(HEADS, name, options, {HEADS.needs(name)[0]: HeadContext(in_channels, tuple(label_names), words)})


def create_model(
    backbone: str,
    head: str,
    label_names: Sequence[str],
    *,
    image_size: int = 224,
    channels: int = 3,
    pretrained: bool = False,
    words: Tensor | None = None,
    **options: Any,
) -> Stage1Model:
    """Return a model of images to features and logits: normalisation, backbone and head.

    Args:
        backbone: one of `list_backbones`.
        head: one of `list_heads`.
        label_names: names of the ``C`` classes.
        image_size: height and width of the images in pixels.
        channels: channels of the images, 1 or 3.
        pretrained: load the backbone's pretrained weights, from the hub's cache or the network.
        words: embeddings ``(M, D')`` of the words in the class prompts, for heads that read prompts; None without.
        **options: the head's options in a recipe.

    Returns:
        A module; of uint8 images ``(B, channels, image_size, image_size)`` it returns a `ModelOutput` with ``features``
        and ``logits`` ``(B, C)``.

    Raises:
        InputError: an unknown backbone, head, option or value, or weights that cannot be had.
    """
    from ltml.models.backbones import Backbone, check_backbone_name, normalization
    from ltml.models.model import Stage1Model

    check_backbone_name(backbone)
    net = Backbone(backbone, image_size=image_size, channels=channels, pretrained=pretrained)
    mean, std = normalization(backbone, channels)
    return Stage1Model(net, create_head(head, net.width, label_names, words=words, **options), mean, std)


def split(
    groups: Sequence[Any],
    targets: npt.ArrayLike | None = None,
    *,
    ratio: tuple[int, int, int] = (7, 1, 2),
    seed: int = 0,
) -> dict[str, npt.NDArray[np.integer[Any]]]:
    """Divide rows into train, val and test so that no group, such as a patient, is in two of them.

    Args:
        groups: group of each row, ``(N,)``; row numbers where every row stands alone.
        targets: ``(N, C)`` of 0, 1, NaN where unknown; if given, the positives of every class are spread as well,
            rare classes first (Sechidis et al., 2011, iterative stratification, with a group in place of a sample).
        ratio: shares of train, val and test, whole numbers above 0.
        seed: seed of the split.

    Returns:
        Sorted row numbers by split.

    Raises:
        InputError: fewer groups than splits, a ratio that is not allowed, or targets of another length or value.
    """
    import numpy as np

    from ltml.data.splits import split_by_group
    from ltml.errors import InputError
    from ltml.metrics.inputs import read_targets

    if len(ratio) != 3 or any(not isinstance(share, int) or share < 1 for share in ratio):
        raise InputError(f"Expected ratio as three whole numbers above 0, train : val : test, but got {ratio}.")
    codes = None
    if targets is not None:
        labels = read_targets(targets, dimensions=2)
        if len(labels) != len(groups):
            raise InputError(f"Expected one row of targets per group entry ({len(groups)}) but got {len(labels)}.")
        codes = np.where(np.isnan(labels), -1, labels).astype(np.int8)
    return split_by_group([str(group) for group in groups], ratio, seed, codes)


def bootstrap(
    probs: npt.ArrayLike,
    targets: npt.ArrayLike,
    groups: Sequence[Any] | None = None,
    *,
    label_names: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return 95 % intervals of AUROC and AP per class and of their macro means, by resampling groups.

    Args:
        probs: ``(N, C)``, higher means present.
        targets: ``(N, C)`` of 0, 1, NaN where unknown.
        groups: patient of each row, ``(N,)``; None resamples rows.
        label_names: names of the ``C`` classes; by default their numbers.
        resamples: number of resamples.
        seed: seed of the resamples; the same seed gives every model the same resamples.

    Returns:
        As `ltml.metrics.bootstrap.describe_intervals` says: ``macro`` and ``per_class`` hold ``[low, high]`` by
        measure, or None and a ``reason``.

    Raises:
        InputError: fewer than two groups or no resample; shapes do not fit or a value is not allowed.
    """
    import numpy as np

    from ltml.metrics.bootstrap import bootstrap_scores, describe_intervals

    scores = np.asarray(probs, dtype=np.float64)
    patients = [str(i) for i in range(len(scores))] if groups is None else [str(group) for group in groups]
    resampled = bootstrap_scores(probs, targets, patients, resamples=resamples, seed=seed)
    names = [str(c) for c in range(scores.shape[1])] if label_names is None else list(label_names)
    return describe_intervals(resampled, targets, patients, names, probs=probs)


def list_losses(pattern: str = "*") -> list[str]:
    """Return the names of the losses that match a wildcard."""
    from ltml.registry import LOSSES

    return LOSSES.names(pattern)


def list_heads(pattern: str = "*") -> list[str]:
    """Return the names of the heads that match a wildcard."""
    from ltml.registry import HEADS

    return HEADS.names(pattern)


def list_objectives(pattern: str = "*") -> list[str]:
    """Return the names of the terms of training objectives that match a wildcard."""
    from ltml.registry import OBJECTIVES

    return OBJECTIVES.names(pattern)


def list_rebalancing(pattern: str = "*") -> list[str]:
    """Return the names of the stage-2 methods that match a wildcard."""
    from ltml.registry import REBALANCING

    return REBALANCING.names(pattern)


def list_measures(pattern: str = "*") -> list[str]:
    """Return the names of the measures that match a wildcard."""
    from ltml.registry import MEASURES

    return MEASURES.names(pattern)


def list_datasets(pattern: str = "*") -> list[str]:
    """Return the names of the datasets that match a wildcard."""
    from ltml.registry import DATASETS

    return DATASETS.names(pattern)


def list_backbones(pattern: str = "*") -> list[str]:
    """Return the names of timm's models that match a wildcard."""
    from ltml.models.backbones import list_backbones as names

    return names(pattern)


def list_encoders(pattern: str = "*") -> list[str]:
    """Return the names of the text encoders that match a wildcard."""
    from ltml.models.text import ENCODERS

    return sorted(matching(ENCODERS, pattern))


def list_methods(pattern: str = "*") -> list[str]:
    """Return the names of the method presets that match a wildcard."""
    from ltml.recipe.catalog import method_names

    return sorted(matching(method_names(), pattern))


def list_recipes(pattern: str = "*") -> list[str]:
    """Return the names of the shipped recipes that match a wildcard."""
    from ltml.recipe.catalog import recipe_names

    return sorted(matching(recipe_names(), pattern))


def list_experiments(pattern: str = "*") -> list[str]:
    """Return the names of the shipped experiments that match a wildcard."""
    from ltml.recipe.catalog import experiment_names

    return sorted(matching(experiment_names(), pattern))
