"""The axes of a chart: from values to shares of the drawing's width or height, with round ticks."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LARGEST, _LEAST = 1e100, 1e-100  # beyond them the arithmetic of ticks overflows
_MARGIN = 0.06  # of the range, between the outermost values and the ends of a linear axis


@dataclass(frozen=True)
class Scale:
    """An axis with its range, as drawn.

    Attributes:
        low, high: the range.
        ticks: (value, text).
        log: logarithmic.
        downwards: the lowest value is at the far end, as rows of a table go down.
    """

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False
    downwards: bool = False

    def share(self, value: float) -> float:
        """The place of a value: 0 at the low end, 1 at the high end."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low)
        return 1 - share if self.downwards else share


@dataclass(frozen=True)
class Axis:
    """How an axis is drawn, before its values are known.

    Attributes:
        label: its name, with the unit.
        log: logarithmic; values that are not above 0 are not drawn.
        zero: a linear axis starts at 0.
        until: the axis ends here at least.
        ticks: the values that are written; empty for round numbers.
        names: written at 0, 1, ... instead of numbers.
    """

    label: str = ""
    log: bool = False
    zero: bool = False
    until: float | None = None
    ticks: Sequence[float] = ()
    names: Sequence[str] = ()

    def shows(self, value: float) -> bool:
        """Whether a value can be drawn."""
        return abs(value) <= _LARGEST and (value > _LEAST or not self.log)

    def scale(self, values: Iterable[float]) -> Scale:
        """The scale for some values, at least one, all of which the axis shows."""
        if self.names:
            return Scale(-0.5, len(self.names) - 0.5, list(enumerate(self.names)), downwards=True)
        found = [*values, *([] if self.until is None else [self.until])]
        low, high = min(found), max(found)
        if self.log:
            low, high = low / 1.1, high * 1.1
        else:
            low = min(0.0, low) if self.zero else low
            if high - low < _LEAST:
                low, high = (low, low + 1) if self.zero else (low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10)
            margin = _MARGIN * (high - low)
            low -= 0 if self.zero and low == 0 else margin
            high += 0 if high == self.until else margin
        ticks = self.ticks or (log_ticks(low, high) if self.log else round_ticks(low, high))
        return Scale(low, high, [(tick, number(tick)) for tick in ticks], self.log)


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers within the range, three to seven of them."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times a power of ten within the range, the powers alone where it is wide; evenly spaced where narrow."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [tick for power in powers for factor in (1, 2, 5) if low <= (tick := factor * 10.0**power) <= high]
    if len(ticks) > 8:
        ticks = [10.0**power for power in powers if low <= 10.0**power <= high]
    return ticks if len(ticks) > 1 else round_ticks(low, high)


def number(value: float) -> str:
    """A tick's text, such as '0', '0.05', '2e-5' or '12k'."""
    if abs(value) >= 10000:
        return f"{value / 1000:g}k"
    return f"{value:.3g}".replace("e-0", "e-") if abs(value) < 1000 else f"{value:.0f}"
