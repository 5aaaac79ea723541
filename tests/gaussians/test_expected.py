"""The expected solver against quadratures, optimisers and samples that share no code with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from ltml.gaussians import GaussianResampler, expected
from ltml.gaussians.expected import ExpectedFit, TwoSided, expected_auc, expected_loss, fit_expected, lda_direction
from ltml.gaussians.expected_objective import Objective
from ltml.gaussians.gaussian import Gaussian
from ltml.losses.asl import asl_loss
from ltml.losses.gce import gce_loss

Loss = Callable[[Tensor, Tensor], Tensor]


def _bce(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _gce(logits: Tensor, targets: Tensor) -> Tensor:
    return gce_loss(logits, targets, reduction="none")


def _asl(logits: Tensor, targets: Tensor) -> Tensor:
    return asl_loss(logits, targets, reduction="none")


LOSSES = [pytest.param(None, _bce, id="bce"), pytest.param(_gce, _gce, id="gce"), pytest.param(_asl, _asl, id="asl")]


def _features(count: int, width: int, seed: int, shift: float = 0.0) -> Tensor:
    rng = np.random.default_rng(seed)
    mixing = np.eye(width) + np.random.default_rng(9).normal(size=(width, width)) / (2 * width**0.5)
    moved = 1 + shift * rng.normal(size=width) / width**0.5
    return torch.from_numpy(rng.normal(size=(count, width)) @ mixing + moved)


def _dense(rows: Tensor) -> Gaussian:
    return Gaussian(len(rows), rows.mean(dim=0), dense=torch.from_numpy(np.cov(rows.numpy(), rowvar=False)))


def _low_rank(rows: Tensor, level: float = 0.0) -> Gaussian:
    mean, count = rows.mean(dim=0), len(rows)
    diagonal = torch.full_like(mean, level) if level else None
    return Gaussian(count, mean, rows=(rows - mean) / max(count - 1, 1) ** 0.5, diagonal=diagonal)


def _diagonal(rows: Tensor) -> Gaussian:
    return Gaussian(len(rows), rows.mean(dim=0), diagonal=rows.var(dim=0))


def _point(rows: Tensor) -> Gaussian:
    return Gaussian(1, rows[0])


WIDTH = 12
PAIRS: dict[str, TwoSided] = {
    "dense": (_dense(_features(300, WIDTH, 0)), _dense(_features(60, WIDTH, 1, shift=2))),
    "dense and low rank": (_dense(_features(300, WIDTH, 0)), _low_rank(_features(5, WIDTH, 1, shift=2))),
    "low rank": (_low_rank(_features(6, WIDTH, 0)), _low_rank(_features(3, WIDTH, 1, shift=2))),
    "many rows": (_low_rank(_features(11, WIDTH, 0)), _low_rank(_features(7, WIDTH, 1, shift=2))),
    "shrunk": (_low_rank(_features(5, WIDTH, 0), 0.1), _low_rank(_features(3, WIDTH, 1, shift=2), 0.3)),
    "diagonal": (_diagonal(_features(300, WIDTH, 0)), _diagonal(_features(60, WIDTH, 1, shift=2))),
    "dense and point": (_dense(_features(300, WIDTH, 0)), _point(_features(1, WIDTH, 1, shift=2))),
    "points": (_point(_features(1, WIDTH, 0)), _point(_features(1, WIDTH, 1, shift=2))),
    "equal": (_dense(_features(300, WIDTH, 0)), _dense(_features(300, WIDTH, 0))),
}


@pytest.fixture(params=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> TwoSided:
    return PAIRS[request.param]


def _reference(pair: TwoSided, chance: float, weight: Tensor, bias: Tensor, l2: float, loss: Loss) -> Tensor:
    """The objective by the definition: expectations over ``m + s z`` on a fine grid; autograd goes through it."""
    z = torch.linspace(-9, 9, 6001, dtype=torch.float64)
    mass = torch.exp(-(z**2) / 2)
    total = l2 / 2 * weight.square().sum()
    for label, (gaussian, share) in enumerate(zip(pair, (1 - chance, chance), strict=True)):
        variance = weight @ gaussian.covariance() @ weight
        logits = weight @ gaussian.mean + bias + (variance.sqrt() if variance > 0 else 0) * z
        total = total + share * (loss(logits, torch.full_like(logits, label)) * mass).sum() / mass.sum()
    return total


def _reference_gradient(
    pair: TwoSided, chance: float, weight: Tensor, bias: Tensor, l2: float, loss: Loss
) -> tuple[Tensor, Tensor]:
    leaves = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    by_weight, by_bias = torch.autograd.grad(_reference(pair, chance, *leaves, l2, loss), leaves)
    return by_weight, by_bias


def _weights(scale: float = 1.0, seed: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(WIDTH, generator=generator, dtype=torch.float64) * scale
    return weight, torch.tensor(0.3, dtype=torch.float64)


def _fit_one(pair: TwoSided, chance: float, **options: Any) -> ExpectedFit:
    return fit_expected([pair], [chance], **options)


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("mean", [-3.0, 0.0, 0.7, 8.0])
def test_quadrature_of_softplus_is_exact_to_ten_digits(spread: float, mean: float) -> None:
    gaussian = Gaussian(
        9, torch.tensor([mean], dtype=torch.float64), diagonal=torch.tensor([spread**2], dtype=torch.float64)
    )
    value = expected_loss((gaussian, gaussian), 0.0, torch.ones(1), torch.tensor(0.0), l2=0.0)[0]
    reference = np.logaddexp(0, mean)
    if spread:
        kink = -mean / spread  # adaptive quadrature on either side of where softplus bends
        ends = [-12, *([kink] if -12 < kink < 12 else []), 12]

        def integrand(z: float) -> float:
            return float(np.logaddexp(0, mean + spread * z) * norm.pdf(z))

        reference = sum(quad(integrand, *piece, epsabs=1e-13, epsrel=1e-13, limit=500)[0] for piece in pairwise(ends))
    assert value.item() == pytest.approx(reference, abs=1e-10)


@pytest.mark.parametrize(("loss", "same"), LOSSES)
@pytest.mark.parametrize("scale", [0.01, 1.0, 6.0])
def test_value_and_gradient_equal_autograd_through_the_definition(
    pair: TwoSided, loss: Loss | None, same: Loss, scale: float
) -> None:
    weight, bias = _weights(scale)
    close = 1e-8 if same is _asl and scale > 1 else 1e-9  # its clip is not analytic
    value, by_weight, by_bias = expected_loss(pair, 0.2, weight, bias, l2=1e-3, loss=loss)
    assert value.item() == pytest.approx(_reference(pair, 0.2, weight, bias, 1e-3, same).item(), abs=close)
    expected_weight, expected_bias = _reference_gradient(pair, 0.2, weight, bias, 1e-3, same)
    torch.testing.assert_close(by_weight, expected_weight, rtol=0, atol=close)
    torch.testing.assert_close(by_bias, expected_bias, rtol=0, atol=close)


@pytest.mark.parametrize(("loss", "same"), LOSSES)
def test_gradient_equals_central_differences(loss: Loss | None, same: Loss) -> None:
    pair, (weight, bias), step = PAIRS["dense and low rank"], _weights(), 1e-5
    _, by_weight, by_bias = expected_loss(pair, 0.2, weight, bias, loss=loss)
    for i in range(WIDTH + 1):
        move = step * functional.one_hot(torch.tensor(i), WIDTH + 1).double()
        above, below = (
            expected_loss(pair, 0.2, weight + sign * move[:-1], bias + sign * move[-1], loss=loss)[0]
            for sign in (1, -1)
        )
        slope = (above - below) / (2 * step)
        torch.testing.assert_close(slope, torch.cat([by_weight, by_bias[None]])[i], rtol=0, atol=1e-9)


def test_hessian_is_the_derivative_of_the_gradient(pair: TwoSided) -> None:
    """What Newton's step solves with, times the gradient's central difference, is the difference's direction."""
    (weight, bias), step, l2 = _weights(0.7), 1e-5, 0.1
    objective = Objective.of(pair, 0.2, l2)
    objective = replace(objective, matrices=(pair[0].covariance(), pair[1].covariance()))
    solve = objective.inverse_hessian(objective.point(weight, bias))
    for seed in range(3):
        direction = torch.cat([_weights(seed=seed)[0], torch.tensor([0.5]).double()])
        above, below = (
            torch.cat([part.reshape(-1) for part in gradient])
            for gradient in (
                _reference_gradient(pair, 0.2, weight + s * direction[:-1], bias + s * direction[-1], l2, _bce)
                for s in (step, -step)
            )
        )
        torch.testing.assert_close(solve((above - below) / (2 * step)), direction, rtol=0, atol=1e-6)


