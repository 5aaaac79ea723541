from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from ltml.data import cache
from ltml.data.cache import CachedImages, fill_cache, locate_cache, open_cached, source_files
from ltml.data.decode import UnreadableImageError, read_image
from ltml.data.images import ChosenImages, FileImages, JoinedImages, StackedImages
from ltml.errors import InputError, LtmlError


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Twelve images, grey and in colour, of several sizes."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(12):
        shape = (40 + i, 50) if i % 3 else (40, 50, 3)
        path = tmp_path / "films" / f"{11 - i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(path)
        found.append(path)
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_the_cache_gives_the_pixels_of_the_files(paths: list[Path], channels: int) -> None:
    files = FileImages(paths, 24, channels)
    assert open_cached(files) is files
    report = fill_cache(files)
    assert (report.images, report.decoded) == (12, 12)
    assert report.bytes == 24 * 24 * (8 * 1 + 4 * 3)  # grey images keep one channel
    cached = open_cached(files)
    assert isinstance(cached, CachedImages)
    for row, path in enumerate(paths):
        np.testing.assert_array_equal(cached.read(row), read_image(path, 24, channels))
        assert cached.files(row) == [path]
    assert fill_cache(files).decoded == 0


def test_rows_in_another_order_or_twice_use_the_same_cache(paths: list[Path]) -> None:
    fill_cache(FileImages(paths, 24, 1))
    again = [*paths[::-1], paths[3]]
    cached = open_cached(FileImages(again, 24, 1))
    assert isinstance(cached, CachedImages)
    for row, path in enumerate(again):
        np.testing.assert_array_equal(cached.read(row), read_image(path, 24, 1))


def test_a_changed_file_or_another_size_is_another_cache(paths: list[Path]) -> None:
    files = FileImages(paths, 24, 1)
    fill_cache(files)
    assert open_cached(FileImages(paths, 25, 1)).__class__ is FileImages
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(paths[0])
    assert open_cached(files) is files


def test_a_damaged_cache_is_found_on_reading(paths: list[Path]) -> None:
    files = FileImages(paths, 24, 1)
    folder = fill_cache(files).folder
    with open(folder / "pixels.bin", "r+b") as store:
        store.seek(100)
        byte = store.read(1)
        store.seek(100)
        store.write(bytes([byte[0] ^ 1]))
    cached = open_cached(files)
    broken = 11  # files are stored in the order of their names
    with pytest.raises(UnreadableImageError, match=r"is damaged at .*00.png. Rebuild it with .*--fresh"):
        cached.read(broken)
    cached.read(0)
    assert fill_cache(files, fresh=True).decoded == 12
    np.testing.assert_array_equal(open_cached(files).read(broken), read_image(paths[broken], 24, 1))
    (folder / "pixels.bin").write_bytes((folder / "pixels.bin").read_bytes()[:1000])
    assert open_cached(files) is files  # with a warning; `ltml data cache` says what to do
    with pytest.raises(InputError, match="is damaged. Rebuild it with"):
        fill_cache(files)
    (folder / "index.npy").write_bytes(b"junk")
    assert open_cached(files) is files
    assert fill_cache(files, fresh=True).decoded == 12


