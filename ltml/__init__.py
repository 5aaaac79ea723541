"""Train, rebalance and compare methods for long-tailed multi-label image classification.

Importing `ltml` is light: each name of the front door, listed in ``__init__.pyi``, is imported at its first use.
"""

from importlib.metadata import version

import lazy_loader

_import_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("ltml")


def __getattr__(name: str) -> object:
    if name not in __all__:
        if name.startswith("__"):
            raise AttributeError(f"module 'ltml' has no attribute '{name}'")
        from ltml.errors import suggest

        raise AttributeError(f"module 'ltml' has no attribute '{name}': {suggest(name, __all__)}")
    return _import_name(name)
