from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ltml.data.decode import UnreadableImageError, decode, read_image
from ltml.data.pixels import count_levels, with_channels

RAMP = np.add.outer(np.arange(8), np.arange(8)).astype(np.uint8) * 16


def test_grey_and_colour_come_out_as_asked(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", 8, 1)[..., 0], RAMP)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", 8, 3), np.repeat(RAMP[..., None], 3, axis=2))
    for mode in ("RGBA", "P", "LA", "CMYK"):
        file = tmp_path / f"{mode}.tiff"
        Image.fromarray(RAMP).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(file)
        assert np.abs(read_image(file, 8, 1)[..., 0].astype(int) - RAMP).max() <= 2
        assert read_image(file, 4, 3).shape == (4, 4, 3)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_sixteen_bit_files_are_scaled_over_their_own_range(tmp_path: Path, bits: int) -> None:
    deep = np.linspace(100, 2**bits - 1, 64).round().astype(np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    expected = np.round((deep - deep.min()) / (deep.max() - deep.min()) * 255)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", 8, 1)[..., 0], expected)
    Image.fromarray(np.full((8, 8), 300, dtype=np.uint16)).save(tmp_path / "flat.png")
    assert not read_image(tmp_path / "flat.png", 8, 1).any()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(RAMP // 2 + np.arange(8, dtype=np.uint8)[:, None] * 8).save(tmp_path / "turned.png", exif=exif)
    plain = np.asarray(Image.open(tmp_path / "turned.png"))
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", 8, 1)[..., 0], np.rot90(plain, -1))


def test_resizing_averages(tmp_path: Path) -> None:
    Image.fromarray(np.kron([[0, 1], [1, 0]], np.ones((50, 50))).astype(np.uint8) * 200).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 1, 1).item() == pytest.approx(100, abs=2)


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "bad.png"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"cannot read the image .*bad.png"):
        read_image(file, 8, 1)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UnreadableImageError, match=r"cut.png"):
        read_image(file, 8, 1)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(UnreadableImageError, match="not finite"):
        read_image(tmp_path / "f.tiff", 4, 1)


def test_pictures_with_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 50), dtype=np.uint8)).save(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png", 4, 1, max_pixels=2000).shape == (4, 4, 1)
    (tmp_path / "large.png").write_bytes((tmp_path / "large.png").read_bytes()[:60])  # the header alone
    with pytest.raises(UnreadableImageError, match="50×40 pixels are more than data.max_pixels=1999"):
        read_image(tmp_path / "large.png", 4, 1, max_pixels=1999)


def test_grey_by_pillow_and_by_us_agree() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    np.testing.assert_array_equal(with_channels(colours, 1)[..., 0], np.asarray(Image.fromarray(colours).convert("L")))


def test_a_grey_picture_in_a_colour_file_is_one_channel(tmp_path: Path) -> None:
    Image.fromarray(RAMP).convert("RGBA").save(tmp_path / "grey.png")
    assert decode(tmp_path / "grey.png", 8).shape == (8, 8, 1)
    Image.fromarray(np.stack([RAMP, RAMP, RAMP // 2], axis=-1)).save(tmp_path / "colour.png")
    assert decode(tmp_path / "colour.png", 8).shape == (8, 8, 3)


def test_whatever_a_damaged_file_makes_pillow_raise_names_the_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", exif=exif)
    good = (tmp_path / "a.jpg").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(good)
        for place in rng.integers(0, len(good), 6):
            data[place] = rng.integers(0, 256)
        file = tmp_path / "bad.jpg"
        file.write_bytes(bytes(data))
        with contextlib.suppress(UnreadableImageError):  # anything else is a fault
            assert read_image(file, 8, 1).shape == (8, 8, 1)


def test_an_unexpected_exception_of_a_decoder_is_an_unreadable_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")

    def stumble(_: Image.Image) -> None:
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr(ImageOps, "exif_transpose", stumble)
    with pytest.raises(UnreadableImageError, match=r"a.png: required argument is not an integer.*data.unreadable=skip"):
        read_image(tmp_path / "a.png", 8, 1)


def test_levels_are_those_of_sorted_values() -> None:
    rng = np.random.default_rng(0)
    for low, high in ((0, 256), (40, 90), (7, 8)):
        pixels = rng.integers(low, high, (40, 50, 3)).astype(np.uint8)
        pixels[0, :4, 1] = (0, 255, 0, 255) if high < 256 else 3
        values = np.sort(pixels.reshape(-1, 3), axis=0).astype(int)
        whole, middle = (values[-1] - values[0]).max(), (values[1989] - values[10]).max()
        assert count_levels(pixels) == (whole, middle)
