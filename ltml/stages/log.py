"""The log of a stage: one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def to_lines(records: Iterable[Mapping[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(record) + "\n" for record in records)
