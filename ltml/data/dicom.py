"""Read DICOM files by pydicom, an extra (``pip install 'ltml[dicom]'``).

The README of this folder describes the handling of each tag.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ltml.arrays import UInt8Array
from ltml.data.dicom_values import apply_palette, apply_voi, cut_bits, find_padding, number, to_modality
from ltml.data.pixels import check_pixel_count, stretch
from ltml.extras import optional_package

GREY = ("MONOCHROME1", "MONOCHROME2")

COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

PACKAGES = {"JPEG-LS": "pyjpegls", "JPEG 2000": "pylibjpeg pylibjpeg-openjpeg", "JPEG": "pylibjpeg pylibjpeg-libjpeg"}
"""Packages that decode a transfer syntax, by part of its name; the first match counts."""

warnings.filterwarnings("ignore", module="pydicom")  # it warns of tags that are not read here


def read_dicom(path: Path, max_pixels: int) -> Image.Image:
    """Return the picture of a DICOM file as 8-bit grey or RGB.

    Grey values go through the modality LUT or rescale and the window or VOI LUT, MONOCHROME1 is inverted so that more
    exposure is darker everywhere, and the result is scaled over the range of the window, or its own range if the
    file has no window. Padding is black.

    Raises:
        InputError: pydicom is not installed.
        ValueError: the file holds no picture, several, too many pixels, something that is not understood, or cannot
            be decoded.
    """
    with optional_package("pydicom", f"{path} is a DICOM file, which"):
        import pydicom
    try:
        file = pydicom.dcmread(path, force=True)  # older writers left the preamble out
        _refuse_what_is_no_picture(file, max_pixels)
        if file.PhotometricInterpretation in COLOUR:
            return Image.fromarray(_colour(file))
        stored = _decode(file)[0]
        cut = cut_bits(stored, file) if _is_plain(file) else stored
        if file.PhotometricInterpretation == "PALETTE COLOR":
            return Image.fromarray(apply_palette(cut, file))
        return Image.fromarray(_grey(cut, file, find_padding(stored, file) | find_padding(cut, file)))
    except (OSError, MemoryError, ValueError):
        raise
    except Exception as error:  # damaged files make pydicom raise many kinds of errors
        raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error


def _refuse_what_is_no_picture(file: Any, max_pixels: int) -> None:
    """Refuse files without a single readable picture before decoding."""
    if not file:
        raise ValueError("it is named as DICOM but is not a DICOM file")
    if not any(keyword in file for keyword in PIXELS):
        raise ValueError("the DICOM file has no pixel data")
    lacking = [tag for tag in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation") if not file.get(tag)]
    if lacking:
        raise ValueError(f"the DICOM file lacks {', '.join(lacking)}")
    check_pixel_count(int(file.Columns), int(file.Rows), max_pixels)
    frames = int(number(file, "NumberOfFrames") or 1)
    if frames > 1:
        raise ValueError(f"the DICOM file has {frames} frames; save the one you mean as a file")
    file.NumberOfFrames = 1  # also where it has no value, of which pydicom warns
    space, samples = str(file.PhotometricInterpretation), int(file.SamplesPerPixel)
    expected = 3 if space in COLOUR else 1 if space in (*GREY, "PALETTE COLOR") else None
    if samples != expected:
        raise ValueError(f"PhotometricInterpretation {space} with {samples} samples per pixel is not understood")
    if space in GREY and str(file.get("PixelPresentation", "")) in ("COLOR", "MIXED"):
        raise ValueError("PixelPresentation COLOR or MIXED (a supplemental palette) is not understood")


def _decode(file: Any) -> tuple[npt.NDArray[Any], str]:
    """Return the stored pixels ``(H, W[, 3])`` and the colour space after decoding."""
    from pydicom.pixels import get_decoder

    syntax = _transfer_syntax(file)
    named = f"its pixels are packed as {syntax.name} ({syntax})"
    advice = f"pip install {next((p for key, p in PACKAGES.items() if key in syntax.name), 'python-gdcm')}"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ValueError(f"{named}, which is not understood; save it uncompressed") from error
    if not decoder.is_available:
        raise ValueError(f"{named}, which needs a decoder: {advice}")
    try:
        pixels, about = decoder.as_array(file, **({"correct_unused_bits": False} if _is_plain(file) else {}))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{named}, which no decoder could read; another may ({advice}): {reason[:200]}") from error
    if pixels.ndim != (3 if int(file.SamplesPerPixel) == 3 else 2):
        raise ValueError(f"the DICOM file has {len(pixels)} frames; save the one you mean as a file")
    return pixels.astype(pixels.dtype.newbyteorder("=")), str(about["photometric_interpretation"])


def _is_plain(file: Any) -> bool:
    """Return whether BitsStored and HighBit alone determine the picture's bits."""
    from pydicom.uid import RLELossless

    syntax = _transfer_syntax(file)
    return not syntax.is_encapsulated or syntax == RLELossless


def _transfer_syntax(file: Any) -> Any:
    """Return the transfer syntax; without a header, the encoding found while reading."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not getattr(file, "file_meta", None):
        file.file_meta = FileMetaDataset()
    if not file.file_meta.get("TransferSyntaxUID"):
        implicit, little = file.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return file.file_meta.TransferSyntaxUID


def _colour(file: Any) -> UInt8Array:
    by_marker = _jpeg_with_adobe_marker(file)
    if by_marker is not None:
        return by_marker
    pixels, space = _decode(file)
    if space != "RGB":
        raise ValueError(f"PhotometricInterpretation {space} cannot be brought to RGB")
    pixels = cut_bits(pixels, file) if _is_plain(file) else pixels
    shallow = int(number(file, "BitsStored") or file.BitsAllocated) <= 8
    return pixels.astype(np.uint8) if shallow and pixels.dtype.kind == "u" else stretch(pixels)


def _jpeg_with_adobe_marker(file: Any) -> UInt8Array | None:
    """Return the RGB pixels of a JPEG whose Adobe marker gives its colours; Pillow follows it, pydicom does not."""
    from pydicom.encaps import get_frame
    from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

    if _transfer_syntax(file) not in (JPEGBaseline8Bit, JPEGExtended12Bit):
        return None
    frame = Image.open(io.BytesIO(get_frame(file.PixelData, 0, number_of_frames=1)), formats=["JPEG"])
    if "adobe_transform" not in frame.info or frame.size != (file.Columns, file.Rows) or frame.mode != "RGB":
        return None
    return np.asarray(frame)


def _grey(stored: npt.NDArray[Any], file: Any, padding: npt.NDArray[np.bool_]) -> UInt8Array:
    values, limits = apply_voi(to_modality(stored, file), file)
    inside = values[~padding]
    if limits is None:
        limits = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)
    grey = stretch(np.where(padding, limits[0], values), limits)
    if file.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    grey[padding] = 0
    return grey
