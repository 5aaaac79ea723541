"""Checks of the images that a model gets: values from 0 to 255, which it normalises itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ltml.errors import InputError

DARKEST = 2.0
"""Maximum of a batch below which it is assumed to be in [0, 1], not black images on the scale of 0 to 255."""


def check_images(images: Tensor, channels: int, size: int | None = None) -> None:
    """Raise if images have a wrong shape, dtype or range of values.

    Values are read unless they are uint8, as in training, so that training never waits for the device. They are not
    read while the model is compiled or exported.

    Args:
        images: ``(B, channels, H, W)``.
        channels: number of channels of all images of a row together.
        size: side in px that the backbone is built for; None if it takes any.

    Raises:
        InputError: another shape or dtype, values outside [0, 255] or not finite, or all of them in [0, 1].
    """
    if not isinstance(images, Tensor):
        raise InputError(f"Expected images as a torch tensor (B, {channels}, H, W) but got {type(images).__name__}.")
    if images.ndim != 4 or images.shape[1] != channels:
        last = images.ndim == 4 and images.shape[-1] == channels
        remedy = "put channels first with images.permute(0, 3, 1, 2)" if last else "add the dimension that is missing"
        raise InputError(
            f"Expected images of shape (B, {channels}, H, W) but got {tuple(images.shape)}"
            + (f"; {remedy}." if last or images.ndim == 3 else ".")
        )
    if size is not None and images.shape[2:] != (size, size):
        raise InputError(f"Expected images of {size}×{size} px, as the backbone is built for, but got {_side(images)}.")
    if images.dtype == torch.bool or images.is_complex():
        raise InputError(f"Expected images as uint8, 0 to 255, but got {images.dtype}.")
    hidden = torch.compiler.is_compiling() or images.device.type == "meta"
    if images.dtype != torch.uint8 and images.numel() and not hidden:
        _check_values(images.detach())


def _check_values(images: Tensor) -> None:
    low, high = torch.stack(torch.aminmax(images)).tolist()
    wanted = "Expected images with values from 0 to 255, which the model normalises itself,"
    if not low > float("-inf") or not high < float("inf"):  # NaN too
        raise InputError(f"{wanted} but got values that are not finite.")
    if low < 0 or high > 255:
        raise InputError(f"{wanted} but got {low:g} to {high:g}: leave out the normalisation before it.")
    if 0 < high < DARKEST:
        raise InputError(f"{wanted} but got {low:g} to {high:g}, as in [0, 1]: multiply by 255, or give uint8.")


def _side(images: Tensor) -> str:
    return f"{images.shape[2]}×{images.shape[3]}"
