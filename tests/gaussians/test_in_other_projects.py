"""How the resampler is used outside this project; each test can be copied."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, recall_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ltml.gaussians import GaussianResampler


class PerClassLogistic(ClassifierMixin, BaseEstimator):
    """One logistic regression per class on virtual features: a scikit-learn classifier of many labels."""

    def __init__(self, resampler: GaussianResampler, seed: int = 0) -> None:
        self.resampler = resampler
        self.seed = seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> PerClassLogistic:  # noqa: N803
        features, targets = clone(self.resampler).fit_resample(X, y, n=4000, seed=self.seed)
        self.models_ = [LogisticRegression(max_iter=300).fit(features[:, c], targets[:, c]) for c in range(y.shape[1])]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        return np.stack([model.predict(X) for model in self.models_], axis=1)


def _balanced(model: object, X: np.ndarray, y: np.ndarray) -> float:  # noqa: N803
    predicted = model.predict(X)  # type: ignore[attr-defined]
    return float(np.mean([balanced_accuracy_score(y[:, c], predicted[:, c]) for c in range(y.shape[1])]))


def test_in_a_scikit_learn_pipeline() -> None:
    features, targets = make_multilabel_classification(1500, 20, n_classes=6, n_labels=1, random_state=0)
    train, test = slice(1000), slice(1000, 1500)
    pipeline = make_pipeline(StandardScaler(), PCA(10), PerClassLogistic(GaussianResampler(prior="uniform")))
    grid = {"perclasslogistic__resampler__covariance": ["diagonal", "ledoit_wolf"], "pca__n_components": [5, 10]}
    search = GridSearchCV(pipeline, grid, scoring=_balanced, cv=2).fit(features[train], targets[train])
    plain = make_pipeline(StandardScaler(), PCA(10), PerClassLogistic(GaussianResampler(prior="natural")))
    plain.fit(features[train], targets[train])
    assert _balanced(search, features[test], targets[test]) > _balanced(plain, features[test], targets[test]) + 0.02


def test_in_a_plain_torch_training_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(2000, 3, generator=generator) < torch.tensor([0.4, 0.1, 0.02])).float()
    features = torch.randn(2000, 3, 16, generator=generator) + targets[..., None] * torch.linspace(0, 1, 16)

    resampler = GaussianResampler(prior="uniform").fit(features, targets)
    weight = torch.zeros(3, 16, requires_grad=True)
    bias = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.05)
    for _ in range(100):
        virtual, labels = resampler.sample(64, generator=generator)
        logits = (virtual * weight).sum(dim=-1) + bias
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    found = (features * weight).sum(dim=-1) + bias > 0
    recall = [recall_score(targets[:, c], found[:, c]) for c in range(3)]
    assert min(recall) > 0.8  # the rarest class, 2 % of the samples, included


def test_on_a_single_label_set() -> None:
    digits = load_digits()
    kept = np.concatenate([np.flatnonzero(digits.target == digit)[: 90 >> digit // 2] for digit in range(10)])
    X, y = digits.data[kept], digits.target[kept]  # noqa: N806
    rest = np.setdiff1d(np.arange(len(digits.data)), kept)
    _, unseen = train_test_split(rest, test_size=400, random_state=0)

    resampler = GaussianResampler(covariance="ledoit_wolf")
    balanced, labels = resampler.fit_resample(X, y, seed=0)
    np.testing.assert_array_equal(balanced[: len(X)], X)
    assert set(np.bincount(labels)) == {90}

    two, two_labels = resampler.sample(seed=0, samples=[(9, 3), (8, 2)])
    assert two.shape == (5, 64)
    assert two_labels.tolist() == [9, 9, 9, 8, 8]

    scores = []
    for features, target in ((X, y), (balanced, labels)):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(features, target)
        scores.append(balanced_accuracy_score(digits.target[unseen], model.predict(digits.data[unseen])))
    assert scores[1] > scores[0]
