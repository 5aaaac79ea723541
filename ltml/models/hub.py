"""Downloads of weights from a hub; its availability is checked once, and log lines of its clients are hidden."""

from __future__ import annotations

import logging
import os
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Thread
from typing import Any

from ltml.errors import LtmlError, first_line

PATIENCE = 5.0
"""Timeout of the hub in seconds."""
LIBRARIES = ("huggingface_hub", "timm", "open_clip", "transformers", "httpx")
"""Loggers of the libraries that download weights."""
ELSEWHERE = "Fetch them on a machine with network and copy its Hugging Face cache (HF_HOME)"


class NotHereError(LtmlError):
    """Weights that are neither local nor reachable.

    Attributes:
        what: the failed action, which names the weights.
        remedy: what to do besides fetching them elsewhere.
    """

    def __init__(self, what: str, remedy: str, error: Exception) -> None:
        self.what, self.remedy = what, remedy
        reason = first_line(error).rstrip(".")
        super().__init__(f"cannot {what}: {reason}. They are neither local nor reachable. {ELSEWHERE}, or {remedy}.")


def can_fetch() -> bool:
    """Return whether the hub is reachable; it is asked once, and never if HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    is_offline = constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return not is_offline and _responds()


@contextmanager
def fetching(*, local: bool = False) -> Iterator[None]:
    """Hide log lines of the libraries that download weights, and let them use caches only if the hub is unreachable.

    Args:
        local: whether the weights lie in a local file or folder, so that no hub is needed.
    """
    with ExitStack() as changes, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LIBRARIES:
            logger = logging.getLogger(name)
            changes.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        root = logging.getLogger()
        root.addFilter(_is_not_of_open_clip)
        changes.callback(root.removeFilter, _is_not_of_open_clip)
        if not local and not can_fetch():
            changes.enter_context(_offline())
        yield


@contextmanager
def _offline() -> Iterator[None]:
    """Make the hub's clients use their caches only, also those that are imported inside the block."""
    from huggingface_hub import constants

    places: list[tuple[Any, str]] = [(constants, "HF_HUB_OFFLINE")]
    places += [(module, "_is_offline_mode") for module in [sys.modules.get("transformers.utils.hub")] if module]
    before = [(owner, name, getattr(owner, name)) for owner, name in places if hasattr(owner, name)]
    variable = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    for owner, name, _ in before:
        setattr(owner, name, True)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
        os.environ.pop("HF_HUB_OFFLINE")
        os.environ |= {} if variable is None else {"HF_HUB_OFFLINE": variable}


def _is_not_of_open_clip(record: logging.LogRecord) -> bool:
    """Return whether a log record is not from open_clip, which logs to the root logger."""
    return "open_clip" not in record.pathname


@cache
def _responds() -> bool:
    """Return whether the hub responds in time, with any status; in a thread, because a DNS lookup has no timeout."""
    responses: list[bool] = []
    asking = Thread(target=lambda: responses.append(_ask()), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return responses == [True]


def _ask() -> bool:
    from huggingface_hub import constants

    try:
        with urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=PATIENCE):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
