"""The base class of stage-2 methods: what one moves, and the hooks that stage 2 calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, Literal

import numpy.typing as npt
from torch import Tensor, nn

from ltml.rebalancing.sampler import Sampler
from ltml.rebalancing.shift import LabelShift

Moves = Literal["nothing", "classifier", "classifier_then_encoder", "everything"]
"""What a method trains."""

HOOKS: Mapping[Moves, str] = {
    "nothing": "adjust",
    "classifier": "sampler",
    "classifier_then_encoder": "sampler",
    "everything": "image_loss",
}
"""The hook that a method must define, by what it moves."""

NEAR_MISS = 0.9
"""Similarity from which an unknown attribute of a method is taken for a misspelt hook."""


class Rebalancing:
    """A stage-2 method. Subclasses set `moves` and define the hook that it needs; the other attributes are optional.

    Attributes:
        moves: what the method trains, and so which hook it needs. ``nothing``: `adjust` changes the classifier by a
            formula. ``classifier``: the classifier alone on samples of `sampler`, in one round. The same followed by
            rounds of the E step, which trains encoder and backbone on real images: ``classifier_then_encoder``.
            ``everything``: the whole model on real images, by `image_loss`.
        needs_linear: whether the classifier must have one weight vector and one bias per class.
        follows_prior: whether samples are drawn by the prior, so that ``stage2.restore_prior`` can undo it.
        has_limit: whether `solve` fits the classifier to infinitely many samples (``stage2.solver=expected``).
        former_keys: name of the option by the key that stood directly under ``stage2`` before version 0.2.

    Raises:
        TypeError: at the definition of a subclass without a known `moves` or the hook it needs, or with an attribute
            that looks like a misspelt hook.
    """

    moves: ClassVar[Moves]
    needs_linear: ClassVar[bool] = False
    follows_prior: ClassVar[bool] = False
    has_limit: ClassVar[bool] = False
    former_keys: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        moves: Any = getattr(cls, "moves", None)
        if moves not in HOOKS:
            raise TypeError(f"{cls.__name__}.moves is {moves!r}; set it to one of {', '.join(HOOKS)}")
        hook = HOOKS[moves]
        if getattr(cls, hook) is getattr(Rebalancing, hook):
            raise TypeError(f"{cls.__name__} moves '{moves}' and must define {hook}(); see help(Rebalancing.{hook})")
        if cls.has_limit and cls.solve is Rebalancing.solve:
            raise TypeError(f"{cls.__name__}.has_limit is true and it must define solve(); see help(Rebalancing.solve)")
        known = [name for name in (*Rebalancing.__annotations__, *vars(Rebalancing)) if not name.startswith("_")]
        for name in vars(cls).keys() - known:
            if near := get_close_matches(name, known, n=1, cutoff=NEAR_MISS):
                raise TypeError(f"{cls.__name__}.{name} is never read: did you mean {near[0]}?")

    def sampler(
        self,
        features: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        shift: LabelShift,
        label_names: Sequence[str] | None = None,
    ) -> Sampler:
        """Return what draws the samples that the classifier is trained on.

        Args:
            features: training features, ``(N, C, D)`` class-aware or ``(N, D)`` shared by all classes; read-only,
                often a memory map.
            targets: their labels ``(N, C)`` of 0, 1, or NaN where unknown.
            shift: P(label 1) per class among the samples, for a method that follows the prior.
            label_names: the ``C`` labels, for warnings; None after the first round, when warnings have been given.

        Raises:
            ValueError: the features or options do not allow it.
        """
        raise NotImplementedError

    def adjust(self, classifier: nn.Module, shift: LabelShift) -> None:
        """Change the classifier in place by a formula.

        Args:
            classifier: the classifier of stage 1.
            shift: prior among training samples, and the one asked for.
        """
        raise NotImplementedError

    def image_loss(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Return the scalar loss of real images.

        Args:
            logits: ``(B, C)`` of all processes together.
            targets: their labels ``(B, C)``; any number where unknown.
            known: bool ``(B, C)``.
        """
        raise NotImplementedError

    def initial_classifier(self, classifier: nn.Module, seed: int) -> nn.Module:
        """Return the classifier that stage 2 starts from; that of stage 1 unless a method begins with another.

        Args:
            classifier: the classifier of stage 1.
            seed: ``seeds.train`` of the recipe.
        """
        del seed
        return classifier

    def solve(
        self, sampler: Any, classifier: Any, *, l2: float, loss: Callable[[Tensor, Tensor], Tensor] | None
    ) -> dict[str, Any]:
        """Fit the classifier in place to infinitely many samples; needed where `has_limit`.

        Args:
            sampler: what `sampler` returned.
            classifier: a `PerClassLinear`.
            l2: penalty on the weights.
            loss: ``(logits, targets) -> losses`` of single entries; None for the binary cross entropy.

        Returns:
            Entries for the log, ``loss`` among them.

        Raises:
            ValueError: no finite classifier minimises the expected loss.
        """
        raise NotImplementedError
