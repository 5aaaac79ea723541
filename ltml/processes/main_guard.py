"""Checks that helper processes do not run the user's script again because it lacks a main guard.

Processes that start by spawn or forkserver (macOS, Windows, Linux from Python 3.14 on) import the script first. If the
script does not keep its work under ``if __name__ == "__main__":``, each of them begins that work again.
"""

from __future__ import annotations

import ast
import sys
from multiprocessing import current_process
from pathlib import Path
from types import FrameType

from ltml.errors import InputError


def refuse_second_start() -> None:
    """Raise in a helper process that is still importing the script of its parent.

    Raises:
        InputError: the script needs a main guard. Uncaught, the error is printed in one line without traceback.
    """
    if getattr(current_process(), "_inheriting", False):  # what multiprocessing itself asks
        sys.excepthook = lambda _kind, error, _trace: print(f"error: {error}", file=sys.stderr)
        raise InputError(_remedy("this script"))


def check_main_guard(method: str) -> None:
    """Raise if helper processes would run the current script again.

    Args:
        method: start method of the processes: ``fork``, ``spawn`` or ``forkserver``.

    Raises:
        InputError: the processes import the script, and it has no main guard.
    """
    if method != "fork" and (script := _unguarded_script()):
        raise InputError(_remedy(script))


def _remedy(script: str) -> str:
    return (
        f"{script} would begin again in every helper process, since these import it: wrap what it does in a main "
        'guard, e.g. if __name__ == "__main__": ltml.run(recipe)'
    )


def _unguarded_script() -> str:
    """Return the file of the running script if its current line is under no condition on ``__name__``; else empty."""
    main = sys.modules["__main__"]
    name = getattr(main.__spec__, "name", "")
    if name == "__main__" or name.endswith(".__main__"):
        return ""  # a package run by `python -m`, which helper processes do not import
    frame: FrameType | None = sys._getframe()
    while frame and not (frame.f_code.co_name == "<module>" and frame.f_globals is vars(main)):
        frame = frame.f_back
    if frame is None or not Path(frame.f_code.co_filename).is_file():
        return ""
    line, file = frame.f_lineno, frame.f_code.co_filename
    is_guarded = any(
        isinstance(part, ast.If | ast.IfExp | ast.BoolOp)
        and part.lineno <= line <= (part.end_lineno or line)
        and "__name__" in ast.unparse(part.values[0] if isinstance(part, ast.BoolOp) else part.test)
        for part in ast.walk(ast.parse(Path(file).read_bytes()))
    )
    return "" if is_guarded else file
