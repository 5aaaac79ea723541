"""From exceptions to one message and an exit code."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from ltml.errors import LtmlError

F = TypeVar("F", bound=Callable[..., None])

DebugFlag = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def guarded(command: F) -> F:
    """Give a command the option --debug, and on an error one message and an exit code.

    The code is 2 for bad input and 1 for a failure; with --debug the exception comes through with its traceback.
    """
    signature = inspect.signature(command, eval_str=True)
    flag = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DebugFlag)
    signature = signature.replace(parameters=[*signature.parameters.values(), flag])

    @functools.wraps(command)
    def guard(*args: Any, debug: bool = False, **options: Any) -> None:
        _log_to_stderr()
        try:
            command(*args, **options)
        except (Exception, KeyboardInterrupt) as error:
            if debug or isinstance(error, typer.Exit | BrokenPipeError):  # click ends quietly on a closed pipe
                raise
            _fail(error)

    guard.__signature__ = signature  # type: ignore[attr-defined]
    guard.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return guard  # type: ignore[return-value]


def _fail(error: BaseException) -> NoReturn:
    message, code = _explain(error)
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)


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
        typer.echo(prefix + record.getMessage(), err=True)