@pytest.mark.parametrize("chance", [0.01, 0.5])
def test_newton_finds_the_minimum_that_scipy_finds(pair: TwoSided, chance: float) -> None:
    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = torch.from_numpy(x[:-1]), torch.tensor(x[-1])
        value = _reference(pair, chance, weight, bias, 1e-2, _bce).item()
        return value, np.append(*_reference_gradient(pair, chance, weight, bias, 1e-2, _bce))

    found = minimize(objective, np.full(WIDTH + 1, 0.01), jac=True, method="BFGS", options={"gtol": 1e-9})
    fit = _fit_one(pair, chance, l2=1e-2)
    assert fit.loss.item() == pytest.approx(found.fun, abs=1e-12)
    np.testing.assert_allclose(fit.weight[0], found.x[:-1], atol=1e-5)
    assert fit.bias.item() == pytest.approx(found.x[-1], abs=1e-5)


@pytest.mark.parametrize("chance", [0.003, 0.3])
def test_every_kind_of_covariance_converges_to_a_minimum(pair: TwoSided, chance: float) -> None:
    fit = _fit_one(pair, chance)
    assert bool(fit.converged)
    assert bool(fit.fitted)
    assert fit.iterations.item() <= 30
    weight, bias = fit.weight[0], fit.bias[0]
    gradient = torch.cat([part.reshape(-1) for part in _reference_gradient(pair, chance, weight, bias, 1e-4, _bce)])
    assert gradient.norm() < 1e-8
    assert fit.gradient_norm.item() == pytest.approx(gradient.norm().item(), abs=1e-9)
    for seed in range(5):
        move, _ = _weights(0.1, seed)
        moved = _reference(pair, chance, weight + move, bias + 0.1 * seed, 1e-4, _bce)
        assert moved.item() > fit.loss.item()


