"""Fit the classifier of stage 2 on features: by virtual samples, in their limit, or by a shift of its biases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ltml.errors import InputError
from ltml.gaussians.balanced import BalancedResampler
from ltml.gaussians.expected import fit_expected
from ltml.gaussians.mixup import MixupResampler
from ltml.gaussians.probabilities import label_probabilities, prior_shift
from ltml.gaussians.real import RealResampler
from ltml.gaussians.resampler import GaussianResampler
from ltml.gaussians.smote import SmoteResampler
from ltml.models.classifier import PerClassLinear
from ltml.objectives.objective import tell_epoch
from ltml.processes.bars import track
from ltml.recipe.schema import LossSection, Recipe, Stage2Section
from ltml.registry import LOSSES, create
from ltml.seeds import derive_seed
from ltml.stages.build import build_loss
from ltml.stages.evaluate import score_learned, train_counts
from ltml.stages.predict import to_predictions
from ltml.training.loop import seed_epoch, train_epoch
from ltml.training.optim import make_optimizer
from ltml.types import Dataset, FeatureSet

Resampler = GaussianResampler | RealResampler | BalancedResampler | MixupResampler

UNTRAINED = ("bias_shift", "logit_adjust", "tau_norm")
"""Methods that change the classifier by a formula and train nothing."""
FROZEN = ("crt", "smote", "mixup")
"""Methods that train the classifier alone, whatever `stage2.rounds` says."""


class LabelShift:
    """What stage 2 does to the prior of every class.

    Args:
        settings: of stage 2.
        targets: of the training samples ``(N, C)``, NaN where unknown.

    Attributes:
        probabilities: P(label 1) among virtual samples, float64 ``(C,)``.
        log_odds: how much higher than among training samples, float64 ``(C,)``; 0 where no class can be told.
        natural: log-odds among training samples, float64 ``(C,)``, likewise.

    Raises:
        InputError: the prior does not suit the classes.
    """

    def __init__(self, settings: Stage2Section, targets: npt.NDArray[np.floating[Any]]) -> None:
        positives, negatives = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
        try:
            self.probabilities = label_probabilities(
                positives, negatives, settings.prior, alpha=settings.alpha, eps=settings.epsilon
            )
        except ValueError as error:
            raise InputError(f"stage2.prior: {error}") from error
        self.log_odds = prior_shift(self.probabilities, positives, negatives)
        self.natural = -prior_shift(np.full(len(positives), 0.5), positives, negatives)


def check_classifier(settings: Stage2Section, classifier: nn.Module, head: str) -> None:
    """Refuse what holds for linear classifiers only where the head has another.

    Raises:
        InputError: names the setting.
    """
    wanted = {
        "stage2.solver=expected": settings.solver == "expected",
        f"stage2.method={settings.method}": settings.method in (*UNTRAINED, "crt"),
        "stage2.restore_prior=true": settings.restore_prior,
    }
    asked = [name for name, chosen in wanted.items() if chosen]
    if asked and not isinstance(classifier, PerClassLinear):
        raise InputError(
            f"{asked[0]} needs a classifier with one weight vector and bias per class; that of head '{head}' is a "
            f"{type(classifier).__name__}. Use stage2.solver=sampled without restore_prior."
        )


def make_resampler(
    settings: Stage2Section, features: FeatureSet, label_names: Sequence[str], *, warn: bool
) -> Resampler:
    """Label-0 and label-1 Gaussians of every class (eqs. 9-10), or what draws from real features instead.

    Raises:
        InputError: a setting or the features do not allow it.
    """
    targets = features.masked_targets()
    if settings.method == "real_resample":
        return RealResampler(features.features, targets, LabelShift(settings, targets).probabilities)
    if settings.method == "smote":
        prior = LabelShift(settings, targets).probabilities
        return SmoteResampler(features.features, targets, prior, settings.neighbors)
    if settings.method == "mixup":
        return MixupResampler(features.features, targets, settings.mixup_alpha)
    try:
        if settings.method == "crt":
            return BalancedResampler(features.features, targets)
        resampler = GaussianResampler(
            covariance=settings.covariance,
            borrow=settings.borrow,
            prior=settings.prior,
            alpha=settings.alpha,
            eps=settings.epsilon,
        )
        return resampler.fit(features.features, targets, label_names=label_names, warn=warn)
    except ValueError as error:
        raise InputError(f"stage2: {error}") from error


def make_m_optimizer(recipe: Recipe, classifier: nn.Module) -> Optimizer:
    """The optimiser of the M step."""
    settings, train = recipe.stage2.m_step, recipe.train
    return make_optimizer(
        train.optimizer,
        classifier.parameters(),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        betas=train.betas,
        momentum=train.momentum,
    )


def m_step(
    recipe: Recipe,
    dataset: Dataset,
    classifier: nn.Module,
    optimizer: Optimizer,
    resampler: Resampler,
    at: tuple[int, int],
) -> dict[str, Any]:
    """An epoch of the M step, or all of it at once in the limit; see `train_on_virtual` and `solve_expected`.

    Returns:
        What the log says of it, the loss among it.
    """
    if recipe.stage2.solver == "sampled":
        return {"loss": train_on_virtual(recipe, dataset, classifier, optimizer, resampler, at)}
    assert isinstance(classifier, PerClassLinear)
    assert isinstance(resampler, GaussianResampler)
    return solve_expected(recipe.stage2, classifier, resampler)


def train_on_virtual(
    recipe: Recipe,
    dataset: Dataset,
    classifier: nn.Module,
    optimizer: Optimizer,
    resampler: Resampler,
    at: tuple[int, int],
) -> float:
    """An epoch of the M step: train the classifier on fresh virtual features (eqs. 12-14).

    Args:
        recipe: the recipe.
        dataset: its data; there are as many virtual samples as training ones unless the recipe says otherwise.
        classifier: its parameters are the only ones that move.
        optimizer: of the classifier.
        resampler: what the virtual features come from.
        at: round and epoch, which fix the sample together with ``seeds.sample``.

    Returns:
        Mean loss.
    """
    settings, device = recipe.stage2.m_step, next(classifier.parameters()).device
    total = settings.samples or len(dataset.splits["train"])
    size = settings.batch_size or recipe.train.batch_size
    loss = build_loss(settings.loss, dataset).to(device)
    tell_epoch(loss, at[0] * settings.epochs + at[1])
    source = torch.Generator().manual_seed(derive_seed(recipe.seeds.sample, "virtual", *at))
    seed_epoch(recipe.seeds.sample, "m-step", *at)
    classifier.train()

    def draws() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, total, size):
            features, targets = resampler.sample(min(size, total - start), generator=source)
            yield torch.as_tensor(features).to(device), torch.as_tensor(targets).to(device)

    def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
        features, targets = batch
        logits = _classify_virtual(classifier, features, shared=resampler.is_shared)
        value: Tensor = loss(logits, targets.nan_to_num(), ~targets.isnan())
        return value

    shown = track(draws(), -(-total // size), f"stage 2, round {at[0]}, M step")
    return train_epoch(shown, loss_of, optimizer, clip_norm=recipe.train.clip_norm)


def _classify_virtual(classifier: nn.Module, features: Tensor, *, shared: bool) -> Tensor:
    """Logits ``(n, C)`` of virtual features ``(n, C, D)``.

    A classifier of shared features that is not linear answers for all classes from one feature; of each class's own
    virtual feature only the answer for that class counts.
    """
    if not shared or isinstance(classifier, PerClassLinear):
        logits: Tensor = classifier(features)
        return logits
    answers: Tensor = classifier(features.flatten(0, 1)).unflatten(0, features.shape[:2])
    return answers.diagonal(dim1=1, dim2=2)


def solve_expected(settings: Stage2Section, classifier: PerClassLinear, resampler: GaussianResampler) -> dict[str, Any]:
    """The M step in the limit of infinitely many virtual samples; classes without both labels keep what they had.

    Returns:
        For the log: mean loss, classes fitted, how many of them converged, most iterations.

    Raises:
        InputError: no finite classifier minimises the expected loss, or the loss is not one of single entries.
    """
    try:
        result = fit_expected(
            resampler.gaussians_,
            torch.from_numpy(resampler.probabilities_),
            l2=settings.m_step.l2,
            loss=elementwise(settings.m_step.loss),
        )
    except ValueError as error:
        raise InputError(f"stage2.solver=expected: {error}") from error
    fitted = result.fitted
    with torch.no_grad():
        device = classifier.weight.device
        classifier.weight[fitted.to(device)] = result.weight[fitted].to(classifier.weight)
        classifier.bias[fitted.to(device)] = result.bias[fitted].to(classifier.bias)
    return {
        "loss": float(result.loss[fitted].mean()),
        "fitted": int(fitted.sum()),
        "converged": int(result.converged[fitted].sum()),
        "iterations": int(result.iterations[fitted].max()),
    }


def elementwise(section: LossSection) -> Any:
    """The loss of single entries ``(logits, targets) -> losses``; None for bce, which the solver knows itself.

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


