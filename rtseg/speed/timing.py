"""How long a piece of work takes, measured so that the figure repeats: warm, synchronised, many times, and in turns.

The one timing function of rtseg: `rtseg benchmark`, the training callback and the tests all come here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from rtseg.speed.conditions import Conditions

Step = Callable[[], Any]

_ROUND_SECONDS = 0.5  # how long one step runs before the next has its turn


@dataclass(frozen=True)
class Timing:
    """Times of single runs of one step, in milliseconds.

    Attributes:
        fps: images a second, batch size / median.
        drift: median of the last tenth of the runs / median of the first tenth - 1; heat or other work shows here.
    """

    median_ms: float
    mean_ms: float
    std_ms: float
    p5_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    iterations: int
    warmup_iterations: int
    drift: float

    @classmethod
    def of(cls, times_ms: Sequence[float], *, batch_size: int, warmup_iterations: int) -> "Timing":
        """The statistics of `times_ms`, in the order of measurement."""
        tenth = max(1, len(times_ms) // 10)
        p5, median, p95, p99 = np.percentile(times_ms, [5, 50, 95, 99])
        drift = np.median(times_ms[-tenth:]) / np.median(times_ms[:tenth]) - 1
        return cls(
            median_ms=float(median),
            mean_ms=float(np.mean(times_ms)),
            std_ms=float(np.std(times_ms)),
            p5_ms=float(p5),
            p95_ms=float(p95),
            p99_ms=float(p99),
            fps=float(1000 * batch_size / median),
            iterations=len(times_ms),
            warmup_iterations=warmup_iterations,
            drift=float(drift),
        )


def measure(step: Step, conditions: Conditions) -> Timing:
    """How long `step` takes, a run of as many images as the first batch of the conditions."""
    return measure_together([step], conditions, batches=conditions.batches[:1])[0]


def measure_together(
    steps: Sequence[Step],
    conditions: Conditions,
    *,
    batches: Sequence[int] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> list[Timing]:
    """How long each of several steps takes, in turns of half a second, so that their ratios hold on a noisy machine.

    Each step warms up until its median settles within 5 %, then runs until it has the rounds and seconds of the
    conditions, or their most seconds. Every run is timed apart and to its end: by device events on CUDA, by the clock
    elsewhere.

    Args:
        steps: functions without arguments; they choose the gradient mode themselves.
        batches: images in one run of each step, for the FPS; one where they are not given.
        on_progress: is called between the turns with the share of the work that is done, 0..1.
    """
    limit, seconds, rounds = conditions.limit, conditions.seconds, conditions.rounds
    stopwatch = _stopwatch(conditions.where)
    warmups = [warm_up(partial(stopwatch, step), conditions.warmup_seconds) for step in steps]
    times: list[list[float]] = [[] for _ in steps]
    spent = [0.0] * len(steps)  # seconds, the untimed runs included

    def unfinished(i: int) -> bool:
        return spent[i] < limit and (spent[i] < seconds or len(times[i]) < rounds)

    def share_done(i: int) -> float:
        if not unfinished(i):
            return 1.0
        return max(spent[i] / limit, min(spent[i] / max(seconds, 1e-9), len(times[i]) / rounds))

    while any(map(unfinished, range(len(steps)))):
        for i in filter(unfinished, range(len(steps))):
            begin, turn_end = time.perf_counter() - spent[i], spent[i] + _ROUND_SECONDS
            if len(steps) > 1:
                steps[i]()  # untimed: brings back into the caches what the other steps displaced
            while unfinished(i) and spent[i] < turn_end:
                times[i].append(stopwatch(steps[i]))
                spent[i] = time.perf_counter() - begin
            if on_progress is not None:
                on_progress(sum(map(share_done, range(len(steps)))) / len(steps))
    return [
        Timing.of(own, batch_size=batch, warmup_iterations=warmup)
        for own, batch, warmup in zip(times, batches or [1] * len(steps), warmups, strict=True)
    ]


def _stopwatch(device: torch.device) -> Callable[[Step], float]:
    """A function that runs a step to its end and returns the milliseconds."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def time_events(step: Step) -> float:
            with torch.cuda.device(device):
                start.record()
                step()
                end.record()
                end.synchronize()
            return start.elapsed_time(end)

        return time_events
    synchronize = torch.mps.synchronize if device.type == "mps" else lambda: None

    def time_clock(step: Step) -> float:
        synchronize()
        begin = time.perf_counter()
        step()
        synchronize()
        return 1000 * (time.perf_counter() - begin)

    return time_clock


def warm_up(run: Callable[[], float], seconds: float) -> int:
    """Runs for `seconds`, then on until two successive windows agree within 5 % in their median; the number of runs."""
    runs, previous = 0, float("inf")
    begin = time.perf_counter()
    while True:
        window, end = [run()], time.perf_counter() + seconds / 3
        while time.perf_counter() < end:
            window.append(run())
        runs += len(window)
        median, spent = float(np.median(window)), time.perf_counter() - begin
        if spent >= 4 * seconds or (spent >= seconds and abs(median / previous - 1) < 0.05):
            return runs
        previous = median
