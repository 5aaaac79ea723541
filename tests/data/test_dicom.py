from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ltml.data.decode import read_image
from ltml.types import UnreadableImageError

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60 + 40


def save(path: Path, pixels: np.ndarray = RAMP, **tags: object) -> Path:
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    file.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = pixels.shape[:2]
    file.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    file.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        file.PlanarConfiguration = 0
    file.BitsAllocated = 8 * pixels.itemsize
    file.BitsStored = 12 if pixels.itemsize == 2 else 8
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = 0
    file.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    pydicom.dcmwrite(path, file, enforce_file_format=True)
    return path


def linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.round(np.clip((values - low) / (high - low), 0, 1) * 255)


def read(path: Path, channels: int = 1) -> np.ndarray:
    return read_image(path, 8, channels).astype(int)


def test_without_a_window_the_values_own_range_counts(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / "a.dcm"))[..., 0], linear(RAMP, RAMP.min(), RAMP.max()))


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    plain = read(save(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(read(save(tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1")), 255 - plain)


def test_the_window_applies_after_the_rescale(tmp_path: Path) -> None:
    """DICOM PS3.3 C.11.2.1.2: linear from centre - 0.5 - (width - 1)/2 to centre - 0.5 + (width - 1)/2."""
    path = save(tmp_path / "a.dcm", WindowCenter=1000, WindowWidth=801, RescaleSlope=0.5, RescaleIntercept=-100)
    values = RAMP * 0.5 - 100
    assert np.abs(read(path)[..., 0] - linear(values, 999.5 - 400, 999.5 + 400)).max() <= 1


def test_a_window_that_the_values_do_not_fill_is_kept(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", RAMP // 4, WindowCenter=2000.5, WindowWidth=4001)
    assert read(path).max() == pytest.approx(RAMP.max() / 4 / 4000 * 255, abs=1)


def test_a_voi_lut_applies(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    table = np.linspace(0, 65535, 4096).round()[::-1].astype(np.uint16)
    item.LUTData = table.tobytes()
    item["LUTData"].VR = "OW"
    path = save(tmp_path / "a.dcm", VOILUTSequence=[item])
    assert np.abs(read(path)[..., 0] - np.round(table[RAMP] / 65535 * 255)).max() <= 1


def test_colour_and_files_without_an_ending(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    save(tmp_path / "colour.dcm", colours)
    np.testing.assert_array_equal(read(tmp_path / "colour.dcm", 3), colours)
    save(tmp_path / "a.dcm").rename(tmp_path / "IM0001")
    assert read(tmp_path / "IM0001").max() == 255


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.dcm").write_bytes(b"not DICOM at all")
    with pytest.raises(UnreadableImageError, match=r"cannot read the image .*bad.dcm"):
        read(tmp_path / "bad.dcm")
    with pytest.raises(UnreadableImageError, match="has 3 frames"):
        read(save(tmp_path / "many.dcm", np.stack([RAMP] * 3).reshape(24, 8), NumberOfFrames=3, Rows=8))
    with pytest.raises(UnreadableImageError, match="8×8 pixels are more than data.max_pixels=63"):
        read_image(save(tmp_path / "large.dcm"), 8, 1, max_pixels=63)
    cut = save(tmp_path / "cut.dcm")
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(UnreadableImageError, match="cut.dcm"):
        read(cut)