@pytest.mark.parametrize(("loss", "same"), LOSSES[1:])
def test_other_losses_reach_a_minimum_from_either_start(pair: TwoSided, loss: Loss, same: Loss) -> None:
    binary = _fit_one(pair, 0.3, l2=1e-2)
    weight, bias = _weights(0.5)
    for start in (None, (weight[None], bias[None])):
        fit = _fit_one(pair, 0.3, l2=1e-2, loss=loss, start=start)
        assert bool(fit.converged)
        gradient = _reference_gradient(pair, 0.3, fit.weight[0], fit.bias[0], 1e-2, same)
        assert torch.cat([part.reshape(-1) for part in gradient]).norm() < 1e-7
        assert fit.loss <= expected_loss(pair, 0.3, binary.weight[0], binary.bias[0], l2=1e-2, loss=loss)[0] + 1e-9


def test_with_equal_covariances_the_minimum_is_the_linear_discriminant() -> None:
    first, other = PAIRS["dense"]
    pair = (first, Gaussian(60, other.mean, dense=first.dense))
    direction = np.linalg.solve(first.covariance().numpy(), (other.mean - first.mean).numpy())
    np.testing.assert_allclose(lda_direction(pair, 0.0), direction, rtol=1e-8)
    for chance in (0.5, 0.05):
        fit = _fit_one(pair, chance, l2=0.0)
        np.testing.assert_allclose(fit.weight[0], direction, atol=1e-6)
        bias = np.log(chance / (1 - chance)) - direction @ ((first.mean + other.mean) / 2).numpy()
        assert fit.bias.item() == pytest.approx(bias, abs=1e-6)
    small = _fit_one(pair, 0.5, l2=1e-9)
    np.testing.assert_allclose(small.weight[0], direction, atol=1e-4)


def test_it_is_the_limit_of_logistic_regression_on_samples() -> None:
    rng, width, count, l2 = np.random.default_rng(0), 4, 200_000, 1e-3
    rows = [_features(500, width, seed, shift=2.0 * seed) for seed in (0, 1)]
    pair = (_dense(rows[0]), _dense(rows[1]))
    sizes = (int(count * 0.8), int(count * 0.2))
    samples = [
        rng.multivariate_normal(g.mean.numpy(), g.covariance().numpy(), n) for g, n in zip(pair, sizes, strict=True)
    ]
    model = LogisticRegression(C=1 / (l2 * count), tol=1e-8).fit(np.concatenate(samples), np.repeat([0, 1], sizes))
    fit = _fit_one(pair, 0.2, l2=l2)
    np.testing.assert_allclose(fit.weight[0], model.coef_[0], atol=0.05)
    assert fit.bias.item() == pytest.approx(model.intercept_[0], abs=0.05)


