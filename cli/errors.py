"""Turn exceptions into one message and an exit code."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import errno
import functools
import inspect
import io
import logging
import os
import signal
import sys
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import current_thread, main_thread
from types import SimpleNamespace
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from ltml.errors import InputError, LtmlError, explain_storage, shorten, shown
from ltml.processes.world import SINGLE_PROCESS, LostProcessError, World

from .output import say, show_controls

F = TypeVar("F", bound=Callable[..., None])

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes of a command that a signal has ended, as in shells."""
REPLACEMENTS = {
    **dict.fromkeys("−–—─━", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’‚", "'"),
    "→": "->",
    "←": "<-",
    "±": "+-",
    "×": "x",
    "÷": "/",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "·": ".",
    "…": "...",
    "∞": "inf",
    "Δ": "diff",
    "†": "+",
    "‡": "++",
    "✓": "+",
    "✗": "x",
    "█": "#",
}
"""ASCII text for letters that the encoding of the terminal lacks."""
GRACE_SECONDS = 5.0
"""Seconds that a process waits before it reports an error which another process may report better."""

_state = SimpleNamespace(interrupted=False)


class Terminated(BaseException):
    """SIGTERM was sent to this process."""


DebugFlag = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def guarded(command: F) -> F:
    """Add the option --debug to a command, and turn its errors into one message and an exit code.

    The code is 2 for bad input and 1 for a failure. With --debug the exception is raised with its traceback. Of several
    processes rank 0 reports an error; another rank does so only if the error is its own.
    """
    signature = inspect.signature(command, eval_str=True)
    flag = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DebugFlag)
    signature = signature.replace(parameters=[*signature.parameters.values(), flag])

    @functools.wraps(command)
    def guard(*args: Any, debug: bool = False, **options: Any) -> None:
        world = SINGLE_PROCESS
        degrade_output()
        try:
            world = World.from_environment()
            _log_to_stderr()
            _refuse_nul([*args, *options.values()])
            silent = contextlib.nullcontext() if world.is_first else _silence()
            with silent, _terminations() if world.is_first else contextlib.nullcontext():
                command(*args, **options)
        except (Exception, KeyboardInterrupt, Terminated) as error:
            if debug or isinstance(error, typer.Exit | BrokenPipeError):  # click ends quietly on a closed pipe
                raise
            _fail(error, world)

    guard.__signature__ = signature  # type: ignore[attr-defined]
    guard.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return guard  # type: ignore[return-value]


def _fail(error: BaseException, world: World) -> NoReturn:
    message, code = _explain(error)
    message = shorten(show_controls(message))
    _state.interrupted = code == INTERRUPTED
    if isinstance(error, LostProcessError):
        _wait_to_be_ended(2 * GRACE_SECONDS, code)
    elif not world.is_first and isinstance(error, KeyboardInterrupt):
        sys.exit(code)  # the first process is interrupted too
    elif not world.is_first:
        _wait_to_be_ended(GRACE_SECONDS, code)
    who = "error" if world.is_first else f"error in process {world.rank}"
    say(message if isinstance(error, Terminated) else f"{who}: {message}", err=True)
    sys.exit(code)


def _wait_to_be_ended(seconds: float, code: int) -> None:
    """Wait for torchrun to end this process. If it does not, the failure was ours to report."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(code))
    time.sleep(seconds)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide results on stdout, log lines and warnings inside the block; errors are still logged."""
    logging.getLogger("ltml").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _explain(error: BaseException) -> tuple[str, int]:
    if isinstance(error, LtmlError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt | Terminated):
        what, code = ("ended by SIGTERM", TERMINATED) if isinstance(error, Terminated) else ("interrupted", INTERRUPTED)
        return f"{what}; what was finished stays, and the same command (without --fresh) goes on from there", code
    if isinstance(error, OSError):
        return _explain_os(error)
    if isinstance(error, ValueError) and "null" in str(error):  # of Python's functions on files
        return "a name has a NUL byte in it, which no file or folder can have; write it without", InputError.exit_code
    return f"unexpected {type(error).__name__}: {error} (add --debug for the traceback)", 1


def _explain_os(error: OSError) -> tuple[str, int]:
    if _is_of_printing(error):
        _drop_output()
        return f"cannot write to stdout: {error.strerror}", 1
    explained = explain_storage(error, error.filename or "a file")
    if explained is None or error.errno in (errno.EACCES, errno.EPERM):
        return str(error), 1
    return str(explained), explained.exit_code


def _is_of_printing(error: OSError) -> bool:
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == typer.echo.__module__ for frame in frames)


def _drop_output() -> None:
    """Redirect stdout to nowhere, or flushing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _refuse_nul(values: Iterable[Any]) -> None:
    for value in values:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str | Path) and "\0" in str(text):
                raise InputError(f"{shown(text, 80)} has a NUL byte in it, which no name can have; write it without")


@contextlib.contextmanager
def _terminations() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM inside the block."""
    if current_thread() is not main_thread():  # Python handles signals there only
        yield
        return

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_as_shells_expect() -> None:
    """Let an interrupted process die by SIGINT at its exit, so that a shell's loop over seeds stops too."""

    def end() -> None:
        if _state.interrupted and sys.platform != "win32":
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)

    atexit.register(end)


def with_help_explained(app: Callable[[], Any]) -> None:
    """Run the command line, and explain an OSError of printing a help text; commands explain their own errors."""
    try:
        app()
    except OSError as error:
        _drop_output()
        say(f"error: cannot write to stdout: {error.strerror}", err=True)
        sys.exit(1)


def degrade_output() -> None:
    """Let stdout and stderr replace letters that their encoding lacks by similar ones, such as -> for an arrow."""
    codecs.register_error("ltml.near", _replace_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ltml.near")


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_similar, error.object[error.start : error.end])), error.end


def _similar(letter: str) -> str:
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return REPLACEMENTS.get(letter) or plain or "?"


def _log_to_stderr() -> None:
    logger = logging.getLogger("ltml")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [_StderrHandler()]


class _StderrHandler(logging.Handler):
    """Write log records as plain lines to the current stderr; warnings begin with ``warning:``."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        print(
            prefix + show_controls(record.getMessage()), file=sys.stderr
        )  # unlike click, above a bar that is drawn there
