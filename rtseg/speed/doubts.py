"""Why the figures of a measurement may not repeat, and whether its ratios may be shown.

`rtseg benchmark` and `rtseg compare` both ask here. The JSON keeps every figure and every doubt. A table says a doubt
once. It leaves ratios out where the machine was busy: there they were seen to be wrong by a factor of two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtseg.speed.timing import Timing

_FEW = 20  # runs
_OFTEN = 0.1  # of the looks at the processor
_MARKS = "¹²³"


@dataclass(frozen=True)
class Figure:
    """A time of a row, with its names.

    Attributes:
        row: the row's name.
        what: which of its times, as "class map".
    """

    row: str
    what: str
    timing: Timing


@dataclass(frozen=True)
class _Kind:
    """A kind of doubt about a single time.

    Attributes:
        holds: whether a time is to be doubted.
        value: the number that says how much.
        full: for the list of all doubts, with the value; empty where all such figures are one doubt.
        short: below a table, with the values of all rows that it holds for.
        of_machine: whether a busy machine explains it.
    """

    holds: Callable[[Timing], bool]
    value: Callable[[Timing], float]
    form: str
    full: str
    short: str
    of_machine: bool


_DRIFT = _Kind(
    lambda timing: abs(timing.drift) > 0.1,
    lambda timing: timing.drift,
    "{:+.0%}",
    "drifted by {} during the run",
    "drifted by {} from the start to the end of the run",
    of_machine=True,
)
_SPREAD = _Kind(
    lambda timing: timing.p95_ms > 1.5 * timing.median_ms,
    lambda timing: timing.p95_ms / max(timing.median_ms, 1e-9),
    "{:.1f}",
    "unsteady, p95 / median above 1.5",
    "unsteady: one run in twenty took {} times the median or longer",
    of_machine=True,
)
_FEW_RUNS = _Kind(
    lambda timing: timing.iterations < _FEW,
    lambda timing: timing.iterations,
    "{:.0f}",
    "",
    "timed in {} runs, fewer than " + f"{_FEW}: give more --seconds",
    of_machine=False,
)


@dataclass(frozen=True)
class Doubts:
    """What is doubtful in a measurement.

    Attributes:
        conditions: of the measurement, in plain JSON types.
        figures: all times of all rows.
    """

    conditions: Mapping[str, Any]
    figures: Sequence[Figure]

    def every(self) -> list[str]:
        """Each doubt of each figure, for the JSON."""
        found = [f"other work kept {cores} cores of this machine busy {when}" for when, cores in self._other_work()]
        found += self._slowed()
        for figure in self.figures:
            for kind in (_DRIFT, _SPREAD):
                if kind.holds(figure.timing):
                    value = kind.form.format(kind.value(figure.timing))
                    found.append(f"{figure.row}, {figure.what}: {kind.full.format(value)}")
        few = [f for f in self.figures if _FEW_RUNS.holds(f.timing)]
        if few:
            which = ", ".join(f"{figure.row}, {figure.what} ({figure.timing.iterations})" for figure in few)
            found.append(f"fewer than {_FEW} runs: {which}; give more seconds")
        return found

    def busy(self) -> str | None:
        """Why ratios between rows are not to be trusted; None where they are.

        Other work on the processor's cores decides, as counted during the run, in older reports before it. Where most
        times are unsteady the machine was not quiet either, whatever was counted: a hypervisor does not tell.
        """
        when = "during the run" if "cores_busy_during_the_run" in self.conditions else "before the start"
        if cores := dict(self._other_work()).get(when):
            return f"other work kept {cores} of {self.conditions['device'].get('cores', '?')} cores busy"
        unsteady = [f for f in self.figures if _DRIFT.holds(f.timing) or _SPREAD.holds(f.timing)]
        if len(self.rows) > 1 and 2 * len(unsteady) > len(self.figures):
            return f"{len(unsteady)} of {len(self.figures)} times were unsteady"
        return None

    @property
    def rows(self) -> list[str]:
        """Names of the rows that have a time."""
        return list(dict.fromkeys(figure.row for figure in self.figures))

    def mark(self, row: str) -> str:
        """The marks of a row's own doubts, to be put behind its name; empty where it has none."""
        return "".join(mark for mark, kind in self._marked() if row in self._held(kind))

    def notes(self, *, ratios: bool, repair: str) -> list[str]:
        """What stands below a table, a line a doubt: those of all rows, then those of marked rows.

        Args:
            ratios: whether ratios are shown all the same.
            repair: how to measure again.
        """
        found = []
        if busy := self.busy():
            said = "ratios may be wrong by a factor of two" if ratios else "ratios withheld"
            show = "" if ratios else ", or --ratios to show them"
            found.append(f"the machine was busy ({busy}): {said}; {repair}{show}")
        found += self._slowed()
        for kind in self._kinds():
            if len(self._held(kind)) == len(self.rows):
                found.append(("every row: " if len(self.rows) > 1 else "") + self._short(kind))
        return found + [f"{mark} {self._short(kind)}" for mark, kind in self._marked()]

    def _other_work(self) -> list[tuple[str, float]]:
        """(when, how many cores), where it was too much."""
        device = self.conditions["device"]
        counted = {
            "before the start": device.get("cores_busy_with_other_work"),
            "during the run": self.conditions.get("cores_busy_during_the_run"),
        }
        least = max(0.3, device.get("cores", 1) / 20)
        return [(when, cores) for when, cores in counted.items() if cores is not None and cores > least]

    def _slowed(self) -> list[str]:
        """What the processor itself did, where it was slow in more than one look of ten."""
        seen = self.conditions.get("processor")
        if not seen or seen["slow_share"] <= _OFTEN:
            return []
        return [
            f"the processor itself was up to {seen['slowest']:g} times slower in {seen['slow_share']:.0%} of "
            f"{seen['looks']} looks: heat, or other guests of its host"
        ]

    def _kinds(self) -> list[_Kind]:
        """Those that hold for some row, without what a busy machine explains."""
        busy = self.busy() is not None
        return [kind for kind in (_DRIFT, _SPREAD, _FEW_RUNS) if not (busy and kind.of_machine) and self._held(kind)]

    def _marked(self) -> list[tuple[str, _Kind]]:
        some = [kind for kind in self._kinds() if len(self._held(kind)) < len(self.rows)]
        return list(zip(_MARKS, some, strict=False))

    def _held(self, kind: _Kind) -> set[str]:
        return {figure.row for figure in self.figures if kind.holds(figure.timing)}

    def _short(self, kind: _Kind) -> str:
        values = sorted(kind.value(figure.timing) for figure in self.figures if kind.holds(figure.timing))
        ends = dict.fromkeys(kind.form.format(value) for value in (values[0], values[-1]))
        return kind.short.format(" to ".join(ends))
