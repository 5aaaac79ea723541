"""Fit two Gaussians per class (label absent, label present) and draw virtual features with rare classes favoured."""

from __future__ import annotations

import inspect
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
from ltml.gaussians.draw import draw_many_labels, draw_one_label, make_generator
from ltml.gaussians.estimate import check_borrow, check_covariance, estimate
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


class GaussianResampler:
    """Label-0 and label-1 Gaussians per class, sampled class by class (LDRNet, MM 2024, eqs. 9-14).

    Each virtual sample draws every class's label on its own with ``probabilities_`` and then that class's feature from
    the label's Gaussian. A group (class, label) with fewer samples than dimensions has a singular covariance; sampling
    is exact for it. One sample is a point mass; none means that the group is never drawn.

    With targets ``(N,)`` the set is single-label: one Gaussian per class, each virtual sample of one class.

    Args:
        covariance: ``full`` (unbiased); ``diagonal``; ``ledoit_wolf`` or ``oas``, shrunk by as much as the samples
            suggest (the biased covariance, as in scikit-learn); or a number in [0, 1], the share of a multiple of the
            identity mixed into the unbiased covariance.
        borrow: what a group with no more samples than dimensions mixes into its covariance: None; ``head``, the pooled
            covariance of the third of the classes with most samples of that label; or a number k, that of the k
            classes with more samples whose means are nearest. With n samples in D dimensions it keeps
            ``(n − 1)/(n − 1 + D)`` of its own.
        prior: P(label 1) per class; see `ltml.gaussians.probabilities.label_probabilities`.
        alpha: exponent of ``prior="eq12"``.
        eps: added to each frequency in ``prior="eq12"``.

    Attributes:
        gaussians_: ``[(label-0, label-1), …]`` per class, `Gaussian` or None where there was no sample.
        counts_: int64 ``(C, 2)`` samples per class and label.
        probabilities_: float64 ``(C,)`` P(label 1); of a single-label set P(class).
        shrinkage_: float64 ``(C, 2)``, NaN where there was no sample.
        classes_: of a single-label set, its labels in ascending order; None otherwise.
        n_features_in_: ``D``.

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
    ) -> None:
        self.covariance = covariance
        self.borrow = borrow
        self.prior = prior
        self.alpha = alpha
        self.eps = eps

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - scikit-learn's signature
        """Constructor arguments by name."""
        return {name: getattr(self, name) for name in _parameters(type(self))}

    def set_params(self: Self, **params: Any) -> Self:
        """Change constructor arguments.

        Raises:
            ValueError: there is no such argument.
        """
        allowed = _parameters(type(self))
        for name, value in params.items():
            if name not in allowed:
                raise ValueError(f"Expected a parameter among {', '.join(allowed)} but got '{name}'.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: item.default for name, item in _parameters(type(self)).items()}
        changed = [f"{name}={v!r}" for name, v in self.get_params().items() if repr(v) != repr(defaults[name])]
        return f"{type(self).__name__}({', '.join(changed)})"

    @torch.inference_mode(False)
    def fit(
        self: Self,
        features: Array | Tensor | Batches,
        targets: Array | Tensor | None = None,
        *,
        label_names: Sequence[str] | None = None,
        warn: bool = True,
    ) -> Self:
        """Fit the Gaussians, forgetting what was fitted before.

        Args:
            features: ``(N, C, D)`` class-aware or ``(N, D)`` shared by all classes, numpy or torch, a memory map too;
                or an iterable of batches ``(features, targets)``. Read once, in chunks; half precision is widened.
            targets: ``(N, C)`` of 0, 1, or NaN for unknown; unknown entries have no influence. Or ``(N,)``, the class
                of each sample, with features ``(N, D)``.
            label_names: what warnings call the ``C`` classes; their numbers by default.
            warn: log a warning for each (class, label) of fewer than two samples.

        Raises:
            ValueError: a parameter is not allowed, shapes or the index of frames do not fit, a label has another value,
                a used feature is not finite, or there is not one batch.
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
            self._reset()  # half a fit is none
            raise
        self._fitted().settle()
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
        """Add samples to those fitted so far; for arguments and errors see `fit`. Multi-label targets only."""
        if not hasattr(self, "statistics_"):
            self._reset()
        self._add(features, targets)
        return self

    @torch.inference_mode(False)
    def merge(self: Self, other: GaussianResampler) -> Self:
        """Add the samples of another fitted resampler, as if they had come after one's own.

        Raises:
            ValueError: one is not fitted, or they differ in classes, width, kind of feature or covariance.
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

        One sample after the other takes its numbers from the generator, so a seed's first ten samples are the same
        whether ten or a million are drawn, and batches drawn from one CPU generator are those of one large draw
        (features up to the last bits of a matrix product). A seed means a CPU generator on every device.

        Args:
            n: how many.
            seed: of a fresh generator; None with no generator draws one from the system.
            generator: a torch generator to go on from instead.
            samples: of a single-label set, instead of `n`: ``(label, count)`` pairs or a mapping.
            dtype: of the features, e.g. ``torch.bfloat16`` (not for numpy); they are drawn in float32.

        Returns:
            Virtual features ``(n, C, D)`` and their targets float32 ``(n, C)``, in the kind of array that was fitted
            and on its device. A class that has no known sample has NaN targets and features 0. Of a single-label set
            features ``(n, D)`` and labels ``(n,)``.

        Raises:
            ValueError: not fitted; arguments that exclude each other; an unknown label or one without samples; or
                ``prior="eq12"`` with targets ``(N, 1)``: every virtual sample would be positive. Where one of several
                classes alone has both labels, that is logged as a warning.
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
            raise ValueError("Expected n: samples=(label, count) is for single-label sets.")
        if self._as_numpy and dtype not in (torch.float16, torch.float32, torch.float64):
            raise ValueError(f"Expected a dtype that numpy has but got {dtype}; fit tensors to get tensors.")
        source, statistics = make_generator(seed, generator), self._fitted()
        chances, device = self.probabilities_, statistics.device
        if self.classes_ is None:
            assert n is not None
            width = self.n_features_in_
            features, targets = draw_many_labels(self.gaussians_, chances, n, source, dtype, device, width)
            return (features.numpy(), targets.numpy()) if self._as_numpy else (features, targets)
        given = None if samples is None else class_numbers(samples, self.classes_.tolist())
        total = len(given) if given is not None else n or 0
        present = [pair[1] for pair in self.gaussians_ if pair[1] is not None]  # every class of the set has samples
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
        """Fit and draw.

        Args:
            features: as in `fit`.
            targets: as in `fit`.
            n: virtual samples of a multi-label set; by default as many as were fitted.
            seed: as in `sample`.
            samples: virtual samples of a single-label set by label; by default what each class lacks of the largest.

        Returns:
            For a multi-label set virtual features ``(n, C, D)`` and targets ``(n, C)`` alone. For a single-label set
            the real samples and after them the virtual ones, as imbalanced-learn returns them.

        Raises:
            ValueError: as `fit` and `sample`.
        """
        self.fit(features, targets)
        if self.classes_ is None:
            return self.sample(len(features) if n is None else n, seed)
        if n is not None:
            raise ValueError("Expected samples=(label, count), not n: the set is single-label.")
        counts = self.counts_[:, 1]
        lacking = {label: int(counts.max() - count) for label, count in zip(self.classes_, counts, strict=True)}
        virtual, labels = self.sample(seed=seed, samples=lacking if samples is None else samples)
        if self._as_numpy:
            return np.concatenate([np.asarray(features), virtual]), np.concatenate([np.asarray(targets), labels])
        given = torch.as_tensor(targets, device=virtual.device)
        return torch.cat([torch.as_tensor(features), virtual]), torch.cat([given, labels])

    @property
    def gaussians_(self) -> list[Pair]:
        """Per class the Gaussians of label 0 and of label 1."""
        statistics = self._fitted()
        if not self._warned:
            self._warn_of_small_groups()
            self._warned = True
        gaussians = self._gaussians or estimate(statistics, *self._estimator)
        self._gaussians = gaussians
        return gaussians

    @property
    def counts_(self) -> npt.NDArray[np.int64]:
        """Samples per class and label ``(C, 2)``."""
        statistics = self._fitted()
        return statistics.counts()

    @property
    def probabilities_(self) -> npt.NDArray[np.float64]:
        """P(label 1) per class, or P(class) of a single-label set, float64 ``(C,)``."""
        positives = self.counts_[:, 1]
        negatives = self.counts_[:, 0] if self.classes_ is None else positives.sum() - positives
        chances = label_probabilities(positives, negatives, self.prior, alpha=self.alpha, eps=self.eps)
        return chances if self.classes_ is None else chances / chances.sum()

    @property
    def shrinkage_(self) -> npt.NDArray[np.float64]:
        """How far each covariance was drawn towards a multiple of the identity, float64 ``(C, 2)``."""
        return np.array([[np.nan if g is None else g.shrinkage for g in pair] for pair in self.gaussians_])

    @property
    def is_shared(self) -> bool:
        """Whether the features fitted were shared by all classes, ``(N, D)``."""
        return self._fitted().shared

    @property
    def n_features_in_(self) -> int:
        """``D``."""
        return self._fitted().width

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: statistics, and the settings as JSON in its header. Fitting can go on from it."""
        from safetensors.torch import save_file

        tensors, about = save_groups(self._fitted())
        fitted = dict(zip(("covariance", "borrow"), self._estimator, strict=True))
        settings = {name: _plain(value) for name, value in (self.get_params() | fitted).items()}
        classes = None if self.classes_ is None else self.classes_.tolist()
        counts = self.counts_.tolist()
        about |= {"settings": settings, "numpy": self._as_numpy, "classes": classes, "counts": counts}
        save_file(tensors, path, metadata={"gaussian_resampler": json.dumps(about)})

    @classmethod
    def load(cls: type[Self], path: str | Path) -> Self:
        """Read what `save` wrote; tensors are on the CPU.

        Raises:
            ValueError: the file holds something else.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("gaussian_resampler", "null"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a safetensors file of GaussianResampler.save: {error}") from error
        if about is None:
            raise ValueError(f"{path} was not written by GaussianResampler.save.")
        try:
            resampler = cls(**about["settings"])
            resampler._reset()
            resampler.statistics_ = load_groups(tensors, about)
            resampler.classes_ = None if about["classes"] is None else np.array(about["classes"])
            resampler._as_numpy, counts = about["numpy"], about["counts"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} was written by GaussianResampler.save of another version.") from error
        if resampler.counts_.tolist() != counts:
            raise ValueError(f"{path} is damaged: it lacks samples that it should hold.")
        resampler._warned = True
        return resampler

    def _reset(self) -> None:
        check_covariance(self.covariance)
        check_borrow(self.borrow)
        if hasattr(self, "statistics_"):
            del self.statistics_
        self.classes_ = None
        self._as_numpy = True
        self._estimator = self.covariance, self.borrow  # a parameter set afterwards counts from the next fit
        self._gaussians = None
        self._label_names = None
        self._warned = False

    def _fitted(self) -> Statistics:
        if not hasattr(self, "statistics_"):
            raise NotFittedError(f"Expected a fitted {type(self).__name__}: call fit or partial_fit first.")
        return self.statistics_

    def _why_useless(self) -> str | None:
        """Return why the prior is of no use for what was fitted; None where it is."""
        negatives, positives = self.counts_.T
        if self.classes_ is not None or not is_always_positive(self.prior, positives, negatives):
            return None
        return (
            "prior='eq12' shares a probability of 1 among the classes, and only one class has both labels: its virtual "
            "samples would all be positive. Set prior='uniform', or for the class of each sample give targets (N,)"
        )

    def _add(self, features: Any, targets: Any, *, last: bool = False) -> None:
        if (self.covariance, self.borrow) != self._estimator:
            raise ValueError("Expected covariance and borrow as they were for the samples before: call fit.")
        check_same_rows(features, targets)
        features, targets = unmasked(features), unmasked(targets)
        check_numbers(features)
        if np.ndim(targets) == 1:
            if not last:
                raise ValueError("Expected targets (N, C) but got (N,): single-label sets are fitted whole, by fit.")
            self.classes_, labels = read_classes(targets, beside_tensor=isinstance(features, Tensor))
        elif self.classes_ is not None:
            raise ValueError("Expected nothing after a single-label set but got targets (N, C): call fit.")
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
                f"Expected features of {known.classes} classes and width {known.width} like those before but got "
                f"features {tuple(features.shape)} and targets {tuple(labels.shape)}."
            )
        self._as_numpy = not isinstance(features, Tensor)
        self._gaussians, self._warned = None, False
        known.add(features, labels, last=last)

    def _warn_of_small_groups(self) -> None:
        own = range(len(self.counts_)) if self.classes_ is None else self.classes_.tolist()
        names: Sequence[Any] = self._label_names or own
        for c, label in zip(*np.nonzero(self.counts_ <= 1), strict=True):
            count = self.counts_[c, label]
            if self.classes_ is not None and label == 0:
                continue
            alone = "its virtual features are all that one"
            lent = "its virtual features vary as the classes do from which it borrows"
            effect = (lent if self.borrow is not None else alone) if count else "it is never drawn"
            log.warning("class %s has %d known sample(s) with label %d: %s", names[c], count, label, effect)


class NotFittedError(ValueError, AttributeError):
    """Something was asked of a resampler that needs a fit; both kinds of error, as in scikit-learn."""


def _parameters(kind: type[GaussianResampler]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(kind).parameters)


def _plain(value: Any) -> Any:
    """A parameter as JSON has it."""
    if isinstance(value, str | None):
        return value
    plain = np.asarray(value.cpu() if isinstance(value, Tensor) else value)
    return plain.tolist()
