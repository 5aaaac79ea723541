"""Convert the stored values of a DICOM file to displayed values: bits, padding, tables and windows.

A tag without a value counts as no tag. Numbers are by DICOM PS3.3 C.7.5.1.1.2 (padding), C.7.6.3 (palettes), C.11.1
(modality) and C.11.2 (VOI). A dataset is pydicom's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ltml.arrays import UInt8Array

Values = npt.NDArray[Any]
Limits = tuple[float, float]

COLOURS = ("Red", "Green", "Blue")

PADDING = ("PixelPadding", "FloatPixelPadding", "DoubleFloatPixelPadding")


def number(tags: Any, keyword: str) -> float | None:
    """Return the first number of a tag; None where it has no value.

    Raises:
        ValueError: it is not a number.
    """
    return next(iter(_numbers(tags, keyword)), None)


def cut_bits(stored: Values, file: Any) -> Values:
    """Return stored integers without the bits that belong to something else, of the same shape and dtype.

    Raises:
        ValueError: BitsStored and HighBit do not lie within BitsAllocated.
    """
    allocated = stored.dtype.itemsize * 8
    if stored.dtype.kind == "f" or int(file.BitsAllocated) != allocated:
        return stored
    bits = int(number(file, "BitsStored") or allocated)
    high = number(file, "HighBit")
    high = bits - 1 if high is None else int(high)
    if not 0 < bits <= high + 1 <= allocated:
        raise ValueError(f"BitsStored {bits} and HighBit {high} do not lie within BitsAllocated {allocated}")
    return (stored << (allocated - 1 - high)) >> (allocated - bits)


def find_padding(stored: Values, file: Any) -> npt.NDArray[np.bool_]:
    """Return which pixels are padding, bool of the shape of the stored values."""
    padding = np.zeros(stored.shape, dtype=bool)
    for keyword in PADDING:
        first = number(file, f"{keyword}Value")
        last = number(file, f"{keyword}RangeLimit")
        if first is not None:
            low, high = sorted(_as_stored(value, stored.dtype) for value in (first, first if last is None else last))
            padding |= (stored >= low) & (stored <= high)
    return padding


def to_modality(values: Values, file: Any) -> npt.NDArray[np.float64]:
    """Return stored values after the modality LUT, or slope and intercept.

    Raises:
        ValueError: a table cannot be read.
    """
    tags = _of_the_frame(file, "PixelValueTransformationSequence")
    table = _table(tags, "ModalityLUTSequence")
    if table is not None:
        return _look_up(values, *table, file)[0]
    slope, intercept = number(tags, "RescaleSlope"), number(tags, "RescaleIntercept")
    return values.astype(np.float64) * (1 if slope is None else slope) + (intercept or 0)


def apply_voi(values: npt.NDArray[np.float64], file: Any) -> tuple[npt.NDArray[np.float64], Limits | None]:
    """Return values after the window or the VOI LUT, and the limits of its output; None for the limits without either.

    The first window with both a centre and a width counts, as in viewers; a window takes precedence over a table.
    A width that the function does not allow (below 1 for LINEAR, else 0 or less) is no window.

    Raises:
        ValueError: an unknown VOILUTFunction, or a table cannot be read.
    """
    tags = _of_the_frame(file, "FrameVOILUTSequence")
    function = str(tags.get("VOILUTFunction") or "LINEAR")
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(f"VOILUTFunction {function} is not understood")
    pairs = zip(_numbers(tags, "WindowCenter"), _numbers(tags, "WindowWidth"), strict=False)
    for centre, width in pairs:
        if centre is not None and width is not None and (width >= 1 if function == "LINEAR" else width > 0):
            return _window(values, centre, width, function), (0.0, 1.0)
    table = _table(tags, "VOILUTSequence")
    return (values, None) if table is None else _look_up(values, *table, file)


def apply_palette(stored: Values, file: Any) -> UInt8Array:
    """Return the colours of stored values, uint8 ``(H, W, 3)``; tables of 16 bits are scaled over those.

    Raises:
        ValueError: the tables are missing or cannot be read.
    """
    table, first = _palettes(file)
    colours = _entries(stored, table, first)
    return np.round(colours / 257 if table.max() > 255 else colours).astype(np.uint8)


def _numbers(tags: Any, keyword: str) -> list[float | None]:
    try:
        value = tags.get(keyword)
        values = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)
        return [None if item is None or not str(item).strip() else float(item) for item in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{keyword} is not a number") from error


def _of_the_frame(file: Any, sequence: str) -> Any:
    """Return the item with the tags of a frame: its functional groups, the shared ones, or the file itself."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in file.get(groups) or ():
            if group.get(sequence):
                return group.get(sequence)[0]
    return file


