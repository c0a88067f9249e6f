"""How long frames of a live source take from their capture, by stage, and how many miss a deadline."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rtseg.errors import UserError

STAGES = ("capture wait", "network", "drawing", "writing")
_DRAWN = 3  # stages until the overlay is there; writing comes after it
_PERCENTILES = (50, 95, 99)
_STEP = math.log(1.005)  # bins of half a percent, so that hours take no more room than seconds
_LONGEST = 60.0  # seconds


def parse_deadline(text: str) -> float:
    """Seconds of "33ms" or "0.05s".

    Raises:
        UserError: it is another text, or not above 0 and at most 60 s.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+) ?(ms|s)", text.strip(), re.ASCII)
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else 0.0
    if not 0 < seconds <= _LONGEST:
        raise UserError(f"--deadline '{text}': give a time with its unit, above 0 and at most 60s, as 33ms or 0.05s")
    return seconds


class _Times:
    """The distribution of one time, in bins."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self._bins[round(math.log(max(seconds, 1e-6)) / _STEP)] += 1

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the times do not exceed, within 0.25 %; NaN of none."""
        rank = max(1, math.ceil(self._bins.total() * percent / 100))
        for place in sorted(self._bins):
            rank -= self._bins[place]
            if rank <= 0:
                return math.exp(place * _STEP)
        return math.nan


class Latency:
    """Latencies of frames.

    Args:
        deadline: seconds from capture to overlay; None where there is none.

    Attributes:
        frames: how many were added.
        late: how many of them took longer than the deadline.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.frames = self.late = 0
        self._stages = {stage: _Times() for stage in STAGES}
        self._whole = _Times()

    def add(self, times: Sequence[float]) -> None:
        """A frame is written.

        Args:
            times: when it was captured, when the network began it, when its class map and its overlay were there, and
                when it was written; seconds of one clock.
        """
        for stage, begin, end in zip(STAGES, times, times[1:], strict=False):
            self._stages[stage].add(end - begin)
        whole = times[_DRAWN] - times[0]
        self._whole.add(whole)
        self.frames += 1
        self.late += self.deadline is not None and whole > self.deadline

    def rows(self) -> list[tuple[str, list[float]]]:
        """A line for each stage and one for the way from capture to overlay: its name, and milliseconds by percent."""
        every = {**self._stages, "capture to overlay": self._whole}
        return [(name, [1000 * times.percentile(percent) for percent in _PERCENTILES]) for name, times in every.items()]

    def table(self) -> list[str]:
        """Lines of text; the last says how many frames were late."""
        head = f"{'milliseconds':20}" + "".join(f"{f'p{percent}':>9}" for percent in _PERCENTILES)
        lines = [f"{name:20}" + "".join(f"{value:9.1f}" for value in values) for name, values in self.rows()]
        if self.deadline is None:
            return [head, *lines]
        share = 100 * self.late / max(1, self.frames)
        return [head, *lines, f"late: {self.late} of {self.frames} ({share:.1f} %) after {1000 * self.deadline:g} ms"]

    def line(self) -> dict[str, Any]:
        """The same for a record."""
        rows = {
            name: {f"p{percent}": round(value, 2) for percent, value in zip(_PERCENTILES, values, strict=True)}
            for name, values in self.rows()
        }
        found: dict[str, Any] = {"latency_ms": rows}
        if self.deadline is not None:
            found |= {"deadline_ms": round(1000 * self.deadline, 3), "late": self.late}
        return found
