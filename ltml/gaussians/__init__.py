"""Two Gaussians per class over cached features, and virtual features drawn from them.

Needs numpy and torch only; to save and load, safetensors too.
"""

from ltml.gaussians.resampler import GaussianResampler

__all__ = ["GaussianResampler"]
