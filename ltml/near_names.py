"""Find names that are almost the expected one, such as a column ``Group`` or ``patient_id`` where ``group`` is read.

The same for values that several files or rows must spell alike, such as a patient who is ``7`` here and ``007`` there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from types import MappingProxyType

SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "group": (
            *("patient", "pat", "pid", "pt", "subject", "subj", "person", "participant", "individual", "donor"),
            *("case", "mrn", "study instance uid", "study id", "exam id", "accession", "visit id", "encounter id"),
            *("series id", "lesion id", "slide id", "specimen id", "volume id"),
        ),
        "id": ("image id", "sample id", "row id", "name"),
        "split": ("fold", "subset", "partition", "set", "data split", "phase", "usage", "train test", "train val test"),
        "known": ("mask", "is known", "observed"),
        "source": ("dataset", "origin", "site", "hospital"),
        "image": ("image path", "path", "file", "filename", "file name", "image name", "image file"),
    }
)
"""Other usual names of the columns that this project reads."""

_ENDINGS = ("id", "identifier", "number", "num", "nr", "no", "code", "name", "key", "idx", "index", "uid", "hash")
"""Words that people add to a name: ``patient id``, ``subject number``."""


MISSING = frozenset({"", "nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat", "unknown", "missing", "-", "?"})
"""Spellings of a missing value in tables, in lower case."""


def near_misses(names: Iterable[object], expected: str) -> list[str]:
    """Return the names that probably mean `expected`, in order, without `expected` itself.

    A name is near if it differs by case, blanks, punctuation, Unicode form or a plural, if it is a usual synonym
    or ends in a long one (``anon_patient_id``), or if one letter is missing, added, wrong or swapped with the next
    (in names of at least four letters).
    """
    wanted = {_plain(expected), *(_plain(synonym) for synonym in SYNONYMS.get(expected, ()))}
    wanted |= {form + ending for form in wanted if form != "id" for ending in _ENDINGS}
    texts = [str(name) for name in names]
    return [text for text in texts if text != expected and _is_near(_plain(text), wanted, _plain(expected))]


def fold_name(name: str) -> str:
    """Return a name without invisible differences: case, blanks, invisible characters."""
    if name.isascii():
        return "".join(name.casefold().split())
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf")


def is_missing(value: str) -> bool:
    """Return whether a text means a missing value, such as an id that is empty or ``nan``."""
    return value.strip().casefold() in MISSING


def fold_id(value: str) -> str:
    """Return an id without differences that programs introduce: case, blanks, a number's ``.0`` and leading zeros.

    Two ids with the same fold are far more often one thing in two spellings than two things.
    """
    text = value.strip().casefold() if value.isascii() else fold_name(value)
    number = re.fullmatch(r"0*(\d+)(\.0*)?", "".join(text.split()))
    return number[1] if number else "".join(text.split())


def _plain(name: str) -> str:
    return "".join(letter for letter in fold_name(name) if letter.isalnum())


def _is_near(text: str, wanted: set[str], expected: str) -> bool:
    singular = text.removesuffix("s")
    if text in wanted or singular in wanted or text.endswith(tuple(form for form in wanted if len(form) > 8)):
        return True
    return len(expected) >= 4 and _is_one_slip(text, expected)


def _is_one_slip(first: str, second: str) -> bool:
    """Return whether one letter added, removed, changed, or swapped with the next turns one word into the other."""
    if abs(len(first) - len(second)) > 1 or first == second:
        return first == second
    start = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    rests = first[start:], second[start:]
    if len(first) != len(second):
        longer, shorter = sorted(rests, key=len, reverse=True)
        return longer[1:] == shorter
    one, other = rests
    return one[1:] == other[1:] or (one[:2] == other[1::-1] and one[2:] == other[2:])
