"""How losses reach both stages: counts of the known training labels, epochs, and parameters of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import ltml
from ltml.data.dataset import Dataset
from ltml.data.images import ArrayImages
from ltml.errors import InputError
from ltml.objectives.objective import Objective, Step, Term, TrainingContext
from ltml.objectives.supervised import Supervised
from ltml.recipe.load import load_recipe
from ltml.recipe.schema import LossSection
from ltml.registry import LOSSES
from ltml.stages.build import build_loss
from ltml.stages.run_directory import RunDirectory, read_run
from ltml.training.checkpoint import load_weights
from ltml.types import Batch, ModelOutput

FAST = ("train.epochs=1", "data.train_size=64", "data.val_size=64", "data.test_size=32")
NAMES = ltml.list_losses()  # before a test brings one from outside
NEED_COUNTS = [name for name in NAMES if LOSSES.needs(name)]


def _dataset() -> Dataset:
    """Eight rows of train and four of val; class c has no known positive in train."""
    rng = np.random.default_rng(0)
    known = rng.random((12, 3)) < 0.7
    targets = (rng.random((12, 3)) < [0.6, 0.4, 0.5]).astype(np.uint8) * known
    targets[:8, 2] = 0
    ids = [f"i{n}" for n in range(12)]
    return Dataset(
        name="made",
        label_names=tuple("abc"),
        table=pd.DataFrame({"id": ids, "group": ids, "source": "one"}),
        targets=targets,
        known=known,
        splits={"train": np.arange(8), "val": np.arange(8, 12), "test": np.array([], dtype=int)},
        images=ArrayImages(np.zeros((12, 2, 2), dtype=np.uint8), 2, 1),
    )


def _section(name: str, **options: object) -> LossSection:
    return load_recipe("digits", [f"loss.type={name}", *(f"loss.{name}.{k}={v}" for k, v in options.items())]).loss


@pytest.mark.parametrize("name", NEED_COUNTS)
def test_counts_are_those_of_the_known_labels_of_train(name: str) -> None:
    dataset = _dataset()
    inside = dataset.known[:8]
    positives = [int((dataset.targets[:8, c] == 1)[inside[:, c]].sum()) for c in range(3)]
    given = {"class_counts": positives, "num_samples": [int(inside[:, c].sum()) for c in range(3)]}
    expected = ltml.create_loss(name, **{key: given[key] for key in LOSSES.needs(name)})
    built = build_loss(_section(name), dataset)
    tensors = dict(expected.named_buffers()) | dict(expected.named_parameters())
    assert tensors
    for key, tensor in (dict(built.named_buffers()) | dict(built.named_parameters())).items():
        torch.testing.assert_close(tensor, tensors[key])


def test_a_loss_from_outside_that_asks_for_what_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asks(torch.nn.Module):
        def __init__(self, colours: list[str]) -> None:
            super().__init__()

    monkeypatch.setitem(LOSSES._components, "asks", Asks)
    with pytest.raises(InputError, match="needs colours, by name; what is known here: class_counts, num_samples"):
        build_loss(LossSection(type="asks"), _dataset())


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_trains(cli, tmp_path: Path, name: str) -> None:
    result = cli("run", "digits_tiny", *FAST, "method=bce", f"loss.type={name}", "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["stage2"] is None
    assert 0 <= content["stage1"]["macro"]["auroc"] <= 1
    assert yaml.safe_load((Path(content["run_dir"]) / "recipe.yaml").read_text())["loss"]["type"] == name


def test_every_loss_has_a_preset_of_its_name() -> None:
    for name in NAMES:
        recipe = load_recipe("digits_tiny", [f"method={name}"])
        assert (recipe.loss.type, recipe.head.type, recipe.stage2.method) == (name, "linear", "none")
        assert [term.type for term in recipe.objectives] == ["supervised"]


def _step(epoch: int) -> Step:
    rng = torch.Generator().manual_seed(0)
    batch = Batch(
        torch.zeros(6, 1, 2, 2),
        torch.randint(0, 2, (6, 3), generator=rng).float(),
        torch.ones(6, 3, dtype=torch.bool),
        torch.arange(6),
    )
    return Step(batch, ModelOutput(torch.zeros(6, 3), torch.randn(6, 3, generator=rng)), epoch)


def test_the_epoch_reaches_the_loss_through_the_objective() -> None:
    dataset = _dataset()
    loss = build_loss(_section("ldam", drw_epoch=2), dataset)
    context = TrainingContext.of(dataset, 5, (3,), 4)
    objective = Objective([Term(Supervised(loss, context), 1.0, 0)])
    values = [objective(_step(epoch)).item() for epoch in (0, 1, 2, 3, 1)]  # as after a resumed or a new start
    assert values[0] == values[1] == values[4]
    assert values[2] == values[3] != values[0]


def test_variables_of_a_loss_train_with_the_model_and_are_saved() -> None:
    dataset = _dataset()
    loss = build_loss(_section("auc_margin"), dataset)
    objective = Objective([Term(Supervised(loss, TrainingContext.of(dataset, 5, (3,), 4)), 1.0, 0)])
    assert {id(p) for p in objective.shared_parameters()} == {id(p) for p in loss.parameters()}
    assert {"terms.0.loss.a", "terms.0.loss.b", "terms.0.loss.alpha"} == set(objective.state_dict())


def _stage2(tiny_run: Path, *overrides: str) -> RunDirectory:
    """A variant on the stage 1 of a finished run."""
    recipe = load_recipe("digits_tiny", ["stage2.rounds=0", *overrides])
    return read_run(ltml.stage2(recipe, tiny_run.parents[2]).run_dir)[0]


def test_the_m_step_gets_the_counts_and_counts_its_epochs_over_all_rounds(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltml.losses.ldam import LDAMLoss

    told: list[int] = []
    monkeypatch.setattr(LDAMLoss, "set_epoch", lambda self, epoch: told.append(epoch))
    settings = ("stage2.m_step.loss.type=ldam", "stage2.m_step.epochs=2", "stage2.rounds=1")
    ldam = _stage2(tiny_run, *settings, "stage2.e_step.lr=0")
    assert told == [0, 1, 2, 3]
    weighted = _stage2(tiny_run, "stage2.m_step.loss.type=weighted_bce")
    weights = [load_weights(run.checkpoint2)[0]["head.classifier.weight"] for run in (ldam, weighted)]
    assert not torch.equal(*weights)


def test_the_m_step_refuses_a_loss_with_variables_before_stage_1(tmp_path: Path) -> None:
    recipe = load_recipe("digits_tiny", ["stage2.m_step.loss.type=auc_margin"])
    with pytest.raises(InputError, match="m_step.loss.type=auc_margin has parameters of its own"):
        ltml.run(recipe, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["two_way", "mlsl", *NEED_COUNTS])
def test_the_expected_solver_refuses_what_is_not_one_loss_of_single_entries(tmp_path: Path, name: str) -> None:
    recipe = load_recipe("digits_tiny", ["stage2.solver=expected", f"stage2.m_step.loss.type={name}"])
    reason = "differs between them by their counts" if name in NEED_COUNTS else "couples them"
    with pytest.raises(InputError, match=f"stage2.solver=expected .*'{name}' {reason}"):
        ltml.run(recipe, tmp_path)
    assert not list(tmp_path.iterdir())
