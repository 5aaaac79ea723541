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


def in_one_line(faults: Sequence[Fault]) -> str:
    """The first fault, and where the others are."""
    first, *others = faults
    if not others:
        return f"{first.where}: {first.message}"
    places = first_few((fault.where for fault in others), most=3)
    return f"{len(faults)} × {first.kind}, the first: {first.where}: {first.message}; also {places}"
