"""Independent random streams: one seed per (seed, purpose, epoch, …), the same on every machine."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *parts: str | int) -> int:
    """Return a 63-bit seed for one purpose, e.g. ``derive_seed(0, "order", epoch)``."""
    digest = hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
