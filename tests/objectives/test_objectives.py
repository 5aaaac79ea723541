"""Every term against a slow version, entry by entry, on values and gradients, with random unknown labels."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

import ltml
from ltml.data.dataset import Dataset
from ltml.data.images import ArrayImages
from ltml.errors import InputError
from ltml.objectives.adversarial import Adversarial
from ltml.objectives.consistency import Consistency
from ltml.objectives.objective import Objective, Step, Term, TrainingContext
from ltml.objectives.pseudo_label import PseudoLabel, sharpen
from ltml.objectives.supervised import Supervised
from ltml.objectives.temporal_ensemble import TemporalEnsemble
from ltml.objectives.weighted_partial import WeightedPartial
from ltml.types import Batch, ModelOutput

ROWS, CLASSES = 12, 4
LOSS = ltml.create_loss("bce")


def context(epochs: int = 5) -> TrainingContext:
    """Two sources; the first labels classes 0 and 1, the second 1, 2 and 3; class 3 has no positive."""
    rng = np.random.default_rng(0)
    known = np.ones((ROWS, CLASSES), dtype=bool)
    known[:6, 2:] = False
    known[6:, 0] = False
    targets = (rng.random((ROWS, CLASSES)) < [0.5, 0.3, 0.3, 0]).astype(np.uint8) * known
    ids = [f"i{n}" for n in range(ROWS)]
    dataset = Dataset(
        name="made",
        label_names=tuple("abcd"),
        table=pd.DataFrame({"id": ids, "group": ids, "source": ["one"] * 6 + ["two"] * 6}),
        targets=targets,
        known=known,
        splits={"train": np.arange(ROWS - 1), "val": np.array([ROWS - 1]), "test": np.array([], dtype=int)},
        images=ArrayImages(np.zeros((ROWS, 2, 2), dtype=np.uint8), 2, 1),
    )
    made = TrainingContext.of(dataset, epochs, (CLASSES, 3), 5)
    inside = known[:-1]
    np.testing.assert_array_equal(made.positives, (targets[:-1] * inside).sum(axis=0))
    np.testing.assert_array_equal(made.negatives, ((1 - targets[:-1]) * inside).sum(axis=0))
    return made


def step(seed: int = 0, *, epoch: int = 0, rows: Tensor | None = None, unknown: float = 0.4) -> Step:
    rng = torch.Generator().manual_seed(seed)
    chosen = torch.arange(6) if rows is None else rows
    shape = (len(chosen), CLASSES)
    known = torch.rand(shape, generator=rng) >= unknown
    targets = (torch.rand(shape, generator=rng) < 0.5).float() * known
    weak, strong = (torch.randn(shape, generator=rng).mul_(2).requires_grad_() for _ in range(2))
    batch = Batch(torch.zeros(len(chosen), 1, 2, 2), targets, known, chosen)
    features = torch.randn(len(chosen), CLASSES, 3, generator=rng).requires_grad_()
    pooled = torch.randn(len(chosen), 5, generator=rng).requires_grad_()
    return Step(batch, ModelOutput(features, weak, pooled), epoch, ModelOutput(features, strong, pooled))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def slow_sharpened(answer: float, threshold: float, t: float | None) -> float:
    if t is None:
        return answer
    return answer + (1 - answer) / t if answer > threshold else answer - answer / t


@pytest.mark.parametrize("t", [1, 2.5, 4, None])
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_pseudo_label_and_consistency(t: float | None, threshold: float) -> None:
    for seed in range(5):
        given = step(seed)
        for module, logits in (
            (PseudoLabel(LOSS, context(), threshold=threshold, t=t), given.output.logits),
            (Consistency(LOSS, context(), threshold=threshold, t=t), given.strong.logits),
        ):
            value = module(given)
            (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
            total, count = 0.0, 0
            expected = torch.zeros_like(logits)
            for b in range(len(logits)):
                for c in range(CLASSES):
                    if given.batch.known[b, c]:
                        continue
                    weak = slow_sharpened(sigmoid(given.output.logits[b, c].item()), threshold, t)
                    answer = sigmoid(logits[b, c].item())
                    total += (answer - weak) ** 2
                    expected[b, c] = 2 * (answer - weak) * answer * (1 - answer)
                    count += 1
            assert value.item() == pytest.approx(total / count, rel=1e-5)
            torch.testing.assert_close(gradient, expected / count, rtol=1e-4, atol=1e-7)


def test_the_weak_view_gets_no_gradient_from_consistency() -> None:
    given = step()
    Consistency(LOSS, context())(given).backward()
    assert given.output.logits.grad is None
    assert given.strong.logits.grad is not None
    assert (given.strong.logits.grad[given.batch.known] == 0).all()


def test_sharpening_by_hand() -> None:
    answers = torch.tensor([0.8, 0.5, 0.1])
    torch.testing.assert_close(sharpen(answers, 0.5, 4), torch.tensor([0.85, 0.375, 0.075]))
    torch.testing.assert_close(sharpen(answers, 0.5, 1), torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(sharpen(answers, 0.5, None), answers)


def test_supervised_gives_unknown_entries_exactly_no_gradient() -> None:
    given = step()
    Supervised(LOSS, context())(given).backward()
    assert (given.output.logits.grad[~given.batch.known] == 0).all()
    assert (given.output.logits.grad[given.batch.known] != 0).all()


def test_weighted_partial() -> None:
    told = context()
    for seed in range(5):
        given = step(seed)
        module = WeightedPartial(LOSS, told, common_weight=3.0)
        value = module(given)
        (gradient,) = torch.autograd.grad(value, given.output.logits)
        total, count = 0.0, 6 * CLASSES  # all classes, known or not
        expected = torch.zeros_like(gradient)
        for b in range(6):
            for c in range(CLASSES):
                if not given.batch.known[b, c]:
                    continue
                positives, negatives = int(told.positives[c]), int(told.negatives[c])
                beta = negatives / positives if positives else 1.0
                alpha = 3.0 if c == 1 else 1.0  # the one class that both sources label
                p, y = sigmoid(given.output.logits[b, c].item()), given.batch.targets[b, c].item()
                total -= alpha * (beta * y * math.log(p) + (1 - y) * math.log(1 - p))
                expected[b, c] = alpha * (-beta * y * (1 - p) + (1 - y) * p)
        assert value.item() == pytest.approx(total / count, rel=1e-5)
        torch.testing.assert_close(gradient, expected / count, rtol=1e-4, atol=1e-7)


class SlowEnsemble:
    """Luo et al., eqs. 4 to 6, with a list of past predictions per sample."""

    def __init__(self, gamma: float, *, uncertainty: bool, hard: bool, epochs: int, over: str = "all") -> None:
        self.gamma, self.uncertainty, self.hard, self.epochs, self.over = gamma, uncertainty, hard, epochs, over
        self.past: dict[int, dict[int, list[float]]] = {}

    def __call__(self, given: Step) -> float:
        share = given.epoch / max(self.epochs - 1, 1)
        limit = 0.4 * (1 - share)
        total, count = 0.0, 0
        answers = given.output.logits.detach().double().sigmoid()
        for b, row in enumerate(given.batch.rows.tolist()):
            earlier = [p for epoch, p in sorted(self.past.get(row, {}).items()) if epoch < given.epoch]
            for c in range(CLASSES):
                p = answers[b, c].item()
                if given.batch.known[b, c] or not earlier or (self.uncertainty and abs(0.5 - p) < limit):
                    continue
                weights = [(1 - self.gamma) * self.gamma ** (len(earlier) - 1 - k) for k in range(len(earlier))]
                z = sum(w * past[c] for w, past in zip(weights, earlier, strict=True)) / (
                    1 - self.gamma ** len(earlier)
                )
                total += (p - (float(z > 0.5) if self.hard else z)) ** 2
                count += 1
        for b, row in enumerate(given.batch.rows.tolist()):
            self.past.setdefault(row, {})[given.epoch] = answers[b].tolist()
        return total / (len(answers) * CLASSES if self.over == "all" else max(count, 1))


@pytest.mark.parametrize("uncertainty", [True, False])
@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("over", ["all", "selected"])
def test_temporal_ensemble_is_the_bias_corrected_average_of_each_sample_s_epochs(
    uncertainty: bool, hard: bool, over: str
) -> None:
    """Samples come a varying number of times an epoch, or not at all."""
    epochs = 6
    slow = SlowEnsemble(0.9, uncertainty=uncertainty, hard=hard, epochs=epochs, over=over)
    module = TemporalEnsemble(LOSS, context(epochs), uncertainty=uncertainty, hard=hard, over=over)
    rng, values = np.random.default_rng(1), []
    for epoch in range(epochs):
        for batch in range(4):
            rows = torch.from_numpy(rng.choice(ROWS, 5, replace=False))
            given = step(100 * epoch + batch, epoch=epoch, rows=rows)
            value = module(given)
            values.append(value.item())
            assert value.item() == pytest.approx(slow(given), rel=1e-4, abs=1e-7)
            value.backward()
            assert (given.output.logits.grad[given.batch.known] == 0).all()
    assert values[0] == 0  # no past yet
    assert max(values[8:]) > 0


def test_the_ensemble_divides_by_all_entries_unless_told_otherwise() -> None:
    one, other = TemporalEnsemble(LOSS, context(6)), TemporalEnsemble(LOSS, context(6), over="all")
    for epoch in range(4):
        given = step(epoch, epoch=epoch)
        assert one(given).item() == other(given).item()


def test_the_memory_of_the_ensemble_survives_saving(tmp_path: Path) -> None:
    whole, first = (TemporalEnsemble(LOSS, context(6)) for _ in range(2))
    steps = [step(n, epoch=n // 2, rows=torch.arange(n % 3, n % 3 + 6)) for n in range(10)]
    expected = [whole(given).item() for given in steps]
    for given in steps[:5]:
        first(given)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = TemporalEnsemble(LOSS, context(6))
    second.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert [second(given).item() for given in steps[5:]] == expected[5:]


@pytest.mark.parametrize("holistic", [False, True])
def test_adversaries_are_stepped_by_their_own_optimiser_and_the_model_by_their_negative_error(holistic: bool) -> None:
    torch.manual_seed(0)
    term = Adversarial(LOSS, context(), holistic=holistic, lr=1e-2)
    assert len(term.discriminators) == 1  # class 1 is the one that both sources label
    before = copy.deepcopy(term.discriminators)
    given = step(rows=torch.arange(3, 9))
    value = term(given)
    after = [parameter.detach().clone() for parameter in term.discriminators.parameters()]
    feature = given.output.pooled if holistic else given.output.features[:, 1]
    sources = torch.tensor([0, 0, 0, 1, 1, 1])

    slow = torch.optim.RMSprop(before.parameters(), lr=1e-2)
    (2 * functional.cross_entropy(before[0](feature.detach()), sources)).backward()  # two sources, equally many rows
    slow.step()
    for ours, theirs in zip(after, before.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach())
    expected = -2 * functional.cross_entropy(before[0](feature), sources)
    torch.testing.assert_close(value, expected)

    (theirs,) = torch.autograd.grad(expected, feature)
    value.backward()
    source = given.output.pooled if holistic else given.output.features
    torch.testing.assert_close(source.grad if holistic else source.grad[:, 1], theirs)
    if not holistic:
        assert (source.grad[:, [0, 2, 3]] == 0).all()  # classes that are not common
    for parameter, kept in zip(term.discriminators.parameters(), after, strict=True):
        torch.testing.assert_close(parameter.detach(), kept)  # the model's step leaves them alone
    objective = Objective([Term(Supervised(LOSS, context()), 1.0, 0), Term(term, 0.03, 0)])
    assert objective.shared_parameters() == []


@pytest.mark.parametrize("sources", [[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2], [2, 2, 0, 2, 2, 2]])
def test_the_adversaries_error_is_summed_over_common_classes_and_sources(sources: list[int]) -> None:
    """Eq. 3 entry by entry: the expectation within each source, then plain sums; a source may be missing."""
    torch.manual_seed(0)
    told = context()._replace(
        common=torch.tensor([True, False, True, True]),
        sources=("one", "two", "three"),
        source_of_row=torch.tensor(sources + [0] * (ROWS - len(sources))),
    )
    term, given = Adversarial(LOSS, told, lr=1e-9), step()
    value = term(given)
    total = 0.0
    for place, c in enumerate((0, 2, 3)):
        answers = term.discriminators[place](given.output.features[:, c]).detach().double().softmax(dim=1)
        for source in range(3):
            rows = [row for row in range(6) if sources[row] == source]
            total += sum(-math.log(answers[row, source].item()) / len(rows) for row in rows)
    assert value.item() == pytest.approx(-total, rel=1e-5)
    if sources == [0, 0, 1, 1, 2, 2]:
        plain = torch.stack(
            [
                functional.cross_entropy(term.discriminators[place](given.output.features[:, c]), torch.tensor(sources))
                for place, c in enumerate((0, 2, 3))
            ]
        ).mean()
        assert value.item() == pytest.approx(-9 * plain.item(), rel=1e-5)  # 3 classes times 3 sources


def _play(weight: float) -> tuple[float, float]:
    """Accuracy of a fresh source classifier, and of the task, after a linear generator has played the game."""
    torch.manual_seed(0)
    told, rng = context(), torch.Generator().manual_seed(0)
    generator, classifier = torch.nn.Linear(6, 3), torch.nn.Linear(3, 1)
    term = Adversarial(LOSS, told, lr=1e-2, width=16)
    optimizer = torch.optim.Adam([*generator.parameters(), *classifier.parameters()], lr=1e-2)

    def draw(count: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.randint(0, ROWS, (count,), generator=rng)
        label = torch.randint(0, 2, (count,), generator=rng).float()
        inputs = torch.randn(count, 6, generator=rng)
        inputs[:, 0] += 2 * (2 * label - 1)  # one input tells the label, another the source
        inputs[:, 1] += 3 * (2 * told.source_of_row[rows] - 1).float()
        return rows, label, inputs

    for _ in range(400):
        rows, label, inputs = draw(64)
        feature = generator(inputs)
        features = feature[:, None].expand(-1, CLASSES, -1)
        batch = Batch(inputs, torch.zeros(64, CLASSES), torch.ones(64, CLASSES, dtype=torch.bool), rows)
        value = term(Step(batch, ModelOutput(features, features[..., 0]), 0))
        loss = functional.binary_cross_entropy_with_logits(classifier(feature)[:, 0], label) + weight * value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rows, label, inputs = draw(2000)
    feature, sources = generator(inputs).detach(), told.source_of_row[rows]
    probe = LogisticRegression().fit(feature[:1000], sources[:1000])
    task = ((classifier(feature)[:, 0] > 0) == (label > 0)).float().mean().item()
    return float(probe.score(feature[1000:], sources[1000:])), task


def test_the_game_hides_the_source_and_keeps_the_task() -> None:
    plain, task = _play(0.0)
    hidden, still = _play(0.5)  # one class and two sources: the sum is twice the mean
    assert plain > 0.95
    assert hidden < 0.75
    assert still > task - 0.05 > 0.85


def test_the_log_is_told_how_often_the_adversaries_were_right_before_each_step() -> None:
    torch.manual_seed(0)
    term = Adversarial(LOSS, context(), lr=1e-1)
    objective = Objective([Term(Supervised(LOSS, context()), 1.0, 0), Term(term, 0.03, 0)])
    right = []
    for _ in range(3):
        rows = torch.randperm(ROWS)[:6]
        given = step(rows=rows)
        answers = term.discriminators[0](given.output.features[:, 1]).argmax(dim=1)
        right.append((answers == context().source_of_row[rows]).float().mean().item())
        objective(given)
    assert objective.report() == {"source_accuracy": pytest.approx(sum(right) / 3)}
    assert objective.report() == {}  # the next epoch begins anew


def test_the_state_of_the_adversaries_optimiser_is_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = Adversarial(LOSS, context(), lr=1e-2)
    first = copy.deepcopy(whole)
    first.optimizer = torch.optim.RMSprop(first.discriminators.parameters(), lr=1e-2)
    steps = [step(n) for n in range(6)]
    expected = [whole(given).item() for given in steps]
    for given in steps[:3]:
        first(given)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = Adversarial(LOSS, context(), lr=1e-2)
    second.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert [second(given).item() for given in steps[3:]] == pytest.approx(expected[3:], rel=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sources": ("one",)}, "needs images of two sources or more"),
        ({"common": torch.zeros(CLASSES, dtype=torch.bool)}, "needs a class that every source labels"),
        ({"feature_shape": (3,)}, "needs a feature per class: use head.type=branches"),
    ],
)
def test_what_adversaries_need(changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Adversarial(LOSS, context()._replace(**changed))


def test_terms_start_when_the_recipe_says_and_are_summed_with_their_weights() -> None:
    supervised, pseudo = Supervised(LOSS, context()), PseudoLabel(LOSS, context())
    objective = Objective([Term(supervised, 1.0, 0), Term(pseudo, 2.5, 3), Term(Consistency(LOSS, context()), 1.0, 4)])
    assert [objective.needs_strong(epoch) for epoch in (None, 3, 4)] == [True, False, True]
    for epoch in (2, 3):
        given = step(epoch=epoch)
        expected = supervised(given) + (2.5 * pseudo(given) if epoch == 3 else 0)
        torch.testing.assert_close(objective(given), expected)


@pytest.mark.parametrize("unknown", [0.0, 1.0])
@pytest.mark.parametrize("term", [Supervised, PseudoLabel, Consistency, WeightedPartial, TemporalEnsemble, Adversarial])
def test_batches_where_all_or_nothing_is_known_are_finite(term: type, unknown: float) -> None:
    given = step(unknown=unknown, epoch=1)
    value = term(LOSS, context())(given)
    value.backward()
    assert math.isfinite(value.item())


METHODS = (
    "label_assemble",
    "fixmatch",
    "luo",
    "luo_tw",
    "luo_tw_tat",
    "luo_tw_ute",
    "luo_hat",
    "luo_hard",
    "dodnet",
    "multi_task",
)


@pytest.mark.parametrize("method", METHODS)
def test_presets_run_on_partly_labelled_data(cli, tmp_path: Path, method: str) -> None:
    sizes = "train_size: 120, val_size: 60, test_size: 40, imbalance_ratio: 5.0"
    halves = (
        f"[{{type: digits, name: odd, part: [1, 2], labels_kept: [zero, one, three, five, seven, nine], {sizes}}}, "
        f"{{type: digits, name: even, part: [2, 2], labels_kept: [zero, two, four, six, eight], {sizes}}}]"
    )
    small = ["data.image_size=32", "data.channels=1", "data.resize=null", "data.draw=equal", "train.epochs=7"]
    small += ["backbone={name: resnet18, pretrained: false, options: {layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}}"]
    views = "data.views={strong: [{RandomErasing: {p: 1.0}}]}"
    options = (f"data.sources={halves}", f"method={method}", *small, views, "--out", tmp_path)
    result = cli("stage1", "cxr_union", *options)
    assert result.exit_code == 0, result.output
    assert "nine" in result.stdout


def test_two_views_are_asked_for_where_they_are_needed(cli, tmp_path: Path) -> None:
    result = cli("stage1", "digits_tiny", "method=label_assemble", "data.views.strong=[]", "--out", tmp_path)
    assert result.exit_code == 2
    assert "the objective 'consistency' compares two views" in result.stderr
    assert not list(tmp_path.iterdir())
