"""Training by as many processes as there are: ``torchrun --nproc-per-node 2 tests/distributed/worker.py FOLDER``.

All of it in float64, where two processes that compute the same differ by 1e-12 and not by what float32 makes of it over
a few steps. Every process leaves what it got in ``FOLDER/rank<r>.pt``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import ltml
from ltml.errors import InputError
from ltml.processes.collectives import (
    broadcast,
    gather_rows,
    local_rank_zero_first,
    process_group,
    rank_zero_only,
    sum_gradients,
    sum_over,
)
from ltml.processes.world import World
from ltml.recipe.load import load_recipe
from ltml.recipe.schema import Recipe
from ltml.stages.build import build_dataset, build_loader
from ltml.stages.evaluate import RunResult
from ltml.stages.predict import predict
from ltml.stages.run_directory import RunDirectory
from ltml.stages.stage1 import Stage1Training
from ltml.training.devices import choose_compute
from ltml.training.resume import TrainingState

EPOCHS = (0, 5)
"""The terms on unknown labels start at 5; an ensemble has a past from the second epoch on."""
STOP_AFTER = 2


@contextmanager
def in_double() -> Iterator[None]:
    """Compute in float64 where it would be float32."""
    torch.set_default_dtype(torch.float64)
    try:
        with patch.object(Tensor, "float", Tensor.double):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def two_sources(method: str, *more: str) -> Recipe:
    """Two partly labelled sources and a model without batch norm or dropout; the last batch has three or two rows."""
    sizes = "val_size: 48, test_size: 16, imbalance_ratio: 3.0"
    sources = (
        f"[{{type: digits, name: low, part: [1, 2], labels_kept: [zero, one, two], train_size: 66, {sizes}}}, "
        f"{{type: digits, name: high, part: [2, 2], labels_kept: [two, three, four], train_size: 36, {sizes}}}]"
    )
    net = "{layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], norm_layer: groupnorm1}"
    small = ["data.image_size=32", "data.resize=null", "data.channels=1", "train.epochs=7", "train.batch_size=16"]
    small += [
        f"backbone={{name: resnet18, pretrained: false, options: {net}}}",
        "head.prompt_query={width: 16, dropout: 0}",
        "head.query2label={width: 16, dropout: 0}",
    ]
    small += ["data.views={strong: [{RandomErasing: {p: 1.0}}]}"]
    small += [] if method == "multi_task" else ["data.labels=[zero, one, two, three, four]"]
    draw = "equal" if method.startswith("luo") else "natural"
    return load_recipe("cxr_union", [f"data.sources={sources}", f"method={method}", f"data.draw={draw}", *small, *more])


def different_presets() -> list[str]:
    """One method of all that have the same stage 1."""
    found: dict[str, str] = {}
    for method in ltml.list_methods():
        recipe = load_recipe("cxr_union", [f"method={method}"])
        found.setdefault(repr((recipe.head.type, recipe.loss, recipe.objectives)), method)
    return list(found.values())


def train(method: str, folder: Path) -> dict[str, Any]:
    """Losses, the gradients of every step, what is then remembered, and answers, after a few epochs of a preset."""
    recipe, compute = two_sources(method), choose_compute("cpu", "float32")
    dataset = build_dataset(recipe)
    training = Stage1Training(recipe, dataset, RunDirectory(folder, folder), compute)
    gradients: list[Tensor] = []
    training.optimizer.register_step_pre_hook(lambda optimizer, *_: gradients.append(_gradient(optimizer)))
    strong, device, world = training.objective.needs_strong(), compute.device, compute.world
    batches = build_loader(recipe, dataset, "train", device, training=True, strong=strong, world=world)
    losses = [training.train_epoch(batches, epoch) for epoch in EPOCHS]
    validation = build_loader(recipe, dataset, "val", device, world=world)
    return {
        "rows": [len(batch.rows) for batch in batches.epoch(0)],
        "losses": losses,
        "gradients": torch.stack(gradients),
        "model": training.model.state_dict(),
        "objective": {k: v for k, v in training.objective.state_dict().items() if isinstance(v, Tensor)},
        "remembered": {name: len(value) for name, value in training.objective.named_buffers()},
        "probs": predict(training.model, validation, dataset, "val", compute).probs,
    }


def _gradient(optimizer: torch.optim.Optimizer) -> Tensor:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])


def run_until(out: Path, stop_after: int | None) -> RunResult | None:
    """Stage 1 with everything that remembers, cut off after so many epochs."""

    class StoppedError(Exception):
        pass

    finish = TrainingState.finish_epoch

    def finish_and_stop(self: TrainingState, *arguments: Any) -> None:
        finish(self, *arguments)
        if self.done == stop_after:
            raise StoppedError

    with patch.object(TrainingState, "finish_epoch", finish_and_stop):
        try:
            return ltml.run(two_sources("luo", "train.epochs=4"), out)
        except StoppedError:
            return None


def talk(world: World, folder: Path) -> dict[str, Any]:
    """What comes of each collective; process `r` has `r + 1` rows in one case, and the second one none in another."""
    uneven, one_sided = (torch.full((rows, 2), world.rank + 1.0) for rows in (world.rank + 1, 3 * (world.rank == 0)))
    uneven.requires_grad_()
    gathered = gather_rows([uneven, uneven.detach().bfloat16(), uneven.detach().bool(), uneven.detach().long()], world)
    (gathered[0] * torch.arange(6).reshape(3, 2)).sum().backward()
    layer = nn.Linear(2, 1)
    nn.init.constant_(layer.weight, world.rank)
    layer.weight.grad = torch.full((1, 2), world.rank + 1.0)
    broadcast(layer.parameters(), world)
    sum_gradients(layer, world)
    rank_zero_only(lambda: (folder / "from_the_first").write_text("there"), world)
    seen: list[bool] = []
    with suppress(InputError):
        local_rank_zero_first(lambda: _look_and_fail(folder / "in_turn", seen), world)
    return {
        "gathered": [tensor.detach() for tensor in gathered],
        "gradient": uneven.grad,
        "one_sided": gather_rows([one_sided], world)[0],
        "sum": sum_over(torch.tensor(world.rank + 1.0), world),
        "weight": layer.weight.detach(),
        "summed": layer.weight.grad,
        "without gradient": layer.bias.grad,
        "seen": (folder / "from_the_first").read_text(),
        "seen in turn": seen,
    }


def _look_and_fail(place: Path, seen: list[bool]) -> None:
    seen.append(place.exists())
    place.touch()
    raise InputError("no good")


def main(folder: Path) -> None:
    """Everything, for one of the processes that torchrun started."""
    world = World.from_environment()
    with in_double(), process_group(torch.device("cpu"), world):
        found = {
            "talk": talk(world, folder),
            "methods": {method: train(method, folder / "never_written") for method in different_presets()},
        }
        run_until(folder / "stopped_by_two", STOP_AFTER)
        run_until(folder / "stopped_by_one", None)
    torch.save(found, folder / f"rank{world.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
