"""Fit the classifier of stage 2 on features: by a method's samples, in their limit, or by its formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ltml.data.dataset import Dataset
from ltml.errors import InputError
from ltml.models.classifier import PerClassLinear
from ltml.processes.bars import track
from ltml.rebalancing.method import Rebalancing
from ltml.rebalancing.sampler import Sampler
from ltml.rebalancing.shift import LabelShift, shift_biases
from ltml.recipe.schema import LossSection, Recipe, Stage2Section
from ltml.registry import LOSSES, REBALANCING, create
from ltml.seeds import derive_seed
from ltml.stages.build import build_loss
from ltml.stages.evaluate import score_learned, train_counts
from ltml.stages.predict import to_predictions
from ltml.training.loop import seed_epoch, train_epoch
from ltml.training.optim import make_optimizer
from ltml.types import FeatureSet


class Epoch(NamedTuple):
    """One epoch of stage 2.

    Attributes:
        round: number of the round; 0 is the M step alone.
        step: ``M`` trains the classifier, ``E`` encoder and backbone, ``bce`` everything on real images; ``adjust``
            applies a formula.
        number: number of the epoch among those of its step in its round.
        ends_round: whether the classifier is validated after it.
    """

    round: int
    step: str
    number: int
    ends_round: bool


def plan_epochs(settings: Stage2Section) -> list[Epoch]:
    """Return all epochs of stage 2 in order: round 0 is the M step alone, later rounds begin with an E step."""
    moves = REBALANCING.get(settings.method).moves
    if moves == "nothing":
        return [Epoch(0, "adjust", 0, ends_round=True)]
    m_epochs = 1 if settings.solver == "expected" else settings.m_step.epochs
    epochs = []
    for round_ in range(1 if moves == "classifier" else settings.rounds + 1):
        e_epochs = settings.e_step.epochs if round_ > 0 else 0
        if moves == "everything":
            steps = [("bce", number) for number in range(e_epochs + m_epochs)]
        else:
            steps = [("E", number) for number in range(e_epochs)] + [("M", number) for number in range(m_epochs)]
        epochs += [Epoch(round_, *step, ends_round=step == steps[-1]) for step in steps]
    return epochs


class ClassifierRefit:
    """The part of stage 2 that needs features only: the method's formula or the M step, on one classifier.

    Args:
        recipe: the recipe.
        dataset: its data.
        classifier: the classifier of stage 1, on the device that it is trained on.

    Attributes:
        method: the stage-2 method of the recipe.
        shift: prior of the method's samples.
        classifier: the classifier that is refitted; of some methods a fresh one.
        sampler: source of the method's samples; None until an M step needs it. Set it to None after a change of the
            features.

    Raises:
        InputError: the settings do not suit the head or the classes.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, classifier: nn.Module) -> None:
        self.recipe, self.dataset, self.settings = recipe, dataset, recipe.stage2
        self.method: Rebalancing = create(REBALANCING, self.settings.method, self.settings.options)
        check_classifier(self.settings, classifier, recipe.head.type)
        targets = dataset.masked_targets("train")
        self.shift = LabelShift(targets, self.settings.prior, self.settings.alpha, self.settings.epsilon)
        self.classifier = self.method.initial_classifier(classifier, recipe.seeds.train)
        self.sampler: Sampler | None = None
        self.optimizer = _make_optimizer(recipe, self.classifier)

    def run_epoch(self, epoch: Epoch, load_features: Callable[[], FeatureSet]) -> dict[str, Any]:
        """Apply the formula, or train the classifier for an epoch of the M step.

        Args:
            epoch: an epoch whose step is ``M`` or ``adjust``.
            load_features: returns the training features; called if a sampler must be made.

        Returns:
            Entries for the log.

        Raises:
            InputError: the features or a setting do not allow it.
        """
        if epoch.step == "adjust":
            self.method.adjust(self.classifier, self.shift)
            return {}
        if self.sampler is None:
            self.sampler = self._make_sampler(load_features(), warn=epoch.round == 0)
        if self.settings.solver == "expected":
            return self._solve(self.sampler)
        at = (epoch.round, epoch.number)
        return {"loss": train_on_samples(self.recipe, self.dataset, self.classifier, self.optimizer, self.sampler, at)}

    def restore_prior(self) -> None:
        """Move the biases back to the training prior, if the recipe wants it."""
        if self.settings.restore_prior:
            shift_biases(self.classifier, -self.shift.log_odds)

    def _make_sampler(self, features: FeatureSet, *, warn: bool) -> Sampler:
        names = self.dataset.label_names if warn else None
        try:
            return self.method.sampler(features.features, features.masked_targets(), self.shift, names)
        except ValueError as error:
            raise InputError(f"stage2: {error}") from error

    def _solve(self, sampler: Sampler) -> dict[str, Any]:
        """Run the M step in the limit of infinitely many samples."""
        settings = self.settings.m_step
        try:
            return self.method.solve(sampler, self.classifier, l2=settings.l2, loss=elementwise(settings.loss))
        except ValueError as error:
            raise InputError(f"stage2.solver=expected: {error}") from error


