"""Position encodings of a feature map."""

from __future__ import annotations

import torch
from torch import Tensor


def sincos_positions(height: int, width: int, dim: int) -> Tensor:
    """Return fixed 2-D sine-cosine positions, float32 ``(height · width, dim)``; `dim` must be divisible by 4."""
    rates = 10_000 ** -(torch.arange(dim // 4) / (dim // 4))
    rows = torch.arange(height).float()[:, None] * rates
    columns = torch.arange(width).float()[:, None] * rates
    along_rows = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, width, -1)
    along_columns = torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(height, -1, -1)
    return torch.cat([along_rows, along_columns], dim=-1).reshape(height * width, dim)
