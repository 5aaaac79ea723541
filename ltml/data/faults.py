"""Faults in data: the first one stops a run, all of them are listed by ``ltml data check``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ltml.errors import InputError, first_few

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fault:
    """Something wrong with one file, row or label.

    Attributes:
        kind: what is wrong, in the same words for all of its kind, e.g. ``"missing image"``.
        where: the file, row or label.
        message: which value, and what is allowed.
        advice: what to do about all of its kind.
    """

    kind: str
    where: str
    message: str
    advice: str = ""


@dataclass
class Faults:
    """Where loaders report faults.

    Attributes:
        collect: False raises at the first report; True keeps them in `found`, and the loader goes on with the value
            unknown or the row left out.
        found: what was reported.
        doubts: what deserves a look, and stops nothing.
    """

    collect: bool = False
    found: list[Fault] = field(default_factory=list)
    doubts: list[Fault] = field(default_factory=list)

    def doubt(self, faults: Sequence[Fault]) -> None:
        """Keep what is strange but not wrong; said at once, in one line, unless faults are collected."""
        if faults and not self.collect:
            log.warning("%s", in_one_line(faults))
        self.doubts.extend(faults)

    def report(self, faults: Sequence[Fault], advice: str = "") -> None:
        """Report faults of one kind.

        Args:
            faults: none is no report.
            advice: what to do about them.

        Raises:
            InputError: names the first few, unless faults are collected.
        """
        if not faults:
            return
        if self.collect:
            self.found.extend(replace(fault, advice=advice) for fault in faults)
            return
        raise InputError(" ".join(f"{in_one_line(faults)}. {advice}".split()))


ROOM = 240
"""Characters for the faults after the first in one line."""


def in_one_line(faults: Sequence[Fault]) -> str:
    """Return the first fault, and briefly as many others as there is room for."""
    first, *others = faults
    if not others:
        return f"{first.where}: {first.message}"
    shared = len(_shared_beginning([fault.where for fault in faults]))
    briefly = [f"{fault.where[shared:]}{_difference(fault, first)}" for fault in others]
    fitting = [text for n, text in enumerate(briefly) if sum(map(len, briefly[: n + 1])) <= ROOM]
    also = first_few([*fitting, *briefly[len(fitting) :]], most=max(len(fitting), 1))
    return f"{len(faults)} × {first.kind}, the first: {first.where}: {first.message}; also {also}"


def _shared_beginning(places: Sequence[str]) -> str:
    """Return the file or folder that all places begin with."""
    first, last = min(places), max(places)
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    ends = [first.rfind(end, 0, same) + len(end) for end in (", ", "/") if end in first[:same]]
    return first[: max(ends, default=0)]


def _difference(fault: Fault, first: Fault) -> str:
    """Return what is wrong, without what is allowed, where it is not the same as with the first."""
    wrong = fault.message.partition("; ")[0]
    return f": {wrong}" if wrong != first.message.partition("; ")[0] else ""
