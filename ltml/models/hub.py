"""Weights from a hub: whether it answers is found out once, and what the libraries log of it is not printed twice."""

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
"""Seconds that a hub has to answer."""
LIBRARIES = ("huggingface_hub", "timm", "open_clip", "transformers", "httpx")
"""Loggers of those who look for weights."""
ELSEWHERE = "Fetch them on a machine with network and copy its Hugging Face cache (HF_HOME)"


class NotHereError(LtmlError):
    """Weights that are neither local nor to be fetched.

    Attributes:
        what: names them.
        remedy: what to do about them besides fetching them elsewhere.
    """

    def __init__(self, what: str, remedy: str, error: Exception) -> None:
        self.what, self.remedy = what, remedy
        reason = first_line(error).rstrip(".")
        super().__init__(f"cannot {what}: {reason}. They are neither local nor reachable. {ELSEWHERE}, or {remedy}.")


def can_fetch() -> bool:
    """Tell whether a hub answers; it is asked once, and not where HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    is_offline = constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return not is_offline and _answers()


@contextmanager
def fetching(*, local: bool = False) -> Iterator[None]:
    """Let libraries look for weights inside the block: without log lines, and without retries where no hub answers.

    Args:
        local: they lie in a local file or folder, so that no hub is needed.
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
    """Let the hub's clients look into their caches alone, those that are imported inside the block too."""
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
    """Whether a record is none of open_clip's, which logs as if it were the program."""
    return "open_clip" not in record.pathname


@cache
def _answers() -> bool:
    """Whether the hub answers in time, whatever it says; looking its name up alone may take longer than that."""
    answers: list[bool] = []
    asking = Thread(target=lambda: answers.append(_ask()), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return answers == [True]


def _ask() -> bool:
    from huggingface_hub import constants

    try:
        with urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=PATIENCE):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