def test_a_partial_cache_is_not_used_and_goes_on(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    files = FileImages(paths, 24, 3)
    real = cache.decode

    def stop_at_seven(path: Path, size: int, max_pixels: int) -> np.ndarray:
        if path.name == "07.png":
            raise KeyboardInterrupt
        return real(path, size, max_pixels)

    monkeypatch.setattr(cache, "decode", stop_at_seven)
    with pytest.raises(KeyboardInterrupt):
        fill_cache(files)
    monkeypatch.setattr(cache, "decode", real)
    folder, *_ = locate_cache(files)
    with open(folder / "pixels.bin", "ab") as store:
        store.write(b"what the index does not know")
    assert open_cached(files) is files
    report = fill_cache(files)
    assert 0 < report.decoded < 12
    cached = open_cached(files)
    for row, path in enumerate(paths):
        np.testing.assert_array_equal(cached.read(row), read_image(path, 24, 3))


def test_unreadable_images_are_named_and_the_others_kept(paths: list[Path]) -> None:
    good = paths[5].read_bytes()
    paths[5].write_bytes(good[:200])
    with pytest.raises(UnreadableImageError, match=r"1 of 12 images cannot be read.*06.png"):
        fill_cache(FileImages(paths, 24, 1))
    assert (np.load(locate_cache(FileImages(paths, 24, 1))[0] / "index.npy")["start"] >= 0).sum() == 11


def test_only_one_process_fills_a_cache(paths: list[Path]) -> None:
    files = FileImages(paths, 24, 1)
    folder, *_ = locate_cache(files)
    folder.mkdir(parents=True)
    with FileLock(folder.with_suffix(".lock")), pytest.raises(LtmlError, match="another process is filling"):
        fill_cache(files)


def test_another_process_maps_the_files_itself(paths: list[Path]) -> None:
    files = FileImages(paths, 24, 1)
    fill_cache(files)
    cached = open_cached(files)
    expected = cached.read(4)
    data = pickle.dumps(cached)
    assert len(data) < 5000
    np.testing.assert_array_equal(pickle.loads(data).read(4), expected)


def test_files_behind_other_readers(paths: list[Path]) -> None:
    files = FileImages(paths, 24, 1)
    pairs = StackedImages(files, 2)
    assert pairs.read(1).shape == (24, 24, 2)
    assert pairs.files(1) == paths[2:4]
    chosen = ChosenImages(files, np.array([5, 2]))
    assert chosen.files(0) == [paths[5]]
    joined = JoinedImages([(files, 12), (chosen, 2)])
    assert joined.files(13) == [paths[2]]
    np.testing.assert_array_equal(joined.read(12), files.read(5))
    assert list(source_files(joined)) == [files, files]
    assert list(source_files(pairs)) == [files]


@pytest.mark.process
def test_killed_while_filling_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i:03d}.png" for i in range(150)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (300, 300)).astype(np.uint8)).save(path)
    program = (
        "import sys; from pathlib import Path; from ltml.data import cache; from ltml.data.images import FileImages\n"
        "cache.SECONDS = 0.01\n"
        "cache.fill_cache(FileImages(sorted(Path(sys.argv[1]).glob('*.png')), 64, 1))"
    )
    files = FileImages(paths, 64, 1)
    folder, *_ = locate_cache(files)
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=os.environ)
    deadline = time.monotonic() + 60
    while not (folder / "index.npy").is_file() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = fill_cache(files)
    assert 0 < report.decoded < 150
    cached = open_cached(files)
    assert isinstance(cached, CachedImages)
    for row in range(0, 150, 7):
        np.testing.assert_array_equal(cached.read(row), read_image(paths[row], 64, 1))


def test_training_reads_the_cache_and_gives_the_same_bytes(
    cli, image_table: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = image_table()
    small = [f"data.file={file}", "train.epochs=1", "data.image_size=16"]
    assert cli("run", "csv_small", *small, "--out", tmp_path / "plain").exit_code == 0
    result = cli("data", "cache", "csv_small", *small)
    assert result.exit_code == 0, result.output
    assert "60 images, 60 decoded now" in result.stdout
    result = cli("run", "csv_small", *small, "--out", tmp_path / "cached")
    assert "images come from the cache" in result.stderr
    runs = [next((tmp_path / name).rglob("stage2/checkpoint.safetensors")) for name in ("plain", "cached")]
    assert runs[0].read_bytes() == runs[1].read_bytes()
    for path in (tmp_path / "images").iterdir():
        path.touch()
    assert "from the cache" not in cli("data", "stats", "csv_small", *small).stderr


def test_nothing_to_cache_is_said(cli) -> None:
    result = cli("data", "cache", "digits_tiny")
    assert result.exit_code == 2
    assert "so nothing can be cached" in result.stderr
