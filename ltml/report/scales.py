"""Axes and text of plots: where a value lies, which numbers stand along an axis, how wide a text is."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NAME_WIDTH = 22
"""Width in letters to which the label of a row is cut."""
TICK_SPACE = 42
"""Minimum distance of two numbers along an axis, in pixels."""

Number = float | None


@dataclass(frozen=True)
class Scale:
    """Map from values to positions along an axis.

    Attributes:
        low: value at `start`.
        high: value at `end`.
        start: position of `low` in pixels.
        end: position of `high` in pixels.
        log: whether equal ratios have equal distances; values below `low` then lie at `start`.
        whole: whether only whole numbers stand along the axis.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    def at(self, value: float) -> float:
        """Return the position of a value in pixels."""
        if self.log:
            low, high, value = math.log(self.low), math.log(self.high), math.log(max(value, self.low))
        else:
            low, high = self.low, self.high
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values within the axis: as many multiples of 1, 2 or 5 as fit, or powers of ten."""
        if self.log:
            exponents = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**exponent for exponent in exponents]
        room = max(3.0, abs(self.end - self.start) / TICK_SPACE)
        step = round_step((self.high - self.low) / room)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * count for count in range(first, last + 1) if not self.whole or (step * count).is_integer()]


def round_step(rough: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= rough * (1 - 1e-9))


def fit_limits(values: Iterable[Number], *, include: Sequence[float] = ()) -> tuple[float, float]:
    """Return the lowest and highest of the values with a margin.

    Args:
        values: None and infinite values are passed over; equal values, or none at all, give a range around them.
        include: values that lie within the limits in any case.
    """
    finite = [value for value in [*values, *include] if value is not None and math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def shorten(text: str, width: int = NAME_WIDTH) -> str:
    """Cut a text that is wider than `width` letters, with an ellipsis at its end; CJK letters are two wide."""
    if text_width(text) <= width:
        return text
    while text_width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def text_width(text: str) -> int:
    """Return the width of a text in Latin letters; CJK letters are two wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def tick_text(value: float) -> str:
    """Format a number along an axis in few characters: ``0.2``, ``1000``, ``−3``."""
    return f"{value:.6g}".replace("-", "−")