def check_classifier(settings: Stage2Section, classifier: nn.Module, head: str) -> None:
    """Raise if a setting needs a linear classifier and the head has another.

    Raises:
        InputError: names the setting.
    """
    needs = {
        "stage2.solver=expected": settings.solver == "expected",
        f"stage2.method={settings.method}": REBALANCING.get(settings.method).needs_linear,
        "stage2.restore_prior=true": settings.restore_prior,
    }
    chosen = [name for name, is_chosen in needs.items() if is_chosen]
    if chosen and not isinstance(classifier, PerClassLinear):
        raise InputError(
            f"{chosen[0]} needs a classifier with one weight vector and bias per class; that of head '{head}' is a "
            f"{type(classifier).__name__}. Use stage2.solver=sampled without restore_prior."
        )


def _make_optimizer(recipe: Recipe, classifier: nn.Module) -> Optimizer:
    """Return the optimiser of the M step."""
    settings, train = recipe.stage2.m_step, recipe.train
    return make_optimizer(
        train.optimizer,
        classifier.parameters(),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        betas=train.betas,
        momentum=train.momentum,
    )


def train_on_samples(
    recipe: Recipe,
    dataset: Dataset,
    classifier: nn.Module,
    optimizer: Optimizer,
    sampler: Sampler,
    at: tuple[int, int],
) -> float:
    """Train the classifier for one epoch of the M step on freshly drawn samples (eqs. 12-14).

    Args:
        recipe: the recipe.
        dataset: its data; as many samples are drawn as it has training images unless the recipe says otherwise.
        classifier: the only module that is trained.
        optimizer: optimiser of the classifier.
        sampler: source of the samples.
        at: round and epoch, which fix the samples together with ``seeds.sample``.

    Returns:
        Mean loss.
    """
    settings, device = recipe.stage2.m_step, next(classifier.parameters()).device
    total = settings.samples or len(dataset.splits["train"])
    size = settings.batch_size or recipe.train.batch_size
    loss = build_loss(settings.loss, dataset).to(device)
    loss.set_epoch(at[0] * settings.epochs + at[1])
    source = torch.Generator().manual_seed(derive_seed(recipe.seeds.sample, "virtual", *at))
    seed_epoch(recipe.seeds.sample, "m-step", *at)
    classifier.train()

    def draws() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, total, size):
            features, targets = sampler.sample(min(size, total - start), generator=source)
            yield torch.as_tensor(features).to(device), torch.as_tensor(targets).to(device)

    def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
        features, targets = batch
        logits = _classify_samples(classifier, features, shared=sampler.is_shared)
        value: Tensor = loss(logits, targets.nan_to_num(), ~targets.isnan())
        return value

    batches = track(draws(), -(-total // size), f"stage 2, round {at[0]}, M step")
    return train_epoch(batches, loss_of, optimizer, clip_norm=recipe.train.clip_norm)


def _classify_samples(classifier: nn.Module, features: Tensor, *, shared: bool) -> Tensor:
    """Return logits ``(n, C)`` of samples ``(n, C, D)``.

    A classifier of shared features that is not linear gives the logits of all classes for each feature. Only the logit
    of class ``c`` for the feature drawn for class ``c`` counts.
    """
    if not shared or isinstance(classifier, PerClassLinear):
        logits: Tensor = classifier(features)
        return logits
    all_logits: Tensor = classifier(features.flatten(0, 1)).unflatten(0, features.shape[:2])
    return all_logits.diagonal(dim1=1, dim2=2)


def elementwise(section: LossSection) -> Any:
    """Return the loss of single entries ``(logits, targets) -> losses``; None for bce, which the solver knows itself.

    Raises:
        InputError: the loss couples entries or differs between classes, or its gradient is not that of its value:
            there is nothing to minimise.
    """
    if section.options.get("detach_weight"):
        raise InputError(
            f"stage2.solver=expected minimises the loss itself; with {section.type}.detach_weight=true the gradient is "
            "that of another one. Set it to false, or use stage2.solver=sampled."
        )
    if section.type == "bce":
        return None
    reduction = LOSSES.options(section.type).model_fields.get("reduction")
    if reduction is None or "none" not in get_args(reduction.annotation):
        raise InputError(
            f"stage2.solver=expected needs a loss of single entries, with reduction=none; '{section.type}' couples "
            "them. Use stage2.solver=sampled."
        )
    if LOSSES.needs(section.type):
        raise InputError(
            f"stage2.solver=expected minimises one loss for all classes; '{section.type}' differs between them by "
            "their counts. Use stage2.solver=sampled, or another stage2.m_step.loss."
        )
    return create(LOSSES, section.type, section.options | {"reduction": "none"})


@torch.inference_mode()
def classify(classifier: nn.Module, features: FeatureSet) -> npt.NDArray[np.float64]:
    """Return probabilities ``(N, C)`` of stored features, in eval mode."""
    classifier.eval()
    device = next(classifier.parameters()).device
    chunks = np.array_split(np.arange(len(features.ids)), -(-len(features.ids) // 1024))
    read = partial(torch.tensor, dtype=torch.float32, device=device)
    logits = [classifier(read(np.asarray(features.features[rows]))) for rows in chunks]
    probs: npt.NDArray[np.float64] = torch.cat(logits).double().sigmoid().cpu().numpy()
    return probs


def validate(classifier: nn.Module, features: FeatureSet, dataset: Dataset, select: str) -> float:
    """Return the macro measure of the learned classes that picks a checkpoint, on stored features of val."""
    predictions = to_predictions(classify(classifier, features), dataset, "val")
    return score_learned(predictions, train_counts(dataset), select)
