"""Report faults in data: the first stops a run, ``ltml data check`` lists all."""

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
        kind: name of the kind of fault, e.g. ``"missing image"``.
        where: file, row or label.
        message: wrong value and allowed values.
        advice: how to fix all faults of this kind.
    """

    kind: str
    where: str
    message: str
    advice: str = ""


@dataclass
class Faults:
    """Collector to which loaders report faults.

    Attributes:
        collect: False raises at the first report; True stores reports in `found`, and the loader continues with
            the value unknown or the row left out.
        found: reported faults.
        doubts: suspicious findings, which do not stop a run.
    """

    collect: bool = False
    found: list[Fault] = field(default_factory=list)
    doubts: list[Fault] = field(default_factory=list)

    def doubt(self, faults: Sequence[Fault]) -> None:
        """Store suspicious findings; log a one-line warning unless faults are collected."""
        if faults and not self.collect:
            log.warning("%s", in_one_line(faults))
        self.doubts.extend(faults)

    def report(self, faults: Sequence[Fault], advice: str = "") -> None:
        """Report faults of one kind.

        Args:
            faults: faults of one kind; an empty list is not a report.
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
"""Maximum number of characters for the faults after the first in one line."""


def in_one_line(faults: Sequence[Fault]) -> str:
    """Return the first fault and, shortened, as many others as fit."""
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
    """Return the wrong value, without the allowed values, if it differs from that of the first fault."""
    wrong = fault.message.partition("; ")[0]
    return f": {wrong}" if wrong != first.message.partition("; ")[0] else ""
