"""Errors with a message for users: what is wrong, which value, what is allowed, and how to fix it."""

from __future__ import annotations

import difflib
import errno
import unicodedata
from collections.abc import Iterable


class LtmlError(Exception):
    """A failure at run time (exit code 1), fully explained by its message."""

    exit_code = 1


class InputError(LtmlError):
    """Bad input (exit code 2): a recipe, file, label, name or value that the user has to change."""

    exit_code = 2


RESUME = "free some space and run the same command again (without --fresh), it resumes"
STORAGE = {
    errno.ENOSPC: ("the disk is full", f"Please {RESUME}."),
    errno.EDQUOT: ("the quota of this user's disk space is used up", f"Please {RESUME}."),
    errno.EFBIG: ("a file is larger than this system allows", "See `ulimit -f` and the limits of the file system."),
    errno.EROFS: ("the file system is read-only", "Give a folder that can be written."),
    errno.EACCES: ("permission is denied", "Give a folder that this user can write to."),
    errno.EPERM: ("permission is denied", "Give a folder that this user can write to."),
    errno.EIO: ("the disk reports an error", "Look after it, and run the same command again elsewhere."),
}
"""Reason why a file cannot be written, and the remedy, by the number of the system's error."""


class StorageError(LtmlError):
    """A file cannot be written, for example because the disk is full."""


def explain_storage(error: OSError, path: object) -> LtmlError | None:
    """Return an error that explains why a file cannot be written, and the remedy; None for other errors."""
    if error.errno == errno.ENAMETOOLONG:
        return InputError(f"the name '{str(path)[:80]}…' ({len(str(path))} letters) is too long for the file system")
    if error.errno not in STORAGE:
        return None
    what, remedy = STORAGE[error.errno]
    return StorageError(f"{what}: cannot write {path}. {remedy}")


def suggest(name: str, allowed: Iterable[str], *, most: int = 20) -> str:
    """Return what is allowed in place of `name`, the most similar first.

    Returns a phrase such as ``did you mean 'alpha'? Allowed: alpha, epsilon``; of a long list only near matches.
    """
    names = list(allowed)
    lowered = {candidate.lower(): candidate for candidate in names}
    near = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]
    if len(names) > most:
        hint = f"did you mean {' or '.join(repr(match) for match in near)}? " if near else ""
        return f"{hint}{len(names)} names are allowed"
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}Allowed: {', '.join(names) or 'nothing'}"


def first_few(items: Iterable[object], *, most: int = 5) -> str:
    """Join the first `most` items and count the rest: ``a, b, c and 7 more``."""
    values = [str(item) for item in items]
    rest = len(values) - most
    return ", ".join(values[:most]) + (f" and {rest} more" if rest > 0 else "")


MAX_MESSAGE = 600
"""Number of characters that a message may have."""


def shorten(message: str, most: int = MAX_MESSAGE) -> str:
    """Cut the middle out of a long message: the fault stands at its beginning, the remedy at its end."""
    if len(message) <= most:
        return message
    cut = " […] "
    head = most * 3 // 5
    return message[:head].rstrip() + cut + message[len(message) - (most - head - len(cut)) :].lstrip()


def in_short(value: object, most: int = 60) -> str:
    """Return a value for a message: the value itself if it is short, otherwise its kind and size."""
    text = repr(value)
    if len(text) <= most:
        return text
    if isinstance(value, dict | list | tuple):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value):,} entries"
    return shown(value) if isinstance(value, str) else brief(text)


def brief(value: object, most: int = 40) -> str:
    """Return a name or value for a message: invisible characters escaped, the middle of a long one cut out."""
    text = str(value)
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[-most // 4 :]} ({len(text):,} characters)"
    return "".join(letter if _is_visible(letter) else ascii(letter)[1:-1] for letter in text)


def shown(value: object, most: int = 40) -> str:
    """Return `brief` in quotes."""
    return f"'{brief(value, most)}'"


def _is_visible(letter: str) -> bool:
    return letter == " " or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp")


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
