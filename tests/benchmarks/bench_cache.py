"""The image cache against decoding 1024² PNGs, in one run on one core.

    python tests/benchmarks/bench_cache.py

The peer is what one would write otherwise: a torch Dataset that opens a file by PIL, with torchvision's Resize, in a
DataLoader without worker processes. Ours is the loader that training uses, on a filled cache. Both give batches of 32.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from ltml.data.batches import BatchLoader
from ltml.data.cache import fill_cache, open_cached
from ltml.data.dataset import Dataset
from ltml.data.images import FileImages

torch.set_num_threads(1)
FILMS, SIDE, BATCH, RUNS = 96, 1024, 32, 5
FIGURES = {224: 100, 448: 20}
"""What the cache should reach: times as many images per second, to uint8 at 224 px, to normalised floats at 448 px."""


class PlainDataset(TorchDataset[Tensor]):
    """Opens, resizes and converts a file each time."""

    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        return self.transform(Image.open(self.paths[row]).convert("L"))


def make_films(folder: Path) -> list[Path]:
    """Grey PNGs of smooth shapes with film-like noise, which compress about as radiographs do."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(FILMS):
        coarse = Image.fromarray(rng.integers(30, 220, (12, 12)).astype(np.uint8)).resize((SIDE, SIDE), Image.BICUBIC)
        noisy = np.asarray(coarse, dtype=np.float32) + rng.normal(0, 2, (SIDE, SIDE))
        paths.append(folder / f"{number:03d}.png")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


def our_batches(paths: list[Path], size: int) -> Callable[[], Iterator[Tensor]]:
    """Batches of training's own loader on the cache."""
    images = open_cached(FileImages(paths, size, 1))
    ids = [path.name for path in paths]
    table = pd.DataFrame({"id": ids, "group": ids, "source": "films"})
    targets = np.zeros((len(paths), 1), dtype=np.uint8)
    rows = {"train": np.arange(len(paths))}
    dataset = Dataset("films", ("any",), table, targets, targets == 0, rows, images)
    loader = BatchLoader(dataset, "train", None, size=size, batch_size=BATCH, device=torch.device("cpu"), workers=0)
    return lambda: (batch.images for batch in loader.epoch())


def rate(batches: Callable[[], Iterator[Tensor]]) -> float:
    """Images per second of CPU time."""
    start = time.process_time()
    count = sum(len(batch) for batch in batches())
    return count / (time.process_time() - start)


def compare(paths: list[Path], size: int, *, normalise: bool) -> None:
    """Print the median ratio of images per second, runs taking turns."""
    steps = [transforms.Resize((size, size))]
    steps += [transforms.ToTensor(), transforms.Normalize([0.5], [0.25])] if normalise else [transforms.PILToTensor()]
    plain = DataLoader(PlainDataset(paths, transforms.Compose(steps)), batch_size=BATCH)
    cached = our_batches(paths, size)

    def ours() -> Iterator[Tensor]:
        for images in cached():
            yield images.float().div_(255).sub_(0.5).div_(0.25) if normalise else images

    rate(ours)
    pairs = [(rate(ours), rate(lambda: iter(plain))) for _ in range(RUNS)]
    ratio = statistics.median(own / other for own, other in pairs)
    kind = "normalised float32" if normalise else "uint8"
    own, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{size} px, {kind}: cache {own:.0f} images/s, PIL {other:.0f} images/s: {ratio:.0f} × "
        f"(figure: at least {FIGURES[size]})"
    )


def main() -> None:
    """Fill the caches, compare, and print bytes per image."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LTML_CACHE"] = str(Path(folder) / "cache")
        paths = make_films(Path(folder))
        of_files = sum(path.stat().st_size for path in paths) / len(paths)
        for size in FIGURES:
            report = fill_cache(FileImages(paths, size, 1))
            each = report.bytes / report.images
            print(f"{size} px: {each:.0f} bytes per image in the cache, {of_files:.0f} in the PNG")
        compare(paths, 224, normalise=False)
        compare(paths, 448, normalise=True)


if __name__ == "__main__":
    main()
