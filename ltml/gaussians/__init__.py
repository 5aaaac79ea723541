"""Two Gaussians per class over cached features, and virtual features drawn from them; needs numpy and torch only."""

from ltml.gaussians.resampler import GaussianResampler

__all__ = ["GaussianResampler"]