def reset_classifier(classifier: nn.Module, seed: int) -> PerClassLinear:
    """A classifier of the same shape with fresh weights, as classifier re-training begins (Kang et al., ICLR 2020)."""
    assert isinstance(classifier, PerClassLinear)
    torch.manual_seed(derive_seed(seed, "crt"))
    return PerClassLinear.initialised(*classifier.weight.shape).to(classifier.weight.device)


def adjust_classifier(settings: Stage2Section, classifier: nn.Module, shift: LabelShift) -> None:
    """Change a linear classifier by a formula; nothing is trained.

    - ``bias_shift``: biases move from the training prevalence to the sampling prior.
    - ``logit_adjust``: ``b_c − tau logit(F_c)`` (Menon et al., ICLR 2021, post-hoc, in its binary form).
    - ``tau_norm``: ``w_c / ‖w_c‖^tau`` (Kang et al., ICLR 2020). Their softmax compares classes, so norms decide
      between them; a sigmoid per class keeps its ranking, and what changes is where it stands to the threshold. The
      bias, which they drop, stays: without it no class would know how rare it is.
    """
    assert isinstance(classifier, PerClassLinear)
    if settings.method == "bias_shift":
        shift_biases(classifier, shift.log_odds)
    elif settings.method == "logit_adjust":
        shift_biases(classifier, -settings.tau * shift.natural)
    else:
        with torch.no_grad():
            norms = classifier.weight.double().norm(dim=1, keepdim=True).clamp(min=1e-12)
            classifier.weight.copy_(classifier.weight.double() / norms**settings.tau)


def shift_biases(classifier: nn.Module, log_odds: npt.NDArray[np.float64]) -> None:
    """Add to every class's bias."""
    assert isinstance(classifier, PerClassLinear)
    with torch.no_grad():
        classifier.bias.add_(torch.from_numpy(log_odds).to(classifier.bias))


@torch.inference_mode()
def classify(classifier: nn.Module, features: FeatureSet) -> npt.NDArray[np.float64]:
    """Probabilities ``(N, C)`` of stored features, in eval mode."""
    classifier.eval()
    device = next(classifier.parameters()).device
    chunks = np.array_split(np.arange(len(features.ids)), -(-len(features.ids) // 1024))
    read = partial(torch.tensor, dtype=torch.float32, device=device)
    logits = [classifier(read(np.asarray(features.features[rows]))) for rows in chunks]
    probs: npt.NDArray[np.float64] = torch.cat(logits).double().sigmoid().cpu().numpy()
    return probs


def validate(classifier: nn.Module, features: FeatureSet, dataset: Dataset, select: str) -> float:
    """The macro measure of the learned classes that picks a checkpoint, on stored features of val."""
    answers = to_predictions(classify(classifier, features), dataset, "val")
    return score_learned(answers, train_counts(dataset), select)
