"""Fit two Gaussians per class (label absent, label present) and draw virtual features with rare classes favoured."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltml.gaussians.probabilities import label_probabilities
from ltml.gaussians.statistics import Gaussian, fit_diagonal, fit_full

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Self = TypeVar("Self", bound="GaussianResampler")


class GaussianResampler:
    """Label-0 and label-1 Gaussians per class, sampled class by class (LDRNet, MM 2024, eqs. 9-14).

    Each virtual sample draws every class's label on its own with ``probabilities_`` and then that class's feature from
    the label's Gaussian. A class with fewer samples than dimensions has a singular covariance; sampling is exact for
    it. One sample is a point mass; none means that (class, label) is never drawn.

    Args:
        covariance: ``full`` or ``diagonal``.
        prior: P(label 1) per class; see `ltml.gaussians.probabilities.label_probabilities`.
        alpha: exponent of ``prior="eq12"``.
        eps: added to each frequency in ``prior="eq12"``.

    Attributes:
        gaussians_: ``[(label-0, label-1), …]`` per class; None where there was no sample.
        counts_: int64 ``(C, 2)`` samples per class and label.
        probabilities_: float64 ``(C,)`` P(label 1).
        n_features_in_: ``D``.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> features, targets = rng.normal(size=(100, 2, 4)), rng.integers(0, 2, size=(100, 2))
        >>> virtual, labels = GaussianResampler().fit(features, targets).sample(10, seed=0)
        >>> virtual.shape, labels.shape
        ((10, 2, 4), (10, 2))
    """

    def __init__(
        self,
        *,
        covariance: Literal["full", "diagonal"] = "full",
        prior: str | Sequence[float] = "eq12",
        alpha: float = 0.9,
        eps: float = 1e-9,
    ) -> None:
        self.covariance = covariance
        self.prior = prior
        self.alpha = alpha
        self.eps = eps

    def fit(
        self: Self,
        features: Array | Tensor,
        targets: Array | Tensor,
        *,
        label_names: Sequence[str] | None = None,
        warn: bool = True,
    ) -> Self:
        """Fit the Gaussians.

        Args:
            features: ``(N, C, D)`` class-aware, or ``(N, D)`` shared by all classes; memory maps are read class by
                class.
            targets: ``(N, C)`` of 0, 1, or NaN for unknown; unknown entries have no influence.
            label_names: what warnings call the ``C`` classes; their numbers by default.
            warn: log a warning for each (class, label) of fewer than two samples.

        Raises:
            ValueError: shapes do not fit, a label has another value, or a used feature is not finite.
        """
        if self.covariance not in ("full", "diagonal"):
            raise ValueError(f"Expected covariance 'full' or 'diagonal' but got '{self.covariance}'.")
        labels = _check_targets(features, targets)
        fit_one = fit_full if self.covariance == "full" else fit_diagonal
        self._as_numpy = not isinstance(features, Tensor)
        self.n_features_in_ = int(features.shape[-1])
        self.gaussians_ = [
            tuple(fit_one(rows) if len(rows) else None for rows in pair) for pair in _rows_by_label(features, labels)
        ]
        self._set_probabilities()
        if warn:
            self._warn_of_small_groups(label_names or range(len(self.gaussians_)))
        return self

    def sample(self, n: int, seed: int | None = None, *, generator: torch.Generator | None = None) -> tuple[Any, Any]:
        """Draw virtual samples.

        Args:
            n: how many.
            seed: of a fresh generator; None with no generator draws one from the system.
            generator: a torch generator to go on from instead.

        Returns:
            Virtual features float32 ``(n, C, D)`` and their targets float32 ``(n, C)``, in the kind of array that was
            fitted. A class that has no known sample has NaN targets and features 0.

        Raises:
            ValueError: both seed and generator are given.
        """
        if seed is not None and generator is not None:
            raise ValueError("Expected seed or generator but got both.")
        source = generator or torch.Generator()
        if generator is None:
            source.manual_seed(int.from_bytes(os.urandom(7), "big") if seed is None else seed)
        device = next((g.mean.device for pair in self.gaussians_ for g in pair if g is not None), torch.device("cpu"))
        chance = torch.from_numpy(self.probabilities_).float().to(source.device)
        draws = torch.rand(n, len(chance), generator=source, device=source.device)
        targets = torch.where(chance.isnan(), torch.nan, ((draws <= chance) & (chance > 0)).float())
        features = torch.zeros(n, len(chance), self.n_features_in_, device=device)
        for c, pair in enumerate(self.gaussians_):
            for label, gaussian in enumerate(pair):
                rows = (targets[:, c] == label).nonzero()[:, 0].to(device)
                if gaussian is not None and len(rows):
                    features[rows, c] = gaussian.sample(len(rows), source)
        targets = targets.to(device)
        return (features.numpy(), targets.numpy()) if self._as_numpy else (features, targets)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: arrays, and the settings as JSON in its header."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {"counts": torch.from_numpy(self.counts_)}
        for c, pair in enumerate(self.gaussians_):
            for label, gaussian in enumerate(pair):
                if gaussian is not None:
                    tensors[f"{c}.{label}.mean"] = gaussian.mean.contiguous().cpu()
                    tensors[f"{c}.{label}.factor"] = gaussian.factor.contiguous().cpu()
        settings = {
            "covariance": self.covariance,
            "prior": self.prior if isinstance(self.prior, str) else list(self.prior),
            "alpha": self.alpha,
            "eps": self.eps,
        }
        about = {"settings": settings, "n_features": self.n_features_in_, "numpy": self._as_numpy}
        save_file(tensors, path, metadata={"gaussian_resampler": json.dumps(about)})

    @classmethod
    def load(cls: type[Self], path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: the file holds something else.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("gaussian_resampler", "null"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file: {error}") from error
        if about is None:
            raise ValueError(f"{path} was not written by GaussianResampler.save.")
        resampler = cls(**about["settings"])
        resampler.n_features_in_ = about["n_features"]
        resampler._as_numpy = about["numpy"]
        resampler.gaussians_ = [
            tuple(
                Gaussian(int(count), tensors[f"{c}.{label}.mean"], tensors[f"{c}.{label}.factor"]) if count else None
                for label, count in enumerate(pair)
            )
            for c, pair in enumerate(tensors["counts"].tolist())
        ]
        resampler._set_probabilities()
        return resampler

    def _set_probabilities(self) -> None:
        self.counts_ = np.array([[g.count if g else 0 for g in pair] for pair in self.gaussians_], dtype=np.int64)
        self.probabilities_ = label_probabilities(
            self.counts_[:, 1], self.counts_[:, 0], self.prior, alpha=self.alpha, eps=self.eps
        )

    def _warn_of_small_groups(self, names: Sequence[object]) -> None:
        for c, label in zip(*np.nonzero(self.counts_ <= 1), strict=True):
            count = self.counts_[c, label]
            effect = "its virtual features are all that one" if count else "it is never drawn"
            log.warning("class %s has %d known sample(s) with label %d: %s", names[c], count, label, effect)


def _check_targets(features: Array | Tensor, targets: Array | Tensor) -> Tensor:
    labels = torch.as_tensor(targets)
    shape = tuple(features.shape)
    if labels.ndim != 2 or len(shape) not in (2, 3) or shape[0] != len(labels):
        raise ValueError(
            f"Expected features (N, C, D) or (N, D) and targets (N, C) but got {shape}, {tuple(labels.shape)}."
        )
    if len(shape) == 3 and shape[1] != labels.shape[1]:
        raise ValueError(f"Expected features of {labels.shape[1]} classes but got {shape[1]}.")
    labels = labels.double().cpu()
    if not bool((labels.isnan() | (labels == 0) | (labels == 1)).all()):
        raise ValueError("Expected targets of 0, 1 or NaN (unknown) but got other values.")
    return labels


def _rows_by_label(features: Array | Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Features of label 0 and of label 1, ``(n, D)`` each, class by class."""
    for c in range(labels.shape[1]):
        column = features if features.ndim == 2 else features[:, c]
        whole = column if isinstance(column, Tensor) else torch.from_numpy(np.array(column))
        pair = (whole[(labels[:, c] == 0).to(whole.device)], whole[(labels[:, c] == 1).to(whole.device)])
        if not all(bool(rows.isfinite().all()) for rows in pair):
            raise ValueError(f"Expected finite features but class {c} has NaN or infinity.")
        yield pair
