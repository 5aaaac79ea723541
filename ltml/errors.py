"""Errors that a user can cause or meet: one message that says what, which value, what is allowed, how to fix it."""

from __future__ import annotations

import difflib
import errno
import unicodedata
from collections.abc import Iterable


class LtmlError(Exception):
    """A failure while working (exit code 1): the message is all a user needs to see."""

    exit_code = 1


class InputError(LtmlError):
    """Bad input (exit code 2): a recipe, file, label, name or value that has to be changed."""

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
"""By the system's number for it what keeps a file from being written, and the remedy."""


class StorageError(LtmlError):
    """A file cannot be written: the disk is full, say."""


def explain_storage(error: OSError, path: object) -> LtmlError | None:
    """Return one sentence for what keeps a file from being written, with its remedy; None for any other trouble."""
    if error.errno == errno.ENAMETOOLONG:
        return InputError(f"the name '{str(path)[:80]}…' ({len(str(path))} letters) is too long for the file system")
    if error.errno not in STORAGE:
        return None
    what, remedy = STORAGE[error.errno]
    return StorageError(f"{what}: cannot write {path}. {remedy}")


def suggest(name: str, allowed: Iterable[str], *, most: int = 20) -> str:
    """Say what is allowed in place of `name`, nearest match first.

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
    """Return a message without its middle where it is too long: what is wrong stands first, the way out last."""
    if len(message) <= most:
        return message
    cut = " […] "
    head = most * 3 // 5
    return message[:head].rstrip() + cut + message[len(message) - (most - head - len(cut)) :].lstrip()


def in_short(value: object, most: int = 60) -> str:
    """Return a value of a file for a message: itself where it is short, else what it is, never its content."""
    text = repr(value)
    if len(text) <= most:
        return text
    if isinstance(value, dict | list | tuple):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value):,} entries"
    return shown(value) if isinstance(value, str) else brief(text)


def brief(value: object, most: int = 40) -> str:
    """Return a name or value for a message: what cannot be seen as its escape, the middle of a long one left out."""
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
    """The first line of an exception's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
