"""What two processes that share every batch get is what one gets."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from distributed import TORCHRUN
from distributed import worker as work
from ltml.metrics.predictions import Predictions
from ltml.stages.run_directory import read_run

CLOSE = {"rtol": 1e-7, "atol": 1e-9}


class Found(NamedTuple):
    folder: Path
    ranks: list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each of two processes got; one of their runs goes on with what a single one has begun."""
    folder = tmp_path_factory.mktemp("two")
    with work.in_double():
        work.run_until(folder / "stopped_by_one", work.STOP_AFTER)
    done = subprocess.run([*TORCHRUN, work.__file__, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Found(folder, [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)])


def test_what_processes_say_to_each_other(found: Found) -> None:
    rows = torch.tensor([[1.0, 1], [2, 2], [2, 2]], dtype=torch.float64)
    for rank, talk in enumerate(ranks["talk"] for ranks in found.ranks):
        for gathered, expected in zip(talk["gathered"], (rows, rows.bfloat16(), rows.bool(), rows.long()), strict=True):
            assert gathered.dtype == expected.dtype
            assert torch.equal(gathered, expected)
        own = [[0.0, 1]] if rank == 0 else [[2.0, 3], [4, 5]]
        assert talk["gradient"].tolist() == own
        assert talk["one_sided"].tolist() == [[1, 1]] * 3
        assert talk["sum"] == 3
        assert talk["weight"].tolist() == [[0, 0]]  # the first one's
        assert talk["summed"].tolist() == [[3, 3]]
        assert talk["without gradient"] is None
        assert talk["seen"] == "there"
        assert talk["seen in turn"] == [rank == 1]  # both fail, the second one after the first


@pytest.mark.parametrize("method", work.different_presets())
def test_every_step_of_every_preset_is_that_of_one_process(method: str, found: Found, tmp_path: Path) -> None:
    with work.in_double():
        one = work.train(method, tmp_path)
    steps = one["gradients"].abs().amax(dim=1) > 0
    assert steps.double().mean() > 0.8  # rankings have nothing to learn from a small batch without positives
    shares = [rank["methods"][method]["rows"] for rank in found.ranks]
    assert [sum(parts) for parts in zip(*shares, strict=True)] == one["rows"]
    assert shares[1][-1] == 0 < shares[0][-1] < shares[0][0]  # the last batch is smaller and leaves nothing for one
    for rank in found.ranks:
        two = rank["methods"][method]
        for what in ("losses", "gradients", "model", "objective", "probs"):
            torch.testing.assert_close(two[what], one[what], **CLOSE, msg=lambda text, what=what: f"{what}: {text}")


def test_an_ensemble_is_remembered_in_shares(found: Found, tmp_path: Path) -> None:
    with work.in_double():
        one = work.train("luo", tmp_path)
    names = [name for name in one["remembered"] if name.endswith((".ensemble", ".updates", ".latest", ".latest_epoch"))]
    assert len(names) == 4
    for name in names:
        whole, *shares = (made["remembered"][name] for made in (one, *(r["methods"]["luo"] for r in found.ranks)))
        assert shares == [-(-whole // 2), whole // 2]
        assert len(found.ranks[0]["methods"]["luo"]["objective"][name]) == whole


def test_one_process_goes_on_with_what_two_began_and_the_reverse(found: Found, tmp_path: Path) -> None:
    with work.in_double():
        through = work.run_until(tmp_path, None)
        work.run_until(found.folder / "stopped_by_two", None)
    assert through is not None
    shared = read_run(through.run_dir)[0].shared.relative_to(tmp_path.resolve())
    for name in ("stopped_by_two", "stopped_by_one"):
        folder = found.folder / name / shared
        assert len((folder / "log.jsonl").read_text().splitlines()) == 4
        for split in ("val", "test"):
            ours, theirs = (
                Predictions.read(path / shared / f"predictions_{split}.csv") for path in (found.folder / name, tmp_path)
            )
            assert ours.ids == theirs.ids
            np.testing.assert_allclose(ours.probs, theirs.probs, rtol=1e-7)
