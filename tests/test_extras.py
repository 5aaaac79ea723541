"""Optional packages: without one, the feature that needs it names the extra, and nothing else asks for it."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ltml.comparison.launch import Launch, _run_on_cluster
from ltml.comparison.search import _new_study
from ltml.data.datasets.medmnist import _download
from ltml.data.datasets.odir5k import _read_sheet
from ltml.data.dicom import read_dicom
from ltml.errors import InputError
from ltml.extras import REQUIREMENTS
from ltml.parquet_table import _read
from ltml.report.writers.figure_files import check_picture

FEATURES: dict[str, Callable[[Path], object]] = {
    "medmnist": lambda path: _download(path.parent, "pathmnist", 28),
    "openpyxl": _read_sheet,
    "optuna": lambda _: _new_study(0, "maximize"),
    "pyarrow": lambda path: _read(path, "labels"),
    "pydicom": lambda path: read_dicom(path, Image.MAX_IMAGE_PIXELS or 1),
    "submitit": lambda path: list(_run_on_cluster([], Launch("slurm", 1), path.parent)),
    "matplotlib": lambda path: check_picture(path.with_suffix(".png")),
}


@pytest.mark.parametrize("package", REQUIREMENTS)
def test_without_its_package_a_feature_says_what_to_install(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.xlsx"
    file.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as raised:
        FEATURES[package](file)
    assert f"needs {package}: pip install '{REQUIREMENTS[package]}'" in str(raised.value)


def test_extras_are_those_that_messages_name() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    tests = extras.pop("test")
    named = {name: extra[5:-1] for name, extra in REQUIREMENTS.items() if extra.startswith("ltml[")}
    assert {bound.partition(">=")[0]: extra for extra, bounds in extras.items() for bound in bounds} == named
    assert {bound for bounds in extras.values() for bound in bounds} <= set(tests)
    assert not set(named) & {bound.partition(">=")[0] for bound in project["dependencies"]}
