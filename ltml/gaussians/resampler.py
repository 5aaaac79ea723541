"""Fit two Gaussians per class (label absent, label present) and draw virtual features that favour rare classes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltml.gaussians.arrays import Array
from ltml.gaussians.draw import RandomState, draw_many_labels, draw_one_label, draw_seed, make_generator
from ltml.gaussians.estimate import check_borrow, check_covariance, estimate
from ltml.gaussians.estimator import Estimator, append_rows, column_names, like_targets
from ltml.gaussians.gaussian import Pair
from ltml.gaussians.inputs import (
    Samples,
    check_numbers,
    check_same_rows,
    check_shapes,
    class_numbers,
    read_classes,
    read_targets,
    unmasked,
)
from ltml.gaussians.probabilities import is_always_positive, label_probabilities
from ltml.gaussians.statistics import Statistics, check_known_finite, load_groups, save_groups

log = logging.getLogger(__name__)

Batches = Iterable[tuple[Array | Tensor, Array | Tensor]]
Self = TypeVar("Self", bound="GaussianResampler")


class GaussianResampler(Estimator):
    """A label-0 and a label-1 Gaussian per class, sampled class by class (LDRNet, MM 2024, eqs. 9-14).

    A virtual sample draws the label of every class independently with ``probabilities_`` and then the feature of that
    class from the label's Gaussian. A group (class, label) with fewer samples than dimensions has a singular
    covariance, from which sampling is exact. A group of one sample is a point mass; an empty group is never drawn.

    With targets ``(N,)`` the data are single-label: one Gaussian per class, and a virtual sample has one class.

    Follows the conventions of scikit-learn and imbalanced-learn (parameters, tags, frames) and needs neither.

    Args:
        covariance: ``full`` (unbiased); ``diagonal``; ``ledoit_wolf`` or ``oas``, which estimate the shrinkage from
            the samples (and shrink the biased covariance, as in scikit-learn); or a number in [0, 1], the share of a
            multiple of the identity mixed into the unbiased covariance.
        borrow: covariance that a group with no more samples than dimensions mixes into its own: None; ``head``, the
            pooled covariance of the third of the classes with most samples of that label; or a number k, the pooled
            covariance of the k classes with more samples whose means are nearest. With n samples in D dimensions the
            group keeps ``(n − 1)/(n − 1 + D)`` of its own.
        prior: P(label 1) per class; see `ltml.gaussians.probabilities.label_probabilities`.
        alpha: exponent of ``prior="eq12"``.
        eps: number added to each frequency in ``prior="eq12"``.
        random_state: seed of the draws where `sample` or `fit_resample` gets none. An int gives the same draws in
            every call, a numpy RandomState or Generator different ones; None takes a seed from the system.

    Attributes:
        gaussians_: ``[(label-0, label-1), …]`` per class, `Gaussian` or None for a label without samples.
        counts_: int64 ``(C, 2)`` samples per class and label.
        probabilities_: float64 ``(C,)`` P(label 1); P(class) for single-label data.
        shrinkage_: float64 ``(C, 2)`` shrinkage of the covariances, NaN for a label without samples.
        classes_: the labels of single-label data in ascending order; None otherwise.
        n_features_in_: ``D``.
        feature_names_in_: column names ``(D,)`` of the pandas frame that was fitted; only then, and if all are text.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> features, targets = rng.normal(size=(100, 2, 4)), rng.integers(0, 2, size=(100, 2))
        >>> virtual, labels = GaussianResampler().fit(features, targets).sample(10, seed=0)
        >>> virtual.shape, labels.shape
        ((10, 2, 4), (10, 2))
    """

    statistics_: Statistics
    classes_: Array | None
    feature_names_in_: Array
    _as_numpy: bool
    _estimator: tuple[str | float, str | int | None]
    _gaussians: list[Pair] | None
    _label_names: Sequence[str] | None
    _warned: bool

    def __init__(
        self,
        *,
        covariance: Literal["full", "diagonal", "ledoit_wolf", "oas"] | float = "full",
        borrow: Literal["head"] | int | None = None,
        prior: str | Sequence[float] = "eq12",
        alpha: float = 0.9,
        eps: float = 1e-9,
        random_state: RandomState = None,
    ) -> None:
        self.covariance = covariance
        self.borrow = borrow
        self.prior = prior
        self.alpha = alpha
        self.eps = eps
        self.random_state = random_state

    @torch.inference_mode(False)
    def fit(
        self: Self,
        features: Array | Tensor | Batches,
        targets: Array | Tensor | None = None,
        *,
        label_names: Sequence[str] | None = None,
        warn: bool = True,
    ) -> Self:
        """Fit the Gaussians and discard earlier fits.

        Args:
            features: ``(N, C, D)`` class-aware or ``(N, D)`` shared by all classes, as a numpy array, memory map,
                tensor or (shared features) pandas frame; or an iterable of batches ``(features, targets)``. Read once,
                in chunks; half precision is widened.
            targets: ``(N, C)`` of 0, 1, or NaN for unknown; unknown entries have no influence. Or ``(N,)``, the class
                of each sample, with features ``(N, D)``.
            label_names: names of the ``C`` classes in warnings; their numbers by default.
            warn: log a warning for each (class, label) of fewer than two samples.

        Raises:
            ValueError: if a parameter is not allowed, shapes or the indices of frames do not match, a target has
                another value, a feature of a known entry is not finite, or the iterable is empty.
        """
        self._reset()
        try:
            if targets is not None:
                self._add(features, targets, last=True)
            elif isinstance(features, Tensor | np.ndarray):
                raise ValueError("Expected targets beside features but got features alone.")
            else:
                for batch_features, batch_targets in features:
                    self._add(batch_features, batch_targets)
                if not hasattr(self, "statistics_"):
                    raise ValueError("Expected at least one batch (features, targets) but got none.")
        except BaseException:
            self._reset()  # no partial fit remains
            raise
        self._fitted().settle()
        self._set_feature_names(features)
        if label_names is not None and len(label_names) != self.statistics_.classes:
            raise ValueError(f"Expected {self.statistics_.classes} label_names but got {len(label_names)}.")
        self._label_names = None if label_names is None else list(label_names)
        if warn and (reason := self._why_useless()):
            log.warning("%s.", reason)
        if warn:
            self._warn_of_small_groups()
        self._warned = True
        return self

    @torch.inference_mode(False)
    def partial_fit(self: Self, features: Array | Tensor, targets: Array | Tensor) -> Self:
        """Add samples to the current fit; see `fit` for arguments and errors. Multi-label targets only."""
        if not hasattr(self, "statistics_"):
            self._reset()
        self._add(features, targets)
        return self

    @torch.inference_mode(False)
    def merge(self: Self, other: GaussianResampler) -> Self:
        """Add the samples of another fitted resampler, as if they had been fitted after those of this one.

        Raises:
            ValueError: if one is not fitted, or they differ in classes, width, kind of feature or covariance.
        """
        mine, theirs = self._fitted(), other._fitted()
        shapes = [(s.classes, s.width, s.shared, s.diagonal, s.fourth) for s in (mine, theirs)]
        if shapes[0] != shapes[1] or not np.array_equal(self.classes_, other.classes_):  # type: ignore[arg-type]
            raise ValueError(
                "Expected two resamplers of the same classes, width, kind of feature and covariance but got "
                f"{self!r} of {mine.classes} classes and {mine.width} features and {other!r} of {theirs.classes} "
                f"classes and {theirs.width} features."
            )
        mine.merge(theirs)
        self._gaussians, self._warned = None, False
        return self

    @torch.inference_mode(False)
    def sample(
        self,
        n: int | None = None,
        seed: int | None = None,
        *,
        generator: torch.Generator | None = None,
        samples: Samples | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Any, Any]:
        """Draw virtual samples.

        Samples take their numbers from the generator one after another. So the first ten samples of a seed are the
        same whether ten or a million are drawn, and batches drawn from one CPU generator equal one large draw
        (features up to the last bits of a matrix product). A seed means a CPU generator on every device.

        Args:
            n: number of samples.
            seed: seed of a new generator; by default `random_state` decides.
            generator: torch generator to continue with instead.
            samples: ``(label, count)`` pairs or a mapping, instead of `n`; for single-label data.
            dtype: dtype of the features, e.g. ``torch.bfloat16`` (tensors only); they are drawn in float32.

        Returns:
            Virtual features ``(n, C, D)`` and their targets float32 ``(n, C)``, as tensors on the device of the fitted
            ones or else as numpy arrays. A class without a known sample has NaN targets and features 0. For
            single-label data features ``(n, D)`` and labels ``(n,)``.

        Raises:
            ValueError: if it is not fitted; arguments exclude each other; a label is unknown or has no samples; or
                ``prior="eq12"`` meets targets ``(N, 1)``, where every virtual sample would be positive. If only one
                of several classes has both labels, a warning is logged instead.
        """
        if not self._fitted().counts().any():
            raise ValueError("Expected at least one known sample to draw from but got none.")
        if reason := self._why_useless():
            if len(self.counts_) == 1:
                raise ValueError(f"Expected a prior that gives both labels of the class but {reason}.")
            log.warning("%s.", reason)
        if (n is None) == (samples is None):
            raise ValueError("Expected either n or samples but got both or neither.")
        if n is not None and (isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0):
            raise ValueError(f"Expected n as a whole number of 0 or more but got {n!r}.")
        if samples is not None and self.classes_ is None:
            raise ValueError("Expected n: samples=(label, count) is for single-label data.")
        if self._as_numpy and dtype not in (torch.float16, torch.float32, torch.float64):
            raise ValueError(f"Expected a dtype that numpy has but got {dtype}; fit tensors to get tensors.")
        if seed is None and generator is None:
            seed = draw_seed(self.random_state)
        source, statistics = make_generator(seed, generator), self._fitted()
        chances, device = self.probabilities_, statistics.device
        if self.classes_ is None:
            assert n is not None
            width = self.n_features_in_
            features, targets = draw_many_labels(self.gaussians_, chances, n, source, dtype, device, width)
            return (features.numpy(), targets.numpy()) if self._as_numpy else (features, targets)
        given = None if samples is None else class_numbers(samples, self.classes_.tolist())
        total = len(given) if given is not None else n or 0
        present = [pair[1] for pair in self.gaussians_ if pair[1] is not None]  # every class has samples
        features, numbers = draw_one_label(present, chances, total, given, source, dtype, device)
        labels = self.classes_[numbers.numpy()]
        return (features.numpy(), labels) if self._as_numpy else (features, torch.from_numpy(labels).to(device))

    def fit_resample(
        self,
        features: Array | Tensor,
        targets: Array | Tensor,
        *,
        n: int | None = None,
        seed: int | None = None,
        samples: Samples | None = None,
    ) -> tuple[Any, Any]:
        """Fit the Gaussians and draw virtual samples.

        Args:
            features: see `fit`.
            targets: see `fit`.
            n: number of virtual samples of multi-label data; by default the number of fitted ones.
            seed: see `sample`.
            samples: number of virtual samples by label of single-label data; by default every class grows to the size
                of the largest.

        Returns:
            For multi-label data the virtual features ``(n, C, D)`` and targets ``(n, C)`` only, targets as a pandas
            frame if one was given. For single-label data the real samples followed by the virtual ones, as in
            imbalanced-learn: a pandas frame keeps its column names and a series its name and dtype, their rows are
            numbered from 0, and columns of integers become floats.

        Raises:
            ValueError: see `fit` and `sample`.
        """
        self.fit(features, targets)
        if self.classes_ is None:
            virtual, drawn = self.sample(len(features) if n is None else n, seed)
            return virtual, like_targets(targets, drawn)
        if n is not None:
            raise ValueError("Expected samples=(label, count), not n: the data are single-label.")
        counts = self.counts_[:, 1]
        lacking = {label: int(counts.max() - count) for label, count in zip(self.classes_, counts, strict=True)}
        virtual, labels = self.sample(seed=seed, samples=lacking if samples is None else samples)
        if self._as_numpy:
            return append_rows(features, virtual), append_rows(targets, labels)
        given = torch.as_tensor(targets, device=virtual.device)
        return torch.cat([torch.as_tensor(features), virtual]), torch.cat([given, labels])

    @property
    def gaussians_(self) -> list[Pair]:
        """Return the Gaussians of label 0 and of label 1 per class."""
        statistics = self._fitted()
        if not self._warned:
            self._warn_of_small_groups()
            self._warned = True
        gaussians = self._gaussians or estimate(statistics, *self._estimator)
        self._gaussians = gaussians
        return gaussians

    @property
    def counts_(self) -> npt.NDArray[np.int64]:
        """Return the number of samples per class and label ``(C, 2)``."""
        statistics = self._fitted()
        return statistics.counts()

    @property
    def probabilities_(self) -> npt.NDArray[np.float64]:
        """Return P(label 1) per class, or P(class) for single-label data, float64 ``(C,)``."""
        positives = self.counts_[:, 1]
        negatives = self.counts_[:, 0] if self.classes_ is None else positives.sum() - positives
        chances = label_probabilities(positives, negatives, self.prior, alpha=self.alpha, eps=self.eps)
        return chances if self.classes_ is None else chances / chances.sum()

    @property
    def shrinkage_(self) -> npt.NDArray[np.float64]:
        """Return the share of a multiple of the identity in each covariance, float64 ``(C, 2)``."""
        return np.array([[np.nan if g is None else g.shrinkage for g in pair] for pair in self.gaussians_])

    @property
    def is_shared(self) -> bool:
        """Return whether the fitted features are shared by all classes, ``(N, D)``."""
        return self._fitted().shared

    @property
    def n_features_in_(self) -> int:
        """Return the feature width ``D``."""
        return self._fitted().width

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with the statistics and, as JSON in its header, the parameters.

        Fitting can continue from it. Of `random_state` only an int is kept.
        """
        from safetensors.torch import save_file

        tensors, metadata = save_groups(self._fitted())
        params = self.get_params() | dict(zip(("covariance", "borrow"), self._estimator, strict=True))
        if not isinstance(self.random_state, int | np.integer):
            del params["random_state"]
        settings = {name: _plain(value) for name, value in params.items()}
        classes = None if self.classes_ is None else self.classes_.tolist()
        counts = self.counts_.tolist()
        metadata |= {"settings": settings, "numpy": self._as_numpy, "classes": classes, "counts": counts}
        save_file(tensors, path, metadata={"gaussian_resampler": json.dumps(metadata)})

    @classmethod
    def load(cls: type[Self], path: str | Path) -> Self:
        """Read a file that `save` wrote; tensors are on the CPU.

        Raises:
            ValueError: if the file holds something else.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = json.loads((file.metadata() or {}).get("gaussian_resampler", "null"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a safetensors file of GaussianResampler.save: {error}") from error
        if metadata is None:
            raise ValueError(f"{path} was not written by GaussianResampler.save.")
        try:
            resampler = cls(**metadata["settings"])
            resampler._reset()
            resampler.statistics_ = load_groups(tensors, metadata)
            resampler.classes_ = None if metadata["classes"] is None else np.array(metadata["classes"])
            resampler._as_numpy, counts = metadata["numpy"], metadata["counts"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} was written by GaussianResampler.save of another version.") from error
        if resampler.counts_.tolist() != counts:
            raise ValueError(f"{path} is damaged: it holds fewer samples than its header says.")
        resampler._warned = True
        return resampler

    def _reset(self) -> None:
        check_covariance(self.covariance)
        check_borrow(self.borrow)
        if hasattr(self, "statistics_"):
            del self.statistics_
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.classes_ = None
        self._as_numpy = True
        self._estimator = self.covariance, self.borrow  # a parameter that is set later applies to the next fit
        self._gaussians = None
        self._label_names = None
        self._warned = False

    def _fitted(self) -> Statistics:
        if not hasattr(self, "statistics_"):
            raise NotFittedError(f"Expected a fitted {type(self).__name__}: call fit or partial_fit first.")
        return self.statistics_

    def _set_feature_names(self, features: Any) -> None:
        names = column_names(features)
        if names is not None:
            self.feature_names_in_ = names

    def _why_useless(self) -> str | None:
        """Return why the prior is useless for the fitted data; None if it is useful."""
        negatives, positives = self.counts_.T
        if self.classes_ is not None or not is_always_positive(self.prior, positives, negatives):
            return None
        return (
            "prior='eq12' shares a probability of 1 among the classes, and only one class has both labels: its virtual "
            "samples would all be positive. Set prior='uniform', or for the class of each sample give targets (N,)"
        )

    def _add(self, features: Any, targets: Any, *, last: bool = False) -> None:
        if (self.covariance, self.borrow) != self._estimator:
            raise ValueError("Expected covariance and borrow as for the earlier samples: call fit to start over.")
        check_same_rows(features, targets)
        features, targets = unmasked(features), unmasked(targets)
        check_numbers(features)
        if np.ndim(targets) == 1:
            if not last:
                raise ValueError("Expected targets (N, C) but got (N,): single-label data are fitted whole, by fit.")
            self.classes_, labels = read_classes(targets, beside_tensor=isinstance(features, Tensor))
        elif self.classes_ is not None:
            raise ValueError("Expected nothing after single-label data but got targets (N, C): call fit.")
        else:
            labels = read_targets(targets)
        check_shapes(features, labels, single=self.classes_ is not None)
        if not last:
            check_known_finite(features, labels)  # before anything is added
        if not hasattr(self, "statistics_"):
            self.statistics_ = Statistics(
                classes=labels.shape[1],
                width=int(features.shape[-1]),
                shared=features.ndim == 2,
                diagonal=bool(self.covariance == "diagonal"),
                fourth=bool(self.covariance == "ledoit_wolf"),
                device=features.device if isinstance(features, Tensor) else None,
            )
        known = self.statistics_
        if (known.classes, known.width, known.shared) != (labels.shape[1], features.shape[-1], features.ndim == 2):
            raise ValueError(
                f"Expected features of {known.classes} classes and width {known.width} like the earlier ones but got "
                f"features {tuple(features.shape)} and targets {tuple(labels.shape)}."
            )
        self._as_numpy = not isinstance(features, Tensor)
        self._gaussians, self._warned = None, False
        known.add(features, labels, last=last)

    def _warn_of_small_groups(self) -> None:
        numbers = range(len(self.counts_)) if self.classes_ is None else self.classes_.tolist()
        names: Sequence[Any] = self._label_names or numbers
        for c, label in zip(*np.nonzero(self.counts_ <= 1), strict=True):
            count = self.counts_[c, label]
            if self.classes_ is not None and label == 0:
                continue
            alone = "all its virtual features equal that sample"
            borrowed = "its virtual features vary like those of the classes from which it borrows"
            effect = (borrowed if self.borrow is not None else alone) if count else "it is never drawn"
            log.warning("class %s has %d known sample(s) with label %d: %s", names[c], count, label, effect)


class NotFittedError(ValueError, AttributeError):
    """A resampler is used before it is fitted; a ValueError and an AttributeError, as in scikit-learn."""


def _plain(value: Any) -> Any:
    """Convert a parameter to a value that JSON can hold."""
    if isinstance(value, str | None):
        return value
    plain = np.asarray(value.cpu() if isinstance(value, Tensor) else value)
    return plain.tolist()
