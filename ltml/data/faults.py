"""Faults in data: the first one stops a run, all of them are listed by ``ltml data check``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ltml.errors import InputError, first_few


@dataclass(frozen=True, order=True)
class Fault:
    """Something wrong with one file, row or label.

    Attributes:
        kind: what is wrong, in the same words for all of its kind, e.g. ``"missing image"``.
        where: the file, row or label.
        message: which value, and what is allowed.
    """

    kind: str
    where: str
    message: str


@dataclass
class Faults:
    """Where loaders report faults.

    Attributes:
        collect: False raises at the first report; True keeps them in `found`, and the loader goes on with the value
            unknown or the row left out.
        found: what was reported.
    """

    collect: bool = False
    found: list[Fault] = field(default_factory=list)

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
            self.found.extend(faults)
            return
        first = faults[0]
        if len(faults) == 1:
            raise InputError(" ".join(f"{first.where}: {first.message}. {advice}".split()))
        places = first_few((fault.where for fault in faults), most=3)
        raise InputError(
            " ".join(f"{len(faults)} × {first.kind}: {places}. {first.where}: {first.message}. {advice}".split())
        )
