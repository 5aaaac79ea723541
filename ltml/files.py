"""Files written beside and renamed into place, so that a reader never meets half a file."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from ltml.errors import InputError, LtmlError, explain_storage, first_line
from ltml.processes.main_guard import refuse_second_start

log = logging.getLogger(__name__)

PARTIAL = ".partial"
"""Mark of a file that is being written, after the number of the process that writes it."""

QUERY_LIMITED_INFORMATION, ACCESS_DENIED, STILL_ACTIVE = 0x1000, 5, 259
"""Of Windows: the right to ask whether a process runs, the error of having none, and the answer that it does."""

PROBE = 1 << 18
"""Bytes that are appended to a file to learn whether the disk takes more."""


def cache_folder() -> Path:
    """Where what can be made again is kept: ``$LTML_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("LTML_CACHE") or platformdirs.user_cache_dir("ltml"))


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, then rename it to `path`.

    An exception, a kill or a full disk leaves what was at `path` as it was.

    Raises:
        StorageError: the disk is full, read-only, or does not let this user write.
        InputError: the name is too long.
    """
    with storage_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=f".{os.getpid()}{PARTIAL}{path.suffix}"
        )
        os.close(handle)
        _fill(Path(name), path, write)


@contextmanager
def storage_explained(path: Path) -> Iterator[None]:
    """Say of the block's OSErrors, in one sentence, why `path` cannot be written."""
    try:
        yield
    except OSError as error:
        explained = explain_storage(error, path)
        about = path if error.filename is None else Path(os.fsdecode(error.filename))
        if explained is None or not path.absolute().is_relative_to(about.absolute().parent):
            raise  # it is about another file, which was read meanwhile
        raise explained from error


def _fill(temporary: Path, path: Path, write: Callable[[Path], None]) -> None:
    try:
        write(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes it private; a result is an ordinary file
        temporary.replace(path)
    except (OSError, LtmlError):
        raise
    except Exception:  # torch, safetensors and others raise errors of their own, so ask the disk itself
        _write_a_little(temporary)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _write_a_little(path: Path) -> None:
    """Append to a file whose writing has failed, which raises the OSError of a disk that takes no more."""
    with path.open("ab") as file:
        file.write(bytes(PROBE))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: write_utf8(temporary, text))


def write_utf8(path: Path, text: str) -> None:
    """Write UTF-8 text in place."""
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused, undefined figures are null."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Indented JSON; NaN is refused, undefined figures are null."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, remedy: str = "run the same command again to write it") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        remedy: how to get it back.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}; {remedy}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; {remedy}")
    return content


def remove_partial_files(folder: Path) -> None:
    """Take away files that processes left half-written which are no longer there."""
    for path in folder.rglob(f".*{PARTIAL}*"):
        owner = path.name.partition(PARTIAL)[0].rpartition(".")[2]
        if not (owner.isdigit() and _is_alive(int(owner))):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        return _is_alive_on_windows(process)
    try:
        os.kill(process, 0)  # on Windows this would end it, hence the branch above
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_alive_on_windows(process: int) -> bool:
    windows: Any = ctypes  # whose Windows half is not known to type checkers elsewhere
    kernel = windows.WinDLL("kernel32", use_last_error=True)
    handle = kernel.OpenProcess(QUERY_LIMITED_INFORMATION, False, process)
    if not handle:
        return bool(windows.get_last_error() == ACCESS_DENIED)
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == STILL_ACTIVE


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 (hex) of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs; wait for one that is in it.

    The lock is a file beside the folder, ``.NAME.lock``, which the operating system frees when its process ends. Where
    the block makes no folder, it goes again with the parents that were made for it.

    Raises:
        InputError: a helper process would wait for the process that started it; see `ltml.processes.main_guard`.
    """
    refuse_second_start()
    made = [parent for parent in folder.parents if not parent.exists()]
    path = folder.parent / f".{folder.name}.lock"
    lock = FileLock(path)
    while not (lock.is_locked and path.exists()):  # again, where another process has just taken the file away
        lock.release()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            _acquire(lock, folder)
    try:
        yield
    finally:
        if not folder.exists():
            path.unlink(missing_ok=True)
            with suppress(OSError):  # no longer empty: another run lies there by now
                for parent in made:
                    parent.rmdir()
        lock.release()


def _acquire(lock: FileLock, folder: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process that works on %s", folder)
        lock.acquire()
