"""From exceptions to one message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import io
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from ltml.errors import LtmlError, shorten
from ltml.world import ALONE, LostProcessError, World, this_world

from .output import say, show_controls

F = TypeVar("F", bound=Callable[..., None])

SECONDS = 5.0
"""For another process, which knows more of what went wrong, to say so first."""

DebugFlag = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def guarded(command: F) -> F:
    """Give a command the option --debug, and on an error one message and an exit code.

    The code is 2 for bad input and 1 for a failure; with --debug the exception comes through with its traceback. Of
    several processes the first one speaks; another one only of an error that is its alone.
    """
    signature = inspect.signature(command, eval_str=True)
    flag = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DebugFlag)
    signature = signature.replace(parameters=[*signature.parameters.values(), flag])

    @functools.wraps(command)
    def guard(*args: Any, debug: bool = False, **options: Any) -> None:
        world = ALONE
        try:
            world = this_world()
            _log_to_stderr()
            with contextlib.nullcontext() if world.is_first else _silence():
                command(*args, **options)
        except (Exception, KeyboardInterrupt) as error:
            if debug or isinstance(error, typer.Exit | BrokenPipeError):  # click ends quietly on a closed pipe
                raise
            _fail(error, world)

    guard.__signature__ = signature  # type: ignore[attr-defined]
    guard.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return guard  # type: ignore[return-value]


def _fail(error: BaseException, world: World) -> NoReturn:
    message, code = _explain(error)
    message = shorten(show_controls(message))
    if isinstance(error, LostProcessError):
        _wait_to_be_ended(2 * SECONDS, code)
    elif not world.is_first and isinstance(error, KeyboardInterrupt):
        sys.exit(code)  # the first process is interrupted too
    elif not world.is_first:
        _wait_to_be_ended(SECONDS, code)
    say(f"error: {message}" if world.is_first else f"error in process {world.rank}: {message}", err=True)
    sys.exit(code)


def _wait_to_be_ended(seconds: float, code: int) -> None:
    """Once a process has failed torchrun ends the others; who is still there after a while is the one to speak."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(code))
    time.sleep(seconds)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """No results on stdout, no log lines and no warnings inside the block; errors are still told."""
    logging.getLogger("ltml").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _explain(error: BaseException) -> tuple[str, int]:
    if isinstance(error, LtmlError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return (
            "interrupted; what was finished stays, and the same command (without --fresh) goes on from there",
            1,
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; free some space and run the same command again (without --fresh), it resumes", 1
    if isinstance(error, OSError):
        return str(error), 1
    return f"unexpected {type(error).__name__}: {error} (add --debug for the traceback)", 1


def _log_to_stderr() -> None:
    logger = logging.getLogger("ltml")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [_StderrHandler()]


class _StderrHandler(logging.Handler):
    """Plain lines on whatever stderr is at the moment; warnings say so."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        print(
            prefix + show_controls(record.getMessage()), file=sys.stderr
        )  # unlike click, above a bar that is drawn there
