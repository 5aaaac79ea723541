"""DICOM files by pydicom, an extra (``pip install 'ltml[dicom]'``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ltml.data.pixels import check_pixel_count, stretch
from ltml.errors import InputError


def read_dicom(path: Path, max_pixels: int) -> Image.Image:
    """The picture of a DICOM file as 8-bit grey or RGB.

    Grey values go through the modality LUT (rescale slope and intercept) and the VOI LUT or window, MONOCHROME1 is
    inverted so that more exposure is darker everywhere, and the result is scaled over the range of the window, or over
    its own where the file has none. Of several frames none is chosen for you.

    Raises:
        InputError: pydicom is not installed.
        ValueError: the file holds no picture, several, too many pixels, or cannot be decoded.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
        from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, convert_color_space
    except ImportError as error:
        raise InputError(f"{path} is a DICOM file: install the reader with pip install 'ltml[dicom]'") from error
    try:
        file = pydicom.dcmread(path)
        if "PixelData" not in file:
            raise ValueError("the DICOM file has no pixel data")
        if int(file.get("NumberOfFrames") or 1) > 1:
            raise ValueError(f"the DICOM file has {file.NumberOfFrames} frames; save the one you mean as a file")
        check_pixel_count(int(file.Columns), int(file.Rows), max_pixels)
        pixels = file.pixel_array
        space = str(file.get("PhotometricInterpretation", ""))
        if pixels.ndim == 3:
            rgb = pixels if space == "RGB" else convert_color_space(pixels, space, "RGB")
            return Image.fromarray(rgb if rgb.dtype == np.uint8 else stretch(rgb))
        values = apply_modality_lut(pixels, file).astype(np.float64)
        limits = None
        if "WindowCenter" in file:  # far outside of it lie the ends of its output
            low, high = apply_voi_lut(np.array([-1e12, 1e12]), file, prefer_lut=False)
            limits = (float(low), float(high))
            values = apply_voi_lut(values, file, prefer_lut=False)
        elif "VOILUTSequence" in file:
            limits = (0.0, float(2 ** int(file.VOILUTSequence[0].LUTDescriptor[2]) - 1))
            values = apply_voi_lut(values.astype(np.int64), file)
    except (InvalidDicomError, AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    grey = stretch(values, limits)
    return Image.fromarray(255 - grey if space == "MONOCHROME1" else grey)
