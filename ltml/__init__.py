"""Train, rebalance and compare methods for long-tailed multi-label image classification.

Importing `ltml` is light: each name of the front door, listed in ``__init__.pyi``, is imported when it is used.
"""

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_MODULES = {
    name.name: str(line.module) for line in _STUB.body if isinstance(line, ast.ImportFrom) for name in line.names
}
__all__ = sorted(_MODULES)
__version__ = version("ltml")


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(f"ltml.{_MODULES[name]}"), name)
    if name.startswith("__"):
        raise AttributeError(f"module 'ltml' has no attribute '{name}'")
    from ltml.errors import suggest

    raise AttributeError(f"module 'ltml' has no attribute '{name}': {suggest(name, __all__)}")
