"""Fit two Gaussians per class to cached features and draw virtual features from them.

Needs numpy and torch only; to save and load, safetensors too.
"""

from ltml.gaussians.resampler import GaussianResampler

__all__ = ["GaussianResampler"]
