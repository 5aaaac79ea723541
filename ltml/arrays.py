"""Names for the types of numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer[Any]]
UInt8Array = npt.NDArray[np.uint8]
ObjectArray = npt.NDArray[np.object_]
Codes = npt.NDArray[np.int8]
"""Labels: 1 positive, 0 negative, -1 unknown."""
Digests = npt.NDArray[np.uint64]
"""Hashes of images, ``(n, images per row)``."""
