"""What is said wherever figures of a choice made on test appear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def oracle_mark(result: Mapping[str, Any]) -> str:
    """What titles and captions of a comparison that chose on test begin with; nothing for any other."""
    return "ORACLE, chosen on test: " if _is_oracle(result) else ""


def oracle_warning(result: Mapping[str, Any]) -> str:
    """What stands above everything on such a comparison; nothing for any other."""
    if not _is_oracle(result):
        return ""
    return (
        "ORACLE: this sweep chose among its rows by their scores on test. What it chose will score lower on images "
        "that had no say, so no figure of this page is a result. Without the option 'oracle' a sweep chooses on val."
    )


def _is_oracle(result: Mapping[str, Any]) -> bool:
    return result["chosen"] is not None and bool(result["chosen"]["oracle"])
