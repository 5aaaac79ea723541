from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from ltml.data.decode import UnreadableImageError, read_image

RED = (200, 60, 30)
"""A colour of a fundus."""

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60 + 40


def save(path: Path, pixels: np.ndarray = RAMP, syntax: str = ExplicitVRLittleEndian, **tags: object) -> Path:
    pydicom.dcmwrite(path, make(pixels, syntax, **tags), enforce_file_format=True)
    return path


def make(pixels: np.ndarray = RAMP, syntax: str = ExplicitVRLittleEndian, **tags: object) -> Dataset:
    """A file of unsigned or signed integers, grey or RGB, stored in 12 of 16 bits or in all of 8."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
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
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    return file


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


def own_range(values: np.ndarray) -> np.ndarray:
    return linear(values.astype(np.float64), float(values.min()), float(values.max()))


# Colour


def fundus() -> np.ndarray:
    return np.full((8, 8, 3), RED, dtype=np.uint8)


def in_ybr() -> np.ndarray:
    return np.asarray(Image.fromarray(fundus()).convert("YCbCr"))


def packed(path: Path, kind: str, syntax: str, space: str, picture: Image.Image, edit=lambda data: data, **how) -> Path:
    data = io.BytesIO()
    picture.save(data, kind, **how)
    file = make(np.asarray(picture.convert("RGB")), syntax, PhotometricInterpretation=space)
    file.PixelData = encapsulate([edit(data.getvalue())])
    file["PixelData"].is_undefined_length = True
    pydicom.dcmwrite(path, file, enforce_file_format=True)
    return path


def with_adobe_marker(transform: int):
    marker = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
    return lambda data: data[:2] + marker + data[2 + 2 + int.from_bytes(data[4:6], "big") :]  # instead of JFIF's


def test_every_way_to_write_colour_gives_the_same_colour(tmp_path: Path) -> None:
    picture = Image.fromarray(fundus())
    half = np.zeros((8, 4, 4), dtype=np.uint8)
    half[..., :2], half[..., 2:] = in_ybr()[0, 0, 0], in_ybr()[0, 0, 1:]
    rle = make(in_ybr(), PhotometricInterpretation="YBR_FULL")
    rle.compress(RLELossless, generate_instance_uid=False)
    pydicom.dcmwrite(tmp_path / "rle.dcm", rle, enforce_file_format=True)
    lossless = {"irreversible": False, "mct": 1, "no_jp2": True}
    lossy = {"irreversible": True, "mct": 1, "no_jp2": True}
    files = [
        save(tmp_path / "rgb.dcm", fundus()),
        save(tmp_path / "ybr.dcm", in_ybr(), PhotometricInterpretation="YBR_FULL"),
        save(tmp_path / "planes.dcm", np.ascontiguousarray(fundus().transpose(2, 0, 1)), Rows=8, Columns=8,
             SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=1),
        save(tmp_path / "half.dcm", in_ybr(), PhotometricInterpretation="YBR_FULL_422", PixelData=half.tobytes()),
        tmp_path / "rle.dcm",
        packed(tmp_path / "jpeg.dcm", "JPEG", JPEGBaseline8Bit, "YBR_FULL_422", picture, quality=95),
        packed(tmp_path / "adobe.dcm", "JPEG", JPEGBaseline8Bit, "YBR_FULL_422", picture, with_adobe_marker(1)),
        packed(tmp_path / "plain.dcm", "JPEG", JPEGBaseline8Bit, "YBR_FULL_422", picture, keep_rgb=True),
        packed(tmp_path / "ict.dcm", "JPEG2000", JPEG2000, "YBR_ICT", picture, **lossy),
        packed(tmp_path / "rct.dcm", "JPEG2000", JPEG2000Lossless, "YBR_RCT", picture, **lossless),
        packed(tmp_path / "j2k.dcm", "JPEG2000", JPEG2000Lossless, "RGB", picture, irreversible=False, no_jp2=True),
    ]  # fmt: skip
    for path in files:
        assert np.abs(read(path, 3)[4, 4] - RED).max() <= 2, path.name


def test_colour_that_cannot_be_brought_to_rgb_is_refused(tmp_path: Path) -> None:
    for space, match in (
        ("YBR_PARTIAL_420", "YBR_PARTIAL_420 with 3"),
        ("HSV", "HSV with 3"),
        ("MONOCHROME2", "with 3"),
    ):
        with pytest.raises(UnreadableImageError, match=match):
            read(save(tmp_path / "a.dcm", fundus(), PhotometricInterpretation=space), 3)
    with pytest.raises(UnreadableImageError, match="lacks PhotometricInterpretation"):
        read(save(tmp_path / "a.dcm", PhotometricInterpretation=None))


def test_deep_colour_is_scaled_over_its_own_range(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 4096, (8, 8, 3)).astype(np.uint16)
    np.testing.assert_array_equal(read(save(tmp_path / "a.dcm", colours), 3), own_range(colours))


def palette(entries: np.ndarray, first: int = 0) -> dict[str, object]:
    tags: dict[str, object] = {}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [len(entries) % 65536, first, 8 * entries.itemsize]
        tags[f"{colour}PaletteColorLookupTableData"] = np.ascontiguousarray(entries[:, number]).tobytes()
    return tags


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("first", [0, 40])
def test_palettes_give_their_colours(tmp_path: Path, kind: str, first: int) -> None:
    rng = np.random.default_rng(0)
    entries = rng.integers(0, np.iinfo(kind).max + 1, (100, 3)).astype(kind)
    stored = rng.integers(0, 256, (8, 8)).astype(np.uint8)
    path = save(tmp_path / "a.dcm", stored, PhotometricInterpretation="PALETTE COLOR", **palette(entries, first))
    expected = apply_color_lut(stored, pydicom.dcmread(path))
    np.testing.assert_array_equal(read(path, 3), expected if kind == "u1" else np.round(expected / 257))


def test_a_palette_of_8_bits_with_more_than_256_entries(tmp_path: Path) -> None:
    entries = np.random.default_rng(0).integers(0, 256, (4096, 3)).astype(np.uint8)
    path = save(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="PALETTE COLOR", **palette(entries))
    np.testing.assert_array_equal(read(path, 3), entries[RAMP])


def test_segmented_palettes(tmp_path: Path) -> None:
    """Segments: 3 discrete entries, then 253 on a line to 65535."""
    words = np.array([0, 3, 0, 100, 200, 1, 253, 65535], dtype=np.uint16)
    tags = {f"Segmented{c}PaletteColorLookupTableData": words.tobytes() for c in ("Red", "Green", "Blue")}
    tags |= {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    stored = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    path = save(tmp_path / "a.dcm", stored, PhotometricInterpretation="PALETTE COLOR", **tags)
    table = np.concatenate([[0, 100, 200], np.linspace(200, 65535, 254)[1:]])
    assert np.abs(read(path)[..., 0] - table[stored] / 257).max() <= 1


def test_palettes_that_are_missing_or_supplemental_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="without a palette"):
        read(save(tmp_path / "a.dcm", PhotometricInterpretation="PALETTE COLOR"))
    with pytest.raises(UnreadableImageError, match="PixelPresentation COLOR or MIXED"):
        read(save(tmp_path / "a.dcm", PixelPresentation="COLOR"))


# Windows, rescale and tables


WITHOUT_VALUE = [
    {"WindowCenter": "", "WindowWidth": ""},
    {"WindowCenter": None, "WindowWidth": None},
    {"WindowCenter": "2048", "WindowWidth": ""},
    {"WindowCenter": "", "WindowWidth": "4096"},
    {"WindowCenter": "1024"},
    {"WindowWidth": "512"},
    {"WindowCenter": ["", ""], "WindowWidth": ["", ""]},
    {"WindowCenter": ["40", ""], "WindowWidth": ["", "80"]},
    {"WindowCenter": "1024", "WindowWidth": "0"},
    {"WindowCenter": "1024", "WindowWidth": "-1"},
    {"RescaleSlope": None, "RescaleIntercept": None},
    {"RescaleSlope": "", "RescaleIntercept": "-1024"},
    {"RescaleSlope": "2"},
    {"VOILUTSequence": []},
    {"VOILUTSequence": [Dataset()]},
    {"ModalityLUTSequence": []},
    {"PixelPaddingValue": None},
    {"NumberOfFrames": None},
    {"VOILUTFunction": ""},
]  # fmt: skip


@pytest.mark.parametrize("tags", WITHOUT_VALUE, ids=str)
def test_a_tag_without_a_value_is_no_tag(tmp_path: Path, tags: dict[str, object]) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / "a.dcm", **tags))[..., 0], own_range(RAMP))


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2048, 4096), (1000, 801), (100.5, 1), (-300, 2000), (1e6, 2)])
def test_windows_are_those_of_pydicom(tmp_path: Path, function: str | None, centre: float, width: float) -> None:
    tags = {"WindowCenter": centre, "WindowWidth": width, "RescaleSlope": 0.5, "RescaleIntercept": -100}
    path = save(tmp_path / "a.dcm", **tags, **({"VOILUTFunction": function} if function else {}))
    file = pydicom.dcmread(path)  # whose values are shown over the range of the rescaled 12 bits
    with np.errstate(over="ignore"):  # of its sigmoid
        shown = apply_windowing(apply_modality_lut(file.pixel_array, file), file)
    assert np.abs(read(path)[..., 0] - (shown + 100) / (4095 * 0.5) * 255).max() <= 0.51


def test_of_several_windows_the_first_complete_one_counts(tmp_path: Path) -> None:
    one = read(save(tmp_path / "a.dcm", WindowCenter=1000, WindowWidth=801))
    two = save(tmp_path / "b.dcm", WindowCenter=[1000, 2000], WindowWidth=[801, 50])
    np.testing.assert_array_equal(read(two), one)
    half = save(tmp_path / "c.dcm", WindowCenter=["", "1000"], WindowWidth=["300", "801"])
    np.testing.assert_array_equal(read(half), one)


def test_the_window_counts_before_the_table(tmp_path: Path) -> None:
    item = lut(np.arange(4096)[::-1], 12)
    np.testing.assert_array_equal(
        read(save(tmp_path / "a.dcm", WindowCenter=1000, WindowWidth=801, VOILUTSequence=[item])),
        read(save(tmp_path / "b.dcm", WindowCenter=1000, WindowWidth=801)),
    )


def test_what_is_no_number_or_function_is_named(tmp_path: Path) -> None:
    file = save(tmp_path / "a.dcm", WindowCenter="1234", WindowWidth="5678")
    file.write_bytes(file.read_bytes().replace(b"1234", b"12,4"))
    with pytest.raises(UnreadableImageError, match=r"a\.dcm: WindowCenter is not a number"):
        read(file)
    with pytest.raises(UnreadableImageError, match="VOILUTFunction LOG is not understood"):
        read(save(tmp_path / "a.dcm", WindowCenter=1000, WindowWidth=801, VOILUTFunction="LOG"))


def lut(table: np.ndarray, bits: int, first: int = 0, vr: str = "OW") -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(table) % 65536, first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTData = table.astype("<u2").tobytes() if vr == "OW" else table.tolist()
    item["LUTData"].VR = vr
    return item


@pytest.mark.parametrize("vr", ["OW", "US"])
@pytest.mark.parametrize("first", [0, 1000])
def test_tables_are_those_of_pydicom(tmp_path: Path, vr: str, first: int) -> None:
    rng = np.random.default_rng(0)
    voi = save(tmp_path / "a.dcm", VOILUTSequence=[lut(rng.integers(0, 1024, 2000), 10, first, vr)])
    shown = apply_voi_lut(RAMP, pydicom.dcmread(voi))
    np.testing.assert_array_equal(read(voi)[..., 0], linear(shown, 0, 1023))
    modality = save(tmp_path / "b.dcm", ModalityLUTSequence=[lut(rng.integers(0, 65536, 2000), 16, first, vr)])
    np.testing.assert_array_equal(
        read(modality)[..., 0], own_range(apply_modality_lut(RAMP, pydicom.dcmread(modality)))
    )


def test_a_table_may_begin_below_zero(tmp_path: Path) -> None:
    stored = RAMP.astype(np.int16) - 2000
    path = save(tmp_path / "a.dcm", stored, VOILUTSequence=[lut(np.arange(4096), 12, -2048)])
    np.testing.assert_array_equal(read(path)[..., 0], linear(stored + 2048, 0, 4095))


def test_a_table_of_bytes_and_one_that_is_too_short(tmp_path: Path) -> None:
    table = np.random.default_rng(0).integers(0, 256, 256).astype(np.uint8)
    item = lut(table, 8)
    item.LUTData = table.tobytes()
    stored = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    np.testing.assert_array_equal(read(save(tmp_path / "a.dcm", stored, VOILUTSequence=[item]))[..., 0], table[stored])
    item.LUTData = table[:100].tobytes()
    with pytest.raises(UnreadableImageError, match="VOILUTSequence has 100 entries where its descriptor says 256"):
        read(save(tmp_path / "a.dcm", stored, VOILUTSequence=[item]))


def test_a_frame_of_its_own_has_its_tags_in_functional_groups(tmp_path: Path) -> None:
    window, rescale, frame, shared = Dataset(), Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 1000, 801
    rescale.RescaleSlope, rescale.RescaleIntercept = 0.5, -100
    frame.FrameVOILUTSequence = [window]
    shared.PixelValueTransformationSequence = [rescale]
    groups = {"PerFrameFunctionalGroupsSequence": [frame], "SharedFunctionalGroupsSequence": [shared]}
    np.testing.assert_array_equal(
        read(save(tmp_path / "a.dcm", NumberOfFrames=1, **groups)),
        read(save(tmp_path / "b.dcm", WindowCenter=1000, WindowWidth=801, RescaleSlope=0.5, RescaleIntercept=-100)),
    )


# Padding


@pytest.mark.parametrize("space", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 3000}], ids=["own", "window"])
def test_padding_is_black_and_outside_of_the_range(tmp_path: Path, space: str, window: dict[str, int]) -> None:
    padded = RAMP.copy()
    padded[:, :2] = 0
    path = save(tmp_path / "a.dcm", padded, PhotometricInterpretation=space, PixelPaddingValue=0, **window)
    plain = save(tmp_path / "b.dcm", RAMP[:, 2:], PhotometricInterpretation=space, **window)
    film = read_image(plain, 8, 1)  # resized; only its range is of interest here
    found = read(path)[..., 0]
    assert not found[:, :2].any()
    assert (found[:, 2:].min(), found[:, 2:].max()) == pytest.approx((film.min(), film.max()), abs=8)
    low, high = (500.5, 3499.5 - 1) if window else (RAMP[:, 2:].min(), RAMP[:, 2:].max())
    expected = linear(RAMP[:, 2:].astype(float), low, high)
    expected = 255 - expected if space == "MONOCHROME1" else expected
    assert np.abs(found[:, 2:] - expected).max() <= 1


@pytest.mark.parametrize("limits", [(0, 99), (99, 0)])
def test_a_range_of_padding(tmp_path: Path, limits: tuple[int, int]) -> None:
    padded = RAMP + 100
    padded[:, 0] = np.arange(8) * 12
    value, limit = limits
    found = read(save(tmp_path / "a.dcm", padded, PixelPaddingValue=value, PixelPaddingRangeLimit=limit))[..., 0]
    assert not found[:, 0].any()
    np.testing.assert_array_equal(found[:, 1:], own_range(RAMP[:, 1:]))


def test_signed_padding_however_it_was_written(tmp_path: Path) -> None:
    stored = RAMP.astype(np.int16) // 2 - 1000
    stored[0] = -2000
    expected = np.zeros((8, 8))
    expected[1:] = own_range(stored[1:])
    for number, (value, vr) in enumerate(((-2000, "SS"), (63536, "US"))):
        file = make(stored, BitsStored=12, HighBit=11)  # -2000 lies within 12 bits
        file.add_new("PixelPaddingValue", vr, value)
        path = tmp_path / f"{number}.dcm"
        pydicom.dcmwrite(path, file, enforce_file_format=True)
        np.testing.assert_array_equal(read(path)[..., 0], expected)


def test_padding_beyond_the_bits_that_are_stored(tmp_path: Path) -> None:
    stored = RAMP.astype(np.int16) // 2 - 1000
    stored[0] = -32768
    found = read(save(tmp_path / "a.dcm", stored, PixelPaddingValue=-32768))[..., 0]
    assert not found[0].any()
    np.testing.assert_array_equal(found[1:], own_range(stored[1:]))


def test_a_picture_of_padding_alone_is_black(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", RAMP * 0, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1")
    assert not read(path).any()


# Bits and numbers


def test_bits_that_are_not_stored_do_not_count(tmp_path: Path) -> None:
    rubbish = (np.random.default_rng(0).integers(0, 16, (8, 8)) << 12).astype(np.uint16)
    np.testing.assert_array_equal(read(save(tmp_path / "a.dcm", RAMP | rubbish))[..., 0], own_range(RAMP))
    signed = RAMP.astype(np.int16) - 2048
    path = save(tmp_path / "b.dcm", (signed & 0xFFF) | rubbish.view(np.int16), PixelRepresentation=1)
    np.testing.assert_array_equal(read(path)[..., 0], own_range(signed))
    high = save(tmp_path / "c.dcm", (RAMP << 4) | (rubbish >> 12), HighBit=15)
    np.testing.assert_array_equal(read(high)[..., 0], own_range(RAMP))
    with pytest.raises(UnreadableImageError, match="BitsStored 12 and HighBit 5 do not lie within BitsAllocated 16"):
        read(save(tmp_path / "d.dcm", HighBit=5))


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_numbers_of_every_width_and_sign(tmp_path: Path, kind: str) -> None:
    limits = np.iinfo(kind)
    stored = np.linspace(limits.min, limits.max, 64).astype(kind).reshape(8, 8)
    bits = 8 * stored.itemsize
    path = save(tmp_path / "a.dcm", stored, BitsStored=bits, HighBit=bits - 1)
    np.testing.assert_array_equal(read(path)[..., 0], own_range(stored))


def test_floating_point_and_single_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    values[0, 0] = -99
    file = make(values)
    del file.PixelData
    file.FloatPixelData = values.tobytes()
    file.FloatPixelPaddingValue = -99.0
    pydicom.dcmwrite(tmp_path / "a.dcm", file, enforce_file_format=True)
    expected = own_range(values[values > -99])
    assert read(tmp_path / "a.dcm")[0, 0, 0] == 0
    np.testing.assert_array_equal(read(tmp_path / "a.dcm")[..., 0].ravel()[1:], expected)
    bits = np.random.default_rng(0).integers(0, 2, (8, 8)).astype(np.uint8)
    data = np.packbits(bits, bitorder="little").tobytes()
    path = save(tmp_path / "b.dcm", bits, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=data)
    np.testing.assert_array_equal(read(path)[..., 0], bits * 255)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_way_to_write_the_bytes(tmp_path: Path, syntax: str) -> None:
    stored = RAMP.astype(">u2") if syntax == ExplicitVRBigEndian else RAMP
    path = save(tmp_path / "a.dcm", stored, syntax, WindowCenter=1000, WindowWidth=801, PixelPaddingValue=40)
    expected = read(save(tmp_path / "b.dcm", WindowCenter=1000, WindowWidth=801, PixelPaddingValue=40))
    np.testing.assert_array_equal(read(path), expected)


def test_packed_grey(tmp_path: Path) -> None:
    stored = (RAMP // 60).astype(np.uint8)
    file = make(stored)
    file.compress(RLELossless, generate_instance_uid=False)
    pydicom.dcmwrite(tmp_path / "a.dcm", file, enforce_file_format=True)
    np.testing.assert_array_equal(read(tmp_path / "a.dcm")[..., 0], own_range(stored))


def test_a_missing_decoder_is_named_with_what_to_install(tmp_path: Path) -> None:
    for syntax, name, package in (
        (JPEGLSLossless, "JPEG-LS Lossless", "pyjpegls"),
        (JPEGLosslessSV1, "JPEG Lossless", "pylibjpeg-libjpeg"),
        (MPEG2MPML, "MPEG2", "not understood"),
    ):
        file = make(RAMP, syntax)
        file.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        file["PixelData"].is_undefined_length = True
        pydicom.dcmwrite(tmp_path / "a.dcm", file, enforce_file_format=True)
        if pydicom.pixels.decoders.JPEGLSLosslessDecoder.is_available and syntax != MPEG2MPML:
            continue  # the decoders are installed here
        with pytest.raises(UnreadableImageError, match=rf"packed as {name}.*\({syntax}\).*{package}") as caught:
            read(tmp_path / "a.dcm")
        assert len(str(caught.value)) < 600


# Names


NAMES = (
    "film.dcm",
    "IM000001",
    "1.2.826.0.1.3680043.8.498.12345",
    "scan.IMA",
    "film.dc3",
    "film.img",
    "film.dcm.1",
    "a.png",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_preamble_says_what_a_file_is_whatever_its_name(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / name))[..., 0], own_range(RAMP))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_without_preamble_is_read_by_its_ending(tmp_path: Path, syntax: str) -> None:
    file = make(RAMP, syntax)
    del file.file_meta
    implicit = syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "a.dcm", file, implicit_vr=implicit, little_endian=True)
    assert (tmp_path / "a.dcm").read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read(tmp_path / "a.dcm")[..., 0], own_range(RAMP))


def test_what_is_no_dicom_picture_is_said(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes(b"")
    for name in ("a.dcm", "b.dcm", "missing.dcm"):
        with pytest.raises(UnreadableImageError, match=f"cannot read the image .*{name}"):
            read(tmp_path / name)
    report = make()
    del report.PixelData
    pydicom.dcmwrite(tmp_path / "report.dcm", report, enforce_file_format=True)
    with pytest.raises(UnreadableImageError, match="has no pixel data"):
        read(tmp_path / "report.dcm")
