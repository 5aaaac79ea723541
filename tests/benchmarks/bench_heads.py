"""What the label adapter costs against DoDNet: parameters, and time of a training step, in one run on one core.

    python tests/benchmarks/bench_heads.py

DenseNet-121 with the 20 classes of ChestX-ray14 and CheXpert, as in Label-Assemble's comparison ("13 % fewer parameters
and about 90 % less time per epoch"). DoDNet asks one question at a time: our `dodnet` runs the backbone once and its
controller once per class; asked as the paper describes it, the whole network runs once per class.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltml.losses.bce import bce_loss
from ltml.models.backbones import Backbone
from ltml.models.context import HeadContext
from ltml.models.model import Stage1Model
from ltml.registry import HEADS

torch.set_num_threads(1)
CLASSES, IMAGES, SIDE, RUNS = 20, 4, 64, 3


def make(head: str) -> Stage1Model:
    """DenseNet-121 from scratch with a head."""
    torch.manual_seed(0)
    backbone = Backbone("densenet121", image_size=SIDE)
    return Stage1Model(
        backbone, HEADS.get(head)(HeadContext(backbone.width, tuple(map(str, range(CLASSES))))), [0.5] * 3, [0.25] * 3
    )


def parameters(model: nn.Module) -> float:
    """Millions of them."""
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def step(model: Stage1Model, images: Tensor, targets: Tensor, questions: int = 1) -> Callable[[], None]:
    """Forward and backward of a batch, the whole model once per question."""

    def work() -> None:
        for number in range(questions):
            logits = model(images).logits
            part = slice(None) if questions == 1 else slice(number, number + 1)
            bce_loss(logits[:, part], targets[:, part]).backward()

    return work


def seconds(work: Callable[[], None]) -> float:
    """CPU time of one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print parameters and the ratio of times, runs taking turns."""
    images = torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8)
    targets = torch.randint(0, 2, (IMAGES, CLASSES)).float()
    adapter, dodnet = make("label_adapter"), make("dodnet")
    less = 1 - parameters(adapter) / parameters(dodnet)
    print(f"parameters: adapter {parameters(adapter):.2f} M, DoDNet {parameters(dodnet):.2f} M: {less:.0%} fewer")
    works = {
        "adapter": step(adapter, images, targets),
        "DoDNet, backbone once": step(dodnet, images, targets),
        "DoDNet, a pass per question": step(dodnet, images, targets, questions=CLASSES),
    }
    seconds(works["adapter"])
    times = {name: [] for name in works}
    for _ in range(RUNS):
        for name, work in works.items():
            times[name].append(seconds(work))
    own = statistics.median(times["adapter"])
    for name in list(works)[1:]:
        ratio = own / statistics.median(times[name])
        print(f"training step against {name}: {ratio:.2f} of its time, {1 - ratio:.0%} less")


if __name__ == "__main__":
    main()