@pytest.mark.parametrize("name", ["low rank", "shrunk"])
def test_the_span_of_few_rows_holds_the_whole_solution(name: str) -> None:
    pair = PAIRS[name]
    matrices = tuple(Gaussian(9, gaussian.mean, dense=gaussian.covariance()) for gaussian in pair)
    few, whole = _fit_one(pair, 0.1), _fit_one((matrices[0], matrices[1]), 0.1)
    torch.testing.assert_close(few.weight, whole.weight, rtol=0, atol=1e-7)
    torch.testing.assert_close(few.bias, whole.bias, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", [_dense, _diagonal])
def test_wide_features_take_lbfgs_to_the_same_answer(
    kind: Callable[[Tensor], Gaussian], monkeypatch: pytest.MonkeyPatch
) -> None:
    width = 150
    pair = (kind(_features(1000, width, 0)), kind(_features(400, width, 1, shift=3)))
    matrices = tuple(Gaussian(9, gaussian.mean, dense=gaussian.covariance()) for gaussian in pair)
    newton = _fit_one((matrices[0], matrices[1]), 0.1)
    monkeypatch.setattr(expected, "EXACT_WIDTH", width - 1)
    lbfgs = _fit_one(pair, 0.1)
    assert newton.iterations < lbfgs.iterations
    assert bool(lbfgs.converged)
    torch.testing.assert_close(lbfgs.weight, newton.weight, rtol=0, atol=1e-4)
    assert lbfgs.loss.item() == pytest.approx(newton.loss.item(), abs=1e-12)


def test_the_answer_follows_shifted_and_rescaled_features() -> None:
    pair = PAIRS["dense"]
    plain = _fit_one(pair, 0.1, l2=0.0)
    moved = tuple(Gaussian(g.count, 1e3 * g.mean + 1e4, dense=1e6 * g.covariance()) for g in pair)
    fit = _fit_one((moved[0], moved[1]), 0.1, l2=0.0)
    torch.testing.assert_close(fit.weight * 1e3, plain.weight, rtol=0, atol=1e-6)
    assert fit.loss.item() == pytest.approx(plain.loss.item(), abs=1e-10)


def test_classes_without_both_gaussians_or_a_probability_are_left_out() -> None:
    absent, present = PAIRS["dense"]
    gaussians = [(absent, present), (absent, None), (None, present), (None, None), (absent, present)]
    fit = fit_expected(gaussians, np.array([0.3, 0.0, 1.0, np.nan, np.nan]))
    assert fit.fitted.tolist() == fit.converged.tolist() == [True, False, False, False, False]
    assert fit.weight.shape == (5, WIDTH)
    assert fit.weight.dtype == torch.float64
    assert torch.isnan(fit.weight[1:]).all()
    for column in (fit.bias, fit.loss, fit.gradient_norm):
        assert torch.isnan(column).tolist() == [False, True, True, True, True]
    assert fit.iterations.tolist()[1:] == [0, 0, 0, 0]
    torch.testing.assert_close(fit.weight[:1], _fit_one(PAIRS["dense"], 0.3).weight)


@pytest.mark.parametrize("chance", [0.0, 1.0, -0.1, 1.5])
def test_a_probability_that_has_no_finite_bias_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1 for class 1.*bias would run to infinity"):
        fit_expected([PAIRS["dense"], PAIRS["dense"]], [0.5, chance])


@pytest.mark.parametrize("name", ["low rank", "points"])
def test_no_penalty_is_refused_where_no_finite_weight_is_best(name: str) -> None:
    with pytest.raises(ValueError, match=r"l2 > 0 but got 0: in class 1 .*Set a penalty"):
        fit_expected([PAIRS["dense"], PAIRS[name]], [0.5, 0.5], l2=0.0)


@pytest.mark.parametrize("name", ["dense", "dense and low rank", "many rows", "shrunk", "equal", "diagonal"])
def test_no_penalty_is_needed_where_a_covariance_reaches_the_difference(name: str) -> None:
    assert bool(_fit_one(PAIRS[name], 0.3, l2=0.0).converged)


def test_a_dead_feature_needs_no_penalty_unless_it_tells_the_labels_apart() -> None:
    dead = [rows.clone() for rows in (_features(300, WIDTH, 0), _features(60, WIDTH, 1, shift=2))]
    for rows in dead:
        rows[:, 3] = 0.1
        rows[:, 5] = rows[:, 6]
    pair = (_dense(dead[0]), _dense(dead[1]))
    assert bool(_fit_one(pair, 0.3, l2=0.0).converged)
    dead[1][:, 3] = 0.2
    with pytest.raises(ValueError, match="leaves the range"):
        _fit_one((pair[0], _dense(dead[1])), 0.3, l2=0.0)


def test_wrong_input_is_refused() -> None:
    pair, (weight, bias) = PAIRS["dense"], _weights()
    with pytest.raises(ValueError, match="l2 ≥ 0 but got -1"):
        _fit_one(pair, 0.5, l2=-1)
    with pytest.raises(ValueError, match="l2 ≥ 0 but got -1"):
        expected_loss(pair, 0.5, weight, bias, l2=-1)
    with pytest.raises(ValueError, match="2 probabilities, one per class, but got 1"):
        fit_expected([pair, pair], [0.5])
    with pytest.raises(ValueError, match="at least one Gaussian"):
        fit_expected([(None, None)], [0.5])
    with pytest.raises(ValueError, match=r"a loss of shape \(2, 129\) but got \(\)"):
        _fit_one(pair, 0.5, loss=lambda x, y: _bce(x, y).mean())


def test_missing_convergence_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    pairs = [PAIRS["dense"], PAIRS["equal"], PAIRS["dense and low rank"]]
    with caplog.at_level(logging.WARNING, logger="ltml.gaussians.expected"):
        fit = fit_expected(pairs, [0.1, 0.1, 0.1], max_iterations=1)
    assert fit.converged.tolist() == [False, True, False]
    assert fit.fitted.all()
    assert torch.isfinite(fit.weight).all()
    assert "class(es) 0, 2" in caplog.text
    caplog.clear()
    fit_expected(pairs, [0.1, 0.1, 0.1])
    assert not caplog.text


def test_gradients_need_not_be_enabled_and_stay_as_they_are() -> None:
    with torch.no_grad():
        quiet = _fit_one(PAIRS["dense"], 0.3, loss=_gce)
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(_fit_one(PAIRS["dense"], 0.3, loss=_gce).weight, quiet.weight, rtol=0, atol=0)
    assert torch.is_grad_enabled()


def test_auc_is_the_chance_that_a_positive_scores_higher() -> None:
    pair, (weight, _) = PAIRS["dense"], _weights()
    rng, w = np.random.default_rng(0), weight.numpy()
    scores = [rng.multivariate_normal(g.mean.numpy(), g.covariance().numpy(), 200_000) @ w for g in pair]
    assert expected_auc(pair, weight) == pytest.approx(np.mean(scores[1] > scores[0]), abs=0.005)
    assert expected_auc(pair, -weight) == pytest.approx(1 - expected_auc(pair, weight))
    assert expected_auc(pair, torch.zeros(WIDTH)) == 0.5
    points = PAIRS["points"]
    towards = points[1].mean - points[0].mean
    assert [expected_auc(points, sign * towards) for sign in (1, -1)] == [1, 0]


def test_no_direction_has_a_higher_auc_than_the_discriminant() -> None:
    pair = PAIRS["dense"]
    direction = lda_direction(pair, 0.0)
    best = expected_auc(pair, direction)
    assert all(expected_auc(pair, direction + 0.1 * _weights(seed=seed)[0]) < best for seed in range(10))
    total = (pair[0].covariance() + pair[1].covariance()).numpy() / 2 + 0.5 * np.eye(WIDTH)
    np.testing.assert_allclose(
        lda_direction(pair, 0.5), np.linalg.solve(total, (pair[1].mean - pair[0].mean).numpy()), rtol=1e-8
    )


def test_the_sampled_answer_approaches_the_expected_one() -> None:
    """Logistic regressions on more and more virtual samples: the excess loss falls in proportion to their number."""
    features, targets = _features(900, 8, 3), (np.arange(900) % 10 == 0).astype(float)[:, None]
    features = features + torch.from_numpy(targets) * 0.5
    resampler = GaussianResampler(prior=[0.3]).fit(features, torch.from_numpy(targets))
    pair: Any = resampler.gaussians_[0]
    exact = fit_expected([pair], [0.3], l2=1e-3)
    excess, cosine = [], []
    for count in (1_000, 10_000, 100_000):
        virtual, labels = resampler.sample(count, seed=0)
        model = LogisticRegression(C=1 / (1e-3 * count), tol=1e-8, max_iter=1000)
        model.fit(virtual[:, 0].double().numpy(), labels[:, 0].numpy())
        weight = torch.from_numpy(model.coef_[0])
        value, *_ = expected_loss(pair, 0.3, weight, torch.tensor(model.intercept_[0]), l2=1e-3)
        excess.append(float(value - exact.loss[0]))
        cosine.append(float(torch.cosine_similarity(weight, exact.weight[0], dim=0)))
    assert excess[0] > 3 * excess[1] > 9 * excess[2] > 0
    assert cosine[0] < cosine[1] < cosine[2]
    assert excess[2] < 1e-4
    assert cosine[2] > 0.999
