"""Values of pictures that Pillow cuts, wraps, reverses or has several of, against numpy's arithmetic."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fixtures.tiff_files import write_tiff
from PIL import Image, ImageOps

from ltml.data.decode import UnreadableImageError, read_image
from ltml.data.image_files import is_image

RNG = np.random.default_rng(0)
DEEP = RNG.integers(300, 4096, (8, 8, 3)).astype(np.uint16)


def scaled(values: np.ndarray) -> np.ndarray:
    """Values over their own range as 0 to 255."""
    low, high = float(values.min()), float(values.max())
    return np.round((values.astype(np.float64) - low) * (255 / (high - low))).astype(int)


def read(path: Path, channels: int = 1) -> np.ndarray:
    pixels = read_image(path, 8, channels).astype(int)
    return pixels[..., 0] if channels == 1 else pixels


def write_png(path: Path, values: np.ndarray, *, interlaced: bool = False, exif: bytes = b"") -> Path:
    """16 bits a channel, of which Pillow writes grey alone; rows filtered by "up" so that filters matter."""
    height, width, channels = values.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    body = b"".join(b"\x02" + row.tobytes() for row in filtered)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = [chunk(b"IHDR", head), *([chunk(b"eXIf", exif)] if exif else []), chunk(b"IDAT", zlib.compress(body))]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("channels", [3, 4])
def test_png_of_16_bit_colour_is_scaled_over_the_range_of_all_its_channels(tmp_path: Path, channels: int) -> None:
    values = DEEP if channels == 3 else np.dstack([DEEP, RNG.integers(0, 65536, (8, 8))]).astype(np.uint16)
    np.testing.assert_array_equal(read(write_png(tmp_path / "a.png", values), 3), scaled(DEEP))


def test_png_of_16_bit_grey_and_alpha(tmp_path: Path) -> None:
    values = np.dstack([DEEP[..., 0], RNG.integers(0, 65536, (8, 8))]).astype(np.uint16)
    np.testing.assert_array_equal(read(write_png(tmp_path / "a.png", values)), scaled(DEEP[..., 0]))


def test_exif_turns_deep_colour(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    path = write_png(tmp_path / "a.png", DEEP, exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    np.testing.assert_array_equal(read(path, 3), np.rot90(scaled(DEEP), -1))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("alpha", [None, 0, 2])
def test_tiff_of_16_bit_colour(tmp_path: Path, order: str, packed: bool, alpha: int | None) -> None:
    values = DEEP if alpha is None else np.dstack([DEEP, np.full((8, 8), 60000)]).astype(np.uint16)
    path = write_tiff(tmp_path / "a.tif", values, order=order, packed=packed, alpha=alpha)
    np.testing.assert_array_equal(read(path, 3), scaled(DEEP))


def test_ppm_of_16_bit_colour(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 8 8\n# a film\n4095\n" + DEEP.astype(">u2").tobytes())
    np.testing.assert_array_equal(read(tmp_path / "a.ppm", 3), scaled(DEEP))


NUMBERS = {
    "uint16": RNG.integers(0, 65536, (8, 8)).astype(np.uint16),
    "int8": RNG.integers(-128, 128, (8, 8)).astype(np.int8),
    "int16": RNG.integers(-2000, 2000, (8, 8)).astype(np.int16),
    "uint32": RNG.integers(0, 2**32, (8, 8)).astype(np.uint32),
    "int32": RNG.integers(-(2**31), 2**31, (8, 8)).astype(np.int32),
    "float32": RNG.normal(size=(8, 8)).astype(np.float32),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", list(NUMBERS))
def test_tiff_of_any_number_is_scaled_over_its_own_range(tmp_path: Path, kind: str, order: str, packed: bool) -> None:
    path = write_tiff(tmp_path / "a.tif", NUMBERS[kind], order=order, packed=packed)
    if (kind, order) == ("uint32", ">"):
        with pytest.raises(UnreadableImageError, match=r"a.tif: .*TIFF.*32 bits"):
            read(path)
    else:
        np.testing.assert_array_equal(read(path), scaled(NUMBERS[kind]))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("kind", "order"), [("uint16", "<"), ("float32", "<"), ("float32", ">")])
def test_white_is_zero_is_turned_over(tmp_path: Path, kind: str, order: str, packed: bool) -> None:
    path = write_tiff(tmp_path / "a.tif", NUMBERS[kind], order=order, photometric=0, packed=packed)
    np.testing.assert_array_equal(read(path), scaled(-NUMBERS[kind].astype(np.float64)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_white_is_zero_of_8_bits_is_turned_over_once(tmp_path: Path, order: str) -> None:
    values = RNG.integers(0, 256, (8, 8)).astype(np.uint8)
    path = write_tiff(tmp_path / "a.tif", values, order=order, photometric=0)
    np.testing.assert_array_equal(read(path), 255 - values.astype(int))


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    values = RNG.integers(0, 2, (8, 8)).astype(bool)
    for name, tags in (("a.tif", {}), ("b.tif", {262: 0}), ("a.png", {})):
        Image.fromarray(values).save(tmp_path / name, **({"tiffinfo": tags} if tags else {}))
        with Image.open(tmp_path / name) as opened:
            expected = np.asarray(opened) * 255
        np.testing.assert_array_equal(read(tmp_path / name), expected)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    for value in (np.nan, np.inf, -np.inf):
        values = NUMBERS["float32"].copy()
        values[3, 4] = value
        with pytest.raises(UnreadableImageError, match="not finite"):
            read(write_tiff(tmp_path / "a.tif", values))


def test_what_would_be_cut_to_8_bits_is_refused_by_name(tmp_path: Path) -> None:
    planes = write_tiff(tmp_path / "planes.tif", DEEP, planes=2)
    alpha = write_tiff(tmp_path / "alpha.tif", np.dstack([DEEP, DEEP[..., 0]]), alpha=1)
    text = tmp_path / "text.ppm"
    text.write_text("P3 8 8 4095\n" + " ".join(map(str, DEEP.ravel())))
    sgi = tmp_path / "a.sgi"
    sgi.write_bytes(struct.pack(">hBBHHHH", 474, 0, 2, 3, 8, 8, 3).ljust(512, b"\0") + DEEP.astype(">u2").tobytes())
    for path, kind in ((planes, "separate planes"), (alpha, "multiplied by alpha"), (text, "as text"), (sgi, "SGI")):
        with pytest.raises(UnreadableImageError, match=f"{path.name}: it has more than 8 bits a channel, .*{kind}"):
            read(path, 3)


def test_jpeg_2000_of_deep_colour_is_refused_and_of_8_bits_read(tmp_path: Path) -> None:
    shallow = (DEEP // 16).astype(np.uint8)
    path = tmp_path / "a.jp2"
    Image.fromarray(shallow).save(path, irreversible=False)
    np.testing.assert_array_equal(read(path, 3), shallow)
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "grey.jp2", irreversible=False)
    np.testing.assert_array_equal(read(tmp_path / "grey.jp2"), scaled(DEEP[..., 0]))
    data = bytearray(path.read_bytes())
    start = data.find(b"\xff\x4f\xff\x51")
    data[start + 42 : start + 51 : 3] = bytes([11, 11, 11])  # 12 bits a channel
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=r"more than 8 bits a channel, of JPEG 2000"):
        read(path, 3)


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.png", "a.webp", "a.mpo"])
def test_of_several_pages_none_is_chosen(tmp_path: Path, name: str) -> None:
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (50, 200, 90)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(UnreadableImageError, match=f"{name}: the file has 3 pages.*save the one you mean"):
        read(tmp_path / name)
    pages[0].save(tmp_path / name)
    assert np.abs(read(tmp_path / name) - 50).max() <= 1


def test_a_thumbnail_before_the_picture_is_not_taken_for_it(tmp_path: Path) -> None:
    thumbnail, film = (Image.fromarray(np.zeros(shape, np.uint8)) for shape in ((4, 4), (32, 32)))
    thumbnail.save(tmp_path / "a.tif", save_all=True, append_images=[film])
    with pytest.raises(UnreadableImageError, match="the file has 2 pages"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.ico", "a.icns"])
def test_icons_of_several_sizes_are_refused(tmp_path: Path, name: str) -> None:
    icon = Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    icon.save(tmp_path / name, sizes=[(16, 16), (32, 32)])
    with pytest.raises(UnreadableImageError, match=rf"{name}: the file has \d+ pages"):
        read(tmp_path / name)
    if name == "a.ico":
        icon.save(tmp_path / name, sizes=[(32, 32)])
        assert read(tmp_path / name, 3).shape == (8, 8, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_turn_of_exif_is_undone(tmp_path: Path, name: str, orientation: int) -> None:
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / name, exif=exif, **({"lossless": True} if name == "a.webp" else {}))
    picture.save(tmp_path / f"plain_{name}", **({"lossless": True} if name == "a.webp" else {}))
    turned = Image.fromarray(read(tmp_path / f"plain_{name}").astype(np.uint8))
    turned.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(read(tmp_path / name), np.asarray(ImageOps.exif_transpose(turned)))


def test_deep_grey_is_turned_too(tmp_path: Path) -> None:
    values = NUMBERS["uint16"]
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), np.rot90(scaled(values)))


def test_ink_and_palettes_keep_their_colours(tmp_path: Path) -> None:
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[:4] = (200, 60, 30)
    colours[4:] = (10, 120, 250)
    ink = Image.fromarray(colours).convert("CMYK")
    ink.save(tmp_path / "ink.tif")
    np.testing.assert_array_equal(read(tmp_path / "ink.tif", 3), np.asarray(ink.convert("RGB")))
    palette = Image.fromarray(colours).quantize(4)
    palette.save(tmp_path / "palette.png", transparency=3)
    np.testing.assert_array_equal(read(tmp_path / "palette.png", 3), colours)


def test_what_pillow_does_not_know_of_tiff_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"TIFF.*64 bits.*SampleFormat 3"):
        read(write_tiff(tmp_path / "a.tif", np.ones((8, 8))))
    with pytest.raises(UnreadableImageError, match=r"TIFF.*16 bits.*PhotometricInterpretation 0"):
        read(write_tiff(tmp_path / "a.tif", NUMBERS["uint16"], order=">", photometric=0))


def test_names_and_preambles_say_what_an_image_is(tmp_path: Path) -> None:
    for name, content, image in (
        ("a.PNG", b"", True),
        ("b.txt", b"words", False),
        ("1.2.840.113", bytes(128) + b"DICM", True),
        ("scan.IMA", bytes(128) + b"DICM", True),
        ("scan.img", bytes(200), False),
        ("c.dc3", b"", True),
        ("README", b"", False),
    ):
        (tmp_path / name).write_bytes(content)
        assert is_image(tmp_path / name) is image, name
