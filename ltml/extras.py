"""Packages that only some features need, which are installed on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ltml.errors import InputError

REQUIREMENTS = {
    "matplotlib": "ltml[plots]",
    "medmnist": "medmnist>=3",
    "openpyxl": "ltml[odir]",
    "optuna": "ltml[search]",
    "pyarrow": "ltml[parquet]",
    "pydicom": "ltml[dicom]",
    "submitit": "ltml[slurm]",
}
"""Argument of ``pip install`` by optional package."""


@contextmanager
def optional_package(package: str, feature: str, otherwise: str = "") -> Iterator[None]:
    """Explain how to install a package if importing or using it in the block raises an ImportError.

    Args:
        package: key of `REQUIREMENTS`.
        feature: option, file or setting that needs the package, the subject of the message.
        otherwise: sentence on what to do without the package.

    Raises:
        InputError: the package is missing or too old.
    """
    try:
        yield
    except ImportError as error:
        advice = f"{feature} needs {package}: pip install '{REQUIREMENTS[package]}'"
        raise InputError(f"{advice}. {otherwise}" if otherwise else advice) from error
