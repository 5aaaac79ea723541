"""Files that are written under a temporary name and then renamed, so that no reader sees half a file."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from ltml.errors import InputError, LtmlError, explain_storage, first_line
from ltml.processes.main_guard import refuse_second_start

log = logging.getLogger(__name__)

PARTIAL = ".partial"
"""Marks the name of a file that is still being written; the id of its process stands before it."""

QUERY_LIMITED_INFORMATION, ACCESS_DENIED, STILL_ACTIVE = 0x1000, 5, 259
"""Windows constants: access right for asking whether a process runs, error code without it, exit code while it runs."""

PROBE = 1 << 18
"""Number of bytes appended to a file to test whether the disk is full."""


def cache_folder() -> Path:
    """Return the folder of cached files: ``$LTML_CACHE``, or the user's cache folder."""
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
        _fill(path.with_name(f".{path.name}.{token_hex(4)}.{os.getpid()}{PARTIAL}{path.suffix}"), path, write)


@contextmanager
def storage_explained(path: Path) -> Iterator[None]:
    """Replace OSErrors of the block by one sentence that says why `path` cannot be written."""
    try:
        yield
    except OSError as error:
        explained = explain_storage(error, path)
        failed = path if error.filename is None else Path(os.fsdecode(error.filename))
        if explained is None or not path.absolute().is_relative_to(failed.absolute().parent):
            raise  # another file, which was being read
        raise explained from error


def _fill(temporary: Path, path: Path, write: Callable[[Path], None]) -> None:
    try:
        with temporary.open("xb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # what the umask leaves to an ordinary file
        write(temporary)
        temporary.chmod(mode)  # some libraries replace the file by a private one
        temporary.replace(path)
    except (OSError, LtmlError):
        raise
    except Exception:  # torch, safetensors and others hide the OSError, so test the disk itself
        _write_a_little(temporary)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _write_a_little(path: Path) -> None:
    """Append to a file that could not be written, which raises an OSError if the disk is full."""
    with path.open("ab") as file:
        file.write(bytes(PROBE))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: write_utf8(temporary, text))


def write_utf8(path: Path, text: str) -> None:
    """Write UTF-8 text in place."""
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; raise on NaN, since undefined values are null."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return indented JSON text; raise on NaN, since undefined values are null."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, remedy: str = "run the same command again to write it") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: file to read.
        remedy: how to restore the file, for the message.

    Raises:
        InputError: the file is missing, damaged, or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}; {remedy}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; {remedy}")
    return content


def remove_partial_files(folder: Path) -> None:
    """Delete half-written files of processes that no longer run."""
    for path in folder.rglob(f".*{PARTIAL}*"):
        owner = path.name.partition(PARTIAL)[0].rpartition(".")[2]
        if not (owner.isdigit() and _is_alive(int(owner))):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        return _is_alive_on_windows(process)
    try:
        os.kill(process, 0)  # on Windows this would end the process, hence the branch above
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_alive_on_windows(process: int) -> bool:
    windows: Any = ctypes  # type checkers on other systems do not know its Windows part
    kernel = windows.WinDLL("kernel32", use_last_error=True)
    handle = kernel.OpenProcess(QUERY_LIMITED_INFORMATION, False, process)
    if not handle:
        return bool(windows.get_last_error() == ACCESS_DENIED)
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == STILL_ACTIVE


def hash_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes while the block runs; wait if another process has locked it.

    The lock is the file ``.NAME.lock`` beside the folder. The operating system releases it when the process ends. If
    the block creates no folder, the lock file is deleted, with the parent folders that were created for it.

    Raises:
        InputError: this helper process would wait for its own parent; see `ltml.processes.main_guard`.
    """
    refuse_second_start()
    created = [parent for parent in folder.parents if not parent.exists()]
    path = folder.parent / f".{folder.name}.lock"
    lock = FileLock(path)
    while not (lock.is_locked and path.exists()):  # repeat if another process has just deleted the file
        lock.release()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            _acquire(lock, folder)
    try:
        yield
    finally:
        if not folder.exists():
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: another run has started there
                for parent in created:
                    parent.rmdir()
        lock.release()


def _acquire(lock: FileLock, folder: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process that works on %s", folder)
        lock.acquire()
