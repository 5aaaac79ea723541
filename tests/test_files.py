from __future__ import annotations

import errno
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltml.errors import STORAGE, StorageError
from ltml.files import hash_json, lock_folder, remove_partial_files, write_atomically, write_json, write_text
from ltml.training.checkpoint import save_state, save_weights


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_only_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    ours = tmp_path / f".a.csv.x1.{os.getpid()}.partial.csv"
    dead = tmp_path / "sub" / ".a.csv.x2.999999999.partial.csv"
    dead.parent.mkdir()
    for path in (ours, dead, tmp_path / ".hidden"):
        path.write_text("x")
    remove_partial_files(tmp_path)
    assert ours.exists()
    assert not dead.exists()
    assert (tmp_path / ".hidden").exists()


@pytest.mark.parametrize(
    ("handle", "error", "code", "is_alive"), [(7, 0, 259, True), (7, 0, 1, False), (0, 5, 0, True), (0, 87, 0, False)]
)
def test_on_windows_a_process_is_asked_after_and_not_ended(
    handle: int, error: int, code: int, is_alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kernel:
        def OpenProcess(self, rights: int, inherit: bool, process: int) -> int:  # noqa: N802
            assert (rights, process) == (0x1000, 4321)
            return handle

        def GetExitCodeProcess(self, _: int, target: Any) -> None:  # noqa: N802
            target._obj.value = code

        def CloseHandle(self, given: int) -> None:  # noqa: N802
            assert given == handle

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("ctypes.WinDLL", lambda *_, **__: Kernel(), raising=False)
    monkeypatch.setattr("ctypes.get_last_error", lambda: error, raising=False)
    monkeypatch.setattr("os.kill", lambda *_: pytest.fail("this ends a process on Windows"))
    path = tmp_path / ".a.csv.x1.4321.partial.csv"
    path.write_text("x")
    remove_partial_files(tmp_path)
    monkeypatch.undo()
    assert path.exists() == is_alive


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_hash_ignores_key_order() -> None:
    assert hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1})
    assert hash_json({"a": 1}) != hash_json({"a": 2})


def test_a_held_folder_keeps_others_out_until_it_is_left(tmp_path: Path) -> None:
    folder, order = tmp_path / "runs" / "one", []

    def enter() -> None:
        with lock_folder(folder):
            order.append("second")

    with lock_folder(folder):
        folder.mkdir()
        waiting = threading.Thread(target=enter)
        waiting.start()
        time.sleep(0.3)
        order.append("first")
    waiting.join(timeout=10)
    assert order == ["first", "second"]


def test_holding_a_folder_that_is_never_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lock_folder(tmp_path / "runs" / "digits" / "one"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    (tmp_path / "runs").mkdir()
    with lock_folder(tmp_path / "runs" / "one"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"]  # it was there before
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES])
def test_what_a_disk_refuses_is_one_sentence_with_the_path(tmp_path: Path, number: int) -> None:
    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.csv"
    with pytest.raises(StorageError, match=rf"^{STORAGE[number][0]}: cannot write .*a\.csv\. "):
        write_atomically(path, fail)
    assert not list(tmp_path.iterdir())


def test_trouble_with_another_file_is_not_taken_for_the_disk(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/images/a.png")

    with pytest.raises(PermissionError):
        write_atomically(tmp_path / "a.csv", fail)


@pytest.mark.parametrize("write", [save_state, lambda path, state: save_weights(path, state, {})])
def test_a_library_that_hides_the_full_disk_is_seen_through(tmp_path: Path, write: Callable[..., None]) -> None:
    """Torch and safetensors raise errors of their own; a limit on the size of files stands for the disk."""
    path, before = tmp_path / "state.pt", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(StorageError, match=r"a file is larger than this system allows: cannot write .*state\.pt"):
            write(path, {"x": torch.zeros(1 << 20)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_written_file_has_the_mode_of_an_ordinary_one_and_the_umask_is_never_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", lambda _: pytest.fail("the umask belongs to all threads of the process"))
            write_text(tmp_path / "ours", "1")
        (tmp_path / "plain").write_text("1")
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o640