def _as_stored(value: float, dtype: np.dtype[Any]) -> float:
    """Convert a value to the range of the stored type, whether it was written as signed or unsigned."""
    if dtype.kind == "f":
        return value
    limits, span = np.iinfo(dtype), 2 ** (8 * dtype.itemsize)
    return value - span if value > limits.max else value + span if value < limits.min else value


def _window(values: npt.NDArray[np.float64], centre: float, width: float, function: str) -> npt.NDArray[np.float64]:
    """Return values in [0, 1]."""
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _table(tags: Any, sequence: str) -> tuple[Values, int, int] | None:
    """Return the entries of a table, the value of its first entry, and its bits; None without a table."""
    item = next((item for item in tags.get(sequence) or () if item.get("LUTDescriptor") and item.get("LUTData")), None)
    if item is None:
        return None
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    table = _table_values(item["LUTData"].value, count, tags, sequence)
    return table, first, max(bits, int(table.max()).bit_length())


def _table_values(data: Any, count: int, file: Any, name: str) -> Values:
    """Return the entries of a table, bytes or words; a count of 0 stands for 65536."""
    count = (count & 0xFFFF) or 65536
    if isinstance(data, bytes):
        words = ">u2" if getattr(file, "original_encoding", (False, True))[1] is False else "<u2"
        values = np.frombuffer(data[: 2 * count], words) if len(data) >= 2 * count else np.frombuffer(data, "u1")
    else:
        values = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if len(values) < count:
        raise ValueError(f"the table {name} has {len(values)} entries where its descriptor says {count}")
    return values[:count].astype(np.int64)


def _look_up(values: Values, table: Values, first: int, bits: int, file: Any) -> tuple[npt.NDArray[np.float64], Limits]:
    if first > 0x7FFF and (file.get("PixelRepresentation") == 1 or values.min() < 0):
        first -= 0x10000  # written as unsigned
    return _entries(values, table, first).astype(np.float64), (0.0, float(2**bits - 1))


def _entries(values: Values, table: Values, first: int) -> Values:
    """Return the table's entry of each value; those below and above it get the first and the last."""
    places = np.round(values.astype(np.float64)) - first
    entries: Values = table[places.clip(0, len(table) - 1).astype(np.int64)]
    return entries


def _palettes(file: Any) -> tuple[Values, int]:
    """Return the entries of all colours ``(n, 3)`` and the value of the first entry."""
    descriptors = [file.get(f"{colour}PaletteColorLookupTableDescriptor") for colour in COLOURS]
    tables = [file.get(f"{colour}PaletteColorLookupTableData") for colour in COLOURS]
    segments = [file.get(f"Segmented{colour}PaletteColorLookupTableData") for colour in COLOURS]
    if not all(descriptors) or not (all(tables) or all(segments)):
        raise ValueError("PALETTE COLOR without a palette")
    count, first, bits = (int(value) for value in descriptors[0])
    if any(list(descriptor)[:2] != list(descriptors[0])[:2] for descriptor in descriptors):
        raise ValueError("the palettes of the three colours differ in length")
    if first > 0x7FFF and file.get("PixelRepresentation") == 1:
        first -= 0x10000
    if all(tables):
        return np.stack([_table_values(table, count, file, "palette") for table in tables], axis=-1), first
    return _expand(file, (count & 0xFFFF) or 65536, first, bits), first


def _expand(file: Any, count: int, first: int, bits: int) -> Values:
    """Return the entries of a segmented palette by looking all of its values up."""
    from pydicom.pixels import apply_color_lut

    if bits == 8 and count > 256:
        raise ValueError("a segmented palette of more than 256 entries of 8 bits is not understood")
    entries: Values = apply_color_lut(np.arange(first, first + count), file)
    return entries[:, :3].astype(np.int64)
