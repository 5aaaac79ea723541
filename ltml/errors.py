"""Errors that a user can cause or meet: one message that says what, which value, what is allowed, how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LtmlError(Exception):
    """A failure while working (exit code 1): the message is all a user needs to see."""

    exit_code = 1


class InputError(LtmlError):
    """Bad input (exit code 2): a recipe, file, label, name or value that has to be changed."""

    exit_code = 2


def suggest(name: str, allowed: Iterable[str], *, most: int = 12) -> str:
    """Say what is allowed in place of `name`, nearest match first.

    Returns a phrase such as ``did you mean 'alpha'? Allowed: alpha, epsilon``.
    """
    names = list(allowed)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    hint = f"did you mean '{next(n for n in names if n.lower() == near[0])}'? " if near else ""
    shown = ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
    return f"{hint}Allowed: {shown or 'nothing'}"


def first_few(items: Iterable[object], *, most: int = 5) -> str:
    """Join the first `most` items and count the rest: ``a, b, c and 7 more``."""
    values = [str(item) for item in items]
    rest = len(values) - most
    return ", ".join(values[:most]) + (f" and {rest} more" if rest > 0 else "")


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
