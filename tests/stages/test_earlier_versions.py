"""Runs and comparisons that earlier versions saved are read, or refused with the way to renew them.

The archives hold ``ltml compare digits_tiny --methods bce,ldrnet --seeds 0..1`` with the overrides `SMALL`, and
``ltml calibrate`` of the first run: one by version 0.1.0, one by the last version without format numbers.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

ARCHIVES = Path(__file__).parents[1] / "fixtures" / "saved"
VERSIONS = ("0.1.0", "0.2.0-without-formats")
SMALL = (
    "data.train_size=60", "data.val_size=40", "data.test_size=40", "train.epochs=1", "stage2.rounds=0",
    "backbone.options={layers: [1,1,1,1], channels: [4,4,8,8], output_stride: 8}",
    "head.prompt_query={width: 8, depth: 1, heads: 2}",
)  # fmt: skip
COMPARE = ("compare", "digits_tiny", "--methods", "bce,ldrnet", "--seeds", "0..1", *SMALL, "--out", "runs")


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A version whose runs lie in the current folder."""
    with tarfile.open(ARCHIVES / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return request.param


def _run(method: str) -> Path:
    (folder,) = Path("runs/digits_tiny").glob(f"{method}+*/seed0")
    return folder


@pytest.mark.filterwarnings("default:.*was saved without checksums")
def test_runs_are_scored_reported_and_calibrated(cli, version: str) -> None:
    saved = json.loads((_run("ldrnet") / "stage2" / "metrics.json").read_text())
    scores = cli("evaluate", _run("ldrnet"), "--json")
    assert scores.exit_code == 0, scores.output
    assert json.loads(scores.stdout)["stage2"]["macro"]["auroc"] == saved["macro"]["auroc"]
    report = cli("report", _run("ldrnet"))
    assert report.exit_code == 0, report.output
    assert f"{100 * saved['macro']['auroc']:.1f}" in (_run("ldrnet") / "report.html").read_text()
    assert cli("calibrate", _run("ldrnet")).exit_code == 0


@pytest.mark.filterwarnings("default:.*was saved without checksums")
def test_a_comparison_is_reported(cli, version: str) -> None:
    folder = Path("runs/_comparisons/digits_tiny")
    (first, second) = json.loads((folder / "comparison.json").read_text())["rows"]
    result = cli("report", folder)
    assert result.exit_code == 0, result.output
    page = (folder / "report.html").read_text()
    for row in (first, second):
        assert f"{100 * row['mean']:.1f}" in page


@pytest.mark.parametrize("version", VERSIONS[1:], indirect=True)
def test_a_comparison_reuses_runs_with_a_record_of_their_images(cli, version: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("checkpoint.safetensors")}
    old = json.loads(Path("runs/_comparisons/digits_tiny/comparison.json").read_text())
    result = cli(*COMPARE)
    assert result.exit_code == 0, result.output
    new = json.loads(Path("runs/_comparisons/digits_tiny/comparison.json").read_text())
    assert [row["mean"] for row in new["rows"]] == [row["mean"] for row in old["rows"]]
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("checkpoint.safetensors")}


@pytest.mark.parametrize("version", VERSIONS[:1], indirect=True)
def test_runs_without_a_record_of_their_images_are_refused_with_the_way_to_renew_them(cli, version: str) -> None:
    for arguments in (COMPARE, ("run", "digits_tiny", "method=ldrnet", *SMALL, "--out", "runs")):
        result = cli(*arguments)
        assert result.exit_code == 2
        assert "made by an earlier version" in result.stderr
        assert "give another --out, or train again with --fresh" in result.stderr
