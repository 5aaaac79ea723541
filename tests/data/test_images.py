from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltml.data.images import read_image
from ltml.types import UnreadableImageError

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


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", 8, 1)[..., 0], RAMP)


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


def test_modes_without_a_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(UnreadableImageError, match="mode 'F' has no defined range"):
        read_image(tmp_path / "f.tiff", 4, 1)
